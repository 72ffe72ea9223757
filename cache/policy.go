package cache

import (
	"net/http"
	"strings"
	"time"
)

// Policy decides what is kept, for how long, and what clients are told.
type Policy struct {
	TTL         time.Duration // freshness where the upstream states none
	OverrideTTL time.Duration // freshness whatever the upstream states; 0 means that the upstream's counts
	NegativeTTL time.Duration // how long ErrNotFound is remembered; 0 means not at all
	MaxAge      time.Duration // max-age of the Cache-Control that clients are sent; below 0: they are sent the upstream's
	MaxObject   int64         // bytes; larger answers pass through uncached. 0 means no bound

	// For so long after it has become stale an answer may be used while it is being
	// confirmed, or if the upstream fails, unless the upstream says otherwise (RFC 5861).
	// 0 means not at all.
	StaleWhileRevalidate time.Duration
	StaleIfError         time.Duration

	// ReadAhead is how many slices beyond the wanted ones are fetched with them, for
	// the player that goes on. What a client leaves in the middle, as when it seeks,
	// is not read ahead of.
	ReadAhead int

	// Transparent says that answers are the upstream's own, as a gateway passes them
	// on (RFC 9110, section 3.7): whatever their status, they are stored and selected
	// by HTTP's rules (RFC 9111), with all of their header. Otherwise the cache speaks
	// for the upstream: it stores 200 and 206 alone, whatever the client's header, and
	// of the answers' header what players need.
	Transparent bool

	// Admit inspects the first bytes of an object, up to SniffLen of them, before
	// any of it is sent. It may correct the header, and returns an error to refuse
	// the object. May be nil. With it, an object is fetched from its beginning.
	Admit func(header http.Header, head []byte) error
}

// SniffLen is how many bytes Policy.Admit sees of an object that has as many.
const SniffLen = 512

// storable reports whether an answer may be kept by a shared cache (RFC 9111,
// section 3). size is the object's, -1 if unknown.
func (p *Policy) storable(_ http.Header, resp *http.Response, size int64) bool {
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
	d, _ := responseDirectives(h)
	return !d.has("no-store", "private")
}

// freshness says for how long an answer may be used, counted from its arrival.
type freshness struct {
	lifetime time.Duration // zero or less: it is stale from the beginning

	// For so long after that it may be used while it is being confirmed, or if it
	// can't be (RFC 5861).
	whileRevalidate, ifError time.Duration
}

// freshness returns that of an answer that arrived at the time given (RFC 9111,
// section 4.2).
func (p *Policy) freshness(_ int, h http.Header, arrived time.Time) freshness {
	if p.OverrideTTL > 0 {
		return freshness{p.OverrideTTL, p.StaleWhileRevalidate, p.StaleIfError}
	}
	d, targeted := responseDirectives(h)
	f := freshness{lifetime: p.lifetime(d, targeted, h, arrived)}
	// RFC 9111, section 4.2.4: s-maxage, too, says that it must be confirmed
	if d.has("no-cache", "must-revalidate", "proxy-revalidate", "s-maxage") {
		return f
	}
	f.whileRevalidate, f.ifError = p.StaleWhileRevalidate, p.StaleIfError
	if stated, ok := d.seconds("stale-while-revalidate"); ok {
		f.whileRevalidate = stated
	}
	if stated, ok := d.seconds("stale-if-error"); ok {
		f.ifError = stated
	}
	return f
}

// lifetime returns how long an answer with the directives is fresh.
func (p *Policy) lifetime(d directives, targeted bool, h http.Header, arrived time.Time) time.Duration {
	if d.has("no-cache") {
		return 0
	}
	stated, ok := d.seconds("s-maxage")
	if !ok {
		stated, ok = d.seconds("max-age")
	}
	if !ok && !targeted && h.Get("Expires") != "" {
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
