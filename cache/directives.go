package cache

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/dunglas/httpsfv"
)

// directives are those of a Cache-Control field, by name in lower case, with their
// arguments (RFC 9111, section 5.2).
type directives map[string]string

// has reports whether there is one of the directives.
func (d directives) has(names ...string) bool {
	for _, name := range names {
		if _, ok := d[name]; ok {
			return true
		}
	}
	return false
}

// seconds returns a directive's delta-seconds. An invalid value counts as 0, so
// that the answer is stale (RFC 9111, section 4.2.1).
func (d directives) seconds(name string) (time.Duration, bool) {
	arg, ok := d[name]
	if !ok {
		return 0, false
	}
	return deltaSeconds(arg), true
}

// longest is what longer times count as (RFC 9111, section 1.2.2).
const longest = (1 << 31) * time.Second

// deltaSeconds parses a non-negative number of seconds; anything else is 0.
func deltaSeconds(s string) time.Duration {
	n, err := strconv.ParseUint(s, 10, 64)
	switch {
	case errors.Is(err, strconv.ErrRange) || n > uint64(longest/time.Second):
		return longest
	case err != nil:
		return 0
	}
	return time.Duration(n) * time.Second
}

// responseDirectives returns what an upstream says to this cache: in
// CDN-Cache-Control, if that is there and valid, or else in Cache-Control. targeted
// says that it is the former, besides which Cache-Control and Expires do not count
// (RFC 9213, section 2.2).
func responseDirectives(h http.Header) (d directives, targeted bool) {
	if lines := h.Values("Cdn-Cache-Control"); len(lines) > 0 {
		if d, ok := parseTargeted(lines); ok {
			return d, true
		}
	}
	return parseCacheControl(h.Values("Cache-Control")), false
}

// parseTargeted parses a targeted field, a structured dictionary. It reports false
// if it is empty or invalid. A directive of the wrong type counts as invalid.
func parseTargeted(lines []string) (directives, bool) {
	dict, err := httpsfv.UnmarshalDictionary(lines)
	if err != nil || len(dict.Names()) == 0 {
		return nil, false
	}
	d := make(directives)
	for _, name := range dict.Names() {
		member, _ := dict.Get(name)
		item, ok := member.(httpsfv.Item)
		if !ok {
			continue
		}
		switch v := item.Value.(type) {
		case bool:
			if v {
				d[name] = ""
			}
		case int64:
			d[name] = strconv.FormatInt(v, 10)
		case string:
			d[name] = v
		case httpsfv.Token:
			d[name] = string(v)
		default:
			d[name] = "invalid"
		}
	}
	return d, true
}

// parseCacheControl parses the lines of a Cache-Control field. Of a directive that is
// there more than once the first counts (RFC 9111, section 4.2.1).
func parseCacheControl(lines []string) directives {
	d := make(directives)
	for _, line := range lines {
		for line != "" {
			var part string
			part, line = cutElement(line)
			name, arg, _ := strings.Cut(part, "=")
			name = strings.ToLower(strings.TrimSpace(name))
			if _, repeated := d[name]; name != "" && !repeated {
				d[name] = unquote(strings.TrimSpace(arg))
			}
		}
	}
	return d
}

// cutElement cuts the first element off a list, whose quoted strings may have commas
// in them (RFC 9110, section 5.6).
func cutElement(list string) (element, rest string) {
	quoted := false
	for i := 0; i < len(list); i++ {
		switch {
		case list[i] == '"':
			quoted = !quoted
		case list[i] == '\\' && quoted:
			i++
		case list[i] == ',' && !quoted:
			return list[:i], list[i+1:]
		}
	}
	return list, ""
}

// unquote returns the value of a quoted string, and anything else as it is.
func unquote(s string) string {
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		return s
	}
	var b strings.Builder
	for i := 1; i < len(s)-1; i++ {
		if s[i] == '\\' && i < len(s)-2 {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}
