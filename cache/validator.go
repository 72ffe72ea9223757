package cache

import (
	"net/http"
	"strings"
	"time"
)

// validator tells one version of an object from another: a strong entity tag, or
// else the time of its last modification together with its length.
type validator struct {
	etag     string // strong, with its quotes; empty if there is none
	modified string // Last-Modified as sent
	size     int64  // -1 if unknown
}

func newValidator(h http.Header, size int64) validator {
	v := validator{modified: h.Get("Last-Modified"), size: size}
	if etag := h.Get("Etag"); isStrong(etag) {
		v.etag = etag
	}
	return v
}

// validator returns that of an object with a status. A gateway knows only of what has
// status 200 that it is one, and does not trust a date that can be that of two versions.
func (p *Policy) validator(status int, h http.Header, size int64) validator {
	if p.Gateway && (status != http.StatusOK || !isStrong(h.Get("Etag")) && !isStrongDate(h)) {
		return validator{size: size}
	}
	return newValidator(h, size)
}

// usable reports whether the validator can vouch that two answers are parts of
// one version.
func (v validator) usable() bool {
	return v.etag != "" || (v.modified != "" && v.size >= 0)
}

// same reports whether both validators vouch for the same version.
func (v validator) same(other validator) bool {
	if v.size != other.size || !v.usable() {
		return false
	}
	if v.etag != "" || other.etag != "" {
		return v.etag == other.etag
	}
	return v.modified == other.modified
}

func isStrong(etag string) bool {
	return len(etag) >= 2 && etag[0] == '"' && etag[len(etag)-1] == '"'
}

// A verdict is what a request's preconditions make of it.
type verdict int

const (
	proceed     verdict = iota // answer as if there were none
	notModified                // 304
	failed                     // 412
)

// precondition evaluates If-Match, If-Unmodified-Since, If-None-Match and
// If-Modified-Since, in this order, for a GET or HEAD of a representation with
// the header given (RFC 9110, section 13.2.2).
func precondition(r *http.Request, h http.Header) verdict {
	if im := r.Header["If-Match"]; len(im) > 0 {
		if !matchesTag(im, h.Get("Etag"), true) {
			return failed
		}
	} else if since, ok := dateIn(r.Header, "If-Unmodified-Since"); ok {
		if modified, ok := dateIn(h, "Last-Modified"); ok && modified.After(since) {
			return failed
		}
	}
	if inm := r.Header["If-None-Match"]; len(inm) > 0 {
		if matchesTag(inm, h.Get("Etag"), false) {
			return notModified
		}
		return proceed
	}
	if since, ok := dateIn(r.Header, "If-Modified-Since"); ok {
		modified, ok := dateIn(h, "Last-Modified")
		if !ok { // as good, if not as early (RFC 9111, section 4.3.2)
			modified, ok = dateIn(h, "Date")
		}
		if ok && !modified.After(since) {
			return notModified
		}
	}
	return proceed
}

// dateIn returns a date of a header, if it has one that can be read.
func dateIn(h http.Header, name string) (time.Time, bool) {
	field := h.Get(name)
	if field == "" {
		return time.Time{}, false // to look for a date in it would be dear
	}
	date, err := http.ParseTime(field)
	return date, err == nil
}

// matchesTag reports whether etag is in a list of entity tags, or the list is
// "*", by strong or by weak comparison (RFC 9110, section 8.8.3.2).
func matchesTag(list []string, etag string, strong bool) bool {
	for _, line := range list {
		for line = strings.TrimLeft(line, " \t,"); line != ""; line = strings.TrimLeft(line, " \t,") {
			if line[0] == '*' {
				return true
			}
			tag, rest, ok := cutTag(line)
			if !ok {
				break // not an entity tag: what follows can't be read
			}
			line = rest
			if etag == "" || (strong && !(isStrong(tag) && isStrong(etag))) {
				continue
			}
			if strings.TrimPrefix(tag, "W/") == strings.TrimPrefix(etag, "W/") {
				return true
			}
		}
	}
	return false
}

// cutTag cuts the entity tag off the beginning of s.
func cutTag(s string) (tag, rest string, ok bool) {
	start := 0
	if strings.HasPrefix(s, "W/") {
		start = 2
	}
	if len(s) <= start || s[start] != '"' {
		return "", "", false
	}
	end := strings.IndexByte(s[start+1:], '"')
	if end < 0 {
		return "", "", false
	}
	end += start + 2
	return s[:end], s[end:], true
}

// ifRangeHolds reports whether a Range is to be honoured in view of If-Range
// (RFC 9110, section 13.1.5): the entity tag must match strongly; a date must be
// the exact Last-Modified, and old enough in relation to Date to be strong
// (section 8.8.2.2).
func ifRangeHolds(r *http.Request, h http.Header) bool {
	cond := r.Header.Get("If-Range")
	if cond == "" {
		return true
	}
	if tag, rest, ok := cutTag(cond); ok {
		return rest == "" && isStrong(tag) && tag == h.Get("Etag")
	}
	return cond == h.Get("Last-Modified") && isStrongDate(h)
}

// isStrongDate reports whether Last-Modified is a strong validator: Date tells that no
// other version can have had the same (RFC 9110, section 8.8.2.2).
func isStrongDate(h http.Header) bool {
	modified, ok := dateIn(h, "Last-Modified")
	made, ok2 := dateIn(h, "Date")
	return ok && ok2 && made.Sub(modified) >= time.Second
}
