package cache

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/dunglas/httpsfv"
	"golang.org/x/net/http/httpguts"
)

// directives are those of a Cache-Control field, by name in lower case, with their
// arguments (RFC 9111, section 5.2).
type directives map[string]string

// has reports whether there is one of the directives, and is about the whole answer.
func (d directives) has(names ...string) bool {
	for _, name := range names {
		if _, ok := d[name]; ok && len(d.fields(name)) == 0 {
			return true
		}
	}
	return false
}

// qualifiable are the directives that can be about some fields of an answer alone
// (RFC 9111, sections 5.2.2.4 and 5.2.2.7).
var qualifiable = []string{"no-cache", "private"}

// fields returns the names of the fields that a directive is about; none if it is
// about the whole answer, or not there. A list with anything else in it counts as
// none, which is the stricter of the readings.
func (d directives) fields(name string) []string {
	if name != qualifiable[0] && name != qualifiable[1] {
		return nil
	}
	var fields []string
	for field := range members(d[name]) {
		if !httpguts.ValidHeaderFieldName(field) {
			return nil
		}
		fields = append(fields, http.CanonicalHeaderKey(field))
	}
	return fields
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
	var n int64
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0
		}
		n = min(n*10+int64(c-'0'), int64(longest/time.Second))
	}
	return time.Duration(n) * time.Second
}

// targetedFields are those that speak to this cache rather than to all, the first
// one first (RFC 9213, section 2.2).
var targetedFields = []string{"Cdn-Cache-Control"}

// responseDirectives returns what an upstream says to this cache: in the first
// targeted field that is there and valid, or else in Cache-Control. targeted says
// that it is the former, besides which Cache-Control and Expires do not count (RFC
// 9213, section 2.2).
func responseDirectives(h http.Header) (d directives, targeted bool) {
	for _, name := range targetedFields {
		if d, ok := parseTargeted(h.Values(name)); ok {
			return d, true
		}
	}
	return parseCacheControl(h.Values("Cache-Control")), false
}

// parseTargeted parses a targeted field, a structured dictionary. It reports false
// if it is empty or invalid. A directive of the wrong type counts as one without an
// argument, which is about the whole answer, and no time.
func parseTargeted(lines []string) (directives, bool) {
	dict, err := httpsfv.UnmarshalDictionary(lines)
	if err != nil || len(dict.Names()) == 0 {
		return nil, false
	}
	d := make(directives)
	for _, name := range dict.Names() {
		member, _ := dict.Get(name)
		item, _ := member.(httpsfv.Item)
		switch v := item.Value.(type) {
		case bool:
			if v {
				d[name] = ""
			}
		case int64:
			d[name] = strconv.FormatInt(v, 10)
		case string:
			if _, err := strconv.Atoi(v); err != nil { // a number in quotes is none here
				d[name] = v
			} else {
				d[name] = ""
			}
		case httpsfv.Token:
			d[name] = string(v)
		default:
			d[name] = ""
		}
	}
	return d, true
}

// parseCacheControl parses the lines of a Cache-Control field.
func parseCacheControl(lines []string) directives {
	d := make(directives)
	for _, line := range lines {
		for line != "" {
			var part string
			part, line = cutElement(line)
			name, arg, _ := strings.Cut(strings.Trim(part, " \t"), "=")
			// No space belongs there: what has one is no number, and no list of fields.
			if trimmed := strings.TrimRight(name, " \t"); trimmed != name || arg != strings.TrimLeft(arg, " \t") {
				name, arg = trimmed, ""
			}
			if name != "" {
				d.add(strings.ToLower(name), unquote(arg))
			}
		}
	}
	return d
}

// add takes one more directive. Of one that is there more than once the first counts
// (RFC 9111, section 4.2.1); but where it is about some fields each time, it is about
// all of those, and where it once is about the whole answer, that is the strictest.
func (d directives) add(name, arg string) {
	_, repeated := d[name]
	switch one := (directives{name: arg}); {
	case !repeated:
		d[name] = arg
	case len(d.fields(name)) == 0:
	case one.has(name):
		d[name] = ""
	default:
		d[name] += "," + arg
	}
}

// cutElement cuts the first element off a list, whose quoted strings may have commas
// in them (RFC 9110, section 5.6). A quote that is not closed does not hide what
// follows.
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
	if quoted {
		element, rest, _ = strings.Cut(list, ",")
		return element, rest
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
