package cache

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"
)

// maxVary is how many fields an answer can vary on. What varies on more is as good
// as never asked for again.
const maxVary = 16

// varyFields returns the names of the fields that an answer varies on, sorted (RFC
// 9110, section 12.5.5). It reports false if no request can be told to match: the
// answer varies on everything, on more than maxVary fields, or on what is no field.
func varyFields(h http.Header) (names []string, ok bool) {
	for name := range members(h.Values("Vary")...) {
		if name == "*" || !httpguts.ValidHeaderFieldName(name) {
			return nil, false
		}
		names = append(names, http.CanonicalHeaderKey(name))
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) > maxVary {
		return nil, false
	}
	return names, true
}

// maxVariantKey is how long a key can be, in bytes, that still is what it stands for.
const maxVariantKey = 512

// variantKey returns a key that is the same for requests that match in the fields
// named, as varyFields names them (RFC 9111, section 4.1). Host is none of the fields
// of a request that net/http has read: it is part of the target URI.
func variantKey(names []string, request http.Header) string {
	var key []byte
	put := func(s string) {
		key = append(strconv.AppendInt(key, int64(len(s)), 10), ':')
		key = append(key, s...)
	}
	for _, name := range names {
		put(name)
		lines := request.Values(name)
		if len(lines) == 0 {
			key = append(key, '-') // which only matches a request without it, too
			continue
		}
		values := normalised(name, lines)
		key = append(strconv.AppendInt(key, int64(len(values)), 10), '=')
		for _, v := range values {
			put(v)
		}
	}
	if len(key) > maxVariantKey {
		sum := sha256.Sum256(key)
		return "#" + hex.EncodeToString(sum[:])
	}
	return string(key)
}

// normalised returns the lines of a field so that those that mean the same are the
// same, as far as that is safe to tell.
func normalised(name string, lines []string) []string {
	for _, line := range lines {
		// In a quoted string or a comment, a comma separates nothing.
		if strings.ContainsAny(line, `"(`) {
			return lines
		}
	}
	switch name {
	case "Authorization", "Cookie", "Referer", "User-Agent": // no lists
		return lines
	case "Accept", "Accept-Charset", "Accept-Encoding", "Accept-Language":
		return normalisedPreferences(lines)
	}
	var values []string
	for _, line := range lines {
		for v := range strings.SplitSeq(line, ",") {
			values = append(values, strings.Trim(v, " \t"))
		}
	}
	return values
}

// normalisedPreferences returns the members of a list of what a client would like, by
// how much. Their weight is what says so, and not their order (RFC 9110, section 12.5).
func normalisedPreferences(lines []string) []string {
	var prefs []string
	for pref := range members(lines...) {
		prefs = append(prefs, normalisedPreference(pref))
	}
	slices.Sort(prefs)
	return prefs
}

// normalisedPreference returns a media range, charset, coding or language range in
// lower case, its parameters with no space around them, and its weight, which is the
// last one, as short as it can be. What other parameters are about may depend on case.
func normalisedPreference(pref string) string {
	parts := strings.Split(pref, ";")
	for i, part := range parts {
		parts[i] = strings.Trim(part, " \t")
	}
	parts[0] = strings.ToLower(parts[0])
	last := len(parts) - 1
	name, value, _ := strings.Cut(parts[last], "=")
	if last == 0 || !strings.EqualFold(name, "q") {
		return strings.Join(parts, ";")
	}
	switch weight := shortWeight(value); weight {
	case "1": // which is what there is without one
		parts = parts[:last]
	default:
		parts[last] = "q=" + weight
	}
	return strings.Join(parts, ";")
}

// shortWeight returns a weight without the zeros at its end (RFC 9110, section 12.4.2);
// what is none, as it is.
func shortWeight(q string) string {
	whole, digits, _ := strings.Cut(q, ".")
	if (whole != "0" && whole != "1") || len(digits) > 3 || strings.Trim(digits, "0123456789") != "" {
		return q
	}
	digits = strings.TrimRight(digits, "0")
	switch {
	case digits == "":
		return whole
	case whole == "1": // more than all
		return q
	default:
		return whole + "." + digits
	}
}
