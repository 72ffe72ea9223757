package cache

import (
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Policy decides what is kept, for how long, and what clients are told.
type Policy struct {
	TTL         time.Duration // freshness where the upstream states none
	OverrideTTL time.Duration // freshness whatever the upstream states; 0 means that the upstream's counts
	NegativeTTL time.Duration // how long ErrNotFound is remembered; 0 means not at all
	MaxAge      time.Duration // max-age of the Cache-Control that clients are sent
	MaxObject   int64         // bytes; larger answers pass through uncached. 0 means no bound

	// ReadAhead is how many slices beyond the wanted ones are fetched with them, for
	// the player that goes on. What a client leaves in the middle, as when it seeks,
	// is not read ahead of.
	ReadAhead int

	// Admit inspects the first bytes of an object, up to SniffLen of them, before
	// any of it is sent. It may correct the header, and returns an error to refuse
	// the object. May be nil. With it, an object is fetched from its beginning.
	Admit func(header http.Header, head []byte) error
}

// SniffLen is how many bytes Policy.Admit sees of an object that has as many.
const SniffLen = 512

// cacheControl maps the directives of a Cache-Control field, in lower case, to
// their arguments (RFC 9111, section 5.2).
type cacheControl map[string]string

func parseCacheControl(h http.Header) cacheControl {
	cc := cacheControl{}
	for _, line := range h.Values("Cache-Control") {
		for part := range strings.SplitSeq(line, ",") {
			name, arg, _ := strings.Cut(strings.TrimSpace(part), "=")
			if name = strings.ToLower(strings.TrimSpace(name)); name == "" {
				continue
			}
			if _, repeated := cc[name]; repeated {
				continue // RFC 9111, section 4.2.1: the first occurrence counts
			}
			cc[name] = strings.Trim(strings.TrimSpace(arg), `"`)
		}
	}
	return cc
}

// seconds returns a directive's delta-seconds. An invalid value counts as 0, so
// that the answer is stale (RFC 9111, section 4.2.1).
func (cc cacheControl) seconds(name string) (time.Duration, bool) {
	arg, ok := cc[name]
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

// storable reports whether an answer may be kept by a shared cache (RFC 9111,
// section 3). size is the object's, -1 if unknown.
func (p *Policy) storable(resp *http.Response, size int64) bool {
	if p.MaxObject > 0 && size > p.MaxObject {
		return false
	}
	// A body that ends with its connection can't be told from a truncated one.
	if resp.StatusCode == http.StatusOK && resp.ContentLength < 0 && resp.ProtoMajor == 1 && len(resp.TransferEncoding) == 0 {
		return false
	}
	return p.mayStore(resp.Header)
}

// mayStore reports whether the header of an answer lets it be kept.
func (p *Policy) mayStore(h http.Header) bool {
	for _, line := range h.Values("Vary") {
		for name := range strings.SplitSeq(line, ",") {
			if strings.TrimSpace(name) == "*" {
				return false
			}
		}
	}
	if p.OverrideTTL > 0 {
		return true
	}
	cc := parseCacheControl(h)
	_, noStore := cc["no-store"]
	_, private := cc["private"]
	return !noStore && !private
}

// lifetime returns how long an answer that arrived at the time given is fresh,
// counted from then (RFC 9111, section 4.2). Zero or less means that it is stale
// from the beginning.
func (p *Policy) lifetime(h http.Header, arrived time.Time) time.Duration {
	if p.OverrideTTL > 0 {
		return p.OverrideTTL
	}
	cc := parseCacheControl(h)
	if _, ok := cc["no-cache"]; ok {
		return 0
	}
	stated, ok := cc.seconds("s-maxage")
	if !ok {
		stated, ok = cc.seconds("max-age")
	}
	if !ok && h.Get("Expires") != "" {
		ok = true
		if expires, err := http.ParseTime(h.Get("Expires")); err == nil {
			stated = min(expires.Sub(date(h, arrived)), longest)
		}
	}
	if !ok {
		return p.TTL
	}
	return max(stated, 0) - initialAge(h, arrived)
}

// initialAge is how old an answer already was when it arrived (RFC 9111,
// section 4.2.3, without the response delay, which is below its unit).
func initialAge(h http.Header, arrived time.Time) time.Duration {
	apparent := min(max(0, arrived.Sub(date(h, arrived))), longest)
	return max(apparent, deltaSeconds(h.Get("Age")))
}

// date returns the time at which the origin made the answer; the time of its
// arrival if it doesn't say.
func date(h http.Header, arrived time.Time) time.Time {
	if d, err := http.ParseTime(h.Get("Date")); err == nil {
		return d
	}
	return arrived
}
