package cache

import (
	"net/http"
	"slices"
	"strings"
	"time"
)

// Policy decides what is kept, for how long, and what clients are told.
type Policy struct {
	TTL         time.Duration // freshness where the upstream states none; if Gateway, not of errors
	OverrideTTL time.Duration // freshness whatever the upstream states; 0 means that the upstream's counts
	NegativeTTL time.Duration // how long ErrNotFound is remembered, and the TTL of 404 and 410; 0 means not at all
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

	// Gateway says that answers are the upstream's own, as a gateway passes them
	// on (RFC 9110, section 3.7): whatever their status, they are stored and selected
	// by HTTP's rules (RFC 9111), with all of their header. Otherwise the cache speaks
	// for the upstream: it stores 200 and 206 alone, whatever the client's header, and
	// of the answers' header what players need.
	Gateway bool

	// Admit inspects the first bytes of an object, up to SniffLen of them, before
	// any of it is sent. It may correct the header, and returns an error to refuse
	// the object. May be nil. With it, an object is fetched from its beginning.
	Admit func(header http.Header, head []byte) error
}

// SniffLen is how many bytes Policy.Admit sees of an object that has as many.
const SniffLen = 512

// storable reports whether an answer to a request may be kept by a shared cache (RFC
// 9111, section 3). size is the object's, -1 if unknown. What a client says of storing
// in its Cache-Control is advice (section 5.2.1), and not heeded.
func (p *Policy) storable(request http.Header, resp *http.Response, size int64) bool {
	if p.MaxObject > 0 && size > p.MaxObject {
		return false
	}
	// A body that ends with its connection can't be told from a truncated one, unless
	// a range says how long it is.
	if resp.StatusCode != http.StatusPartialContent && resp.ContentLength < 0 && resp.ProtoMajor == 1 && len(resp.TransferEncoding) == 0 {
		return false
	}
	return p.mayStore(request, resp.StatusCode, resp.Header, time.Now())
}

// mayStore reports whether the status and the header of an answer that arrived at the
// time given let it be kept.
func (p *Policy) mayStore(request http.Header, status int, h http.Header, arrived time.Time) bool {
	d, targeted := responseDirectives(h)
	switch {
	case !isModest(h):
		return false
	case !p.Gateway:
		return p.mayStoreMedia(d, h)
	case !isStorable(status) || !isForAll(d, request, h):
		return false
	case p.overrides(status):
		return true
	case d.has("private"):
		return false
	case d.has("must-understand"): // then no-store is for those who don't (section 5.2.2.3)
		if !understands(status) {
			return false
		}
	case d.has("no-store"):
		return false
	}
	stated := d.has("public", "max-age", "s-maxage") || !targeted && len(h.Values("Expires")) > 0
	return (stated || byDefault(status)) && p.isOfUse(status, h, arrived)
}

// StatesFreshness reports whether an answer says itself for how long it is fresh (RFC
// 9111, section 4.2.1).
func StatesFreshness(h http.Header) bool {
	d, targeted := responseDirectives(h)
	return d["max-age"] != "" || d["s-maxage"] != "" || !targeted && h.Get("Expires") != ""
}

// mayStoreMedia is mayStore for what the cache speaks for: all of the header that
// matters is the cache's own, so that directives about fields are about the answer.
func (p *Policy) mayStoreMedia(d directives, h http.Header) bool {
	for name := range members(h.Values("Vary")...) {
		if name == "*" {
			return false
		}
	}
	if p.OverrideTTL > 0 {
		return true
	}
	_, private := d["private"]
	return !private && !d.has("no-store")
}

// isForAll reports whether an answer can be given to others than the one who asked:
// other requests match, it hands out no cookie, unless it says that this is not to be
// kept with it, and if credentials were sent for it, it says that they don't matter (RFC
// 9111, section 3.5).
func isForAll(d directives, request, h http.Header) bool {
	if _, ok := varyFields(h); !ok {
		return false
	}
	listed := append(d.fields("no-cache"), d.fields("private")...)
	if len(h.Values("Set-Cookie")) > 0 && !slices.Contains(listed, "Set-Cookie") {
		return false
	}
	return len(request.Values("Authorization")) == 0 || d.has("public", "s-maxage", "must-revalidate")
}

// maxHeader is how many bytes of a header are stored. There may be as many as entries.
const maxHeader = 16 << 10

// isModest reports whether an answer is one that a cache can hold: it has an end, which
// that of a stream of events is not meant to have, and no header that is worth more
// memory than most bodies.
func isModest(h http.Header) bool {
	size := 0
	for name, values := range h {
		for _, v := range values {
			size += len(name) + len(v)
		}
	}
	mediaType, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return size <= maxHeader && !strings.EqualFold(strings.TrimSpace(mediaType), "text/event-stream")
}

// isOfUse reports whether an answer can be used again: because it is fresh, or was to
// be used stale, or because it can be confirmed.
func (p *Policy) isOfUse(status int, h http.Header, arrived time.Time) bool {
	f := p.freshness(status, h, arrived)
	confirmable := h.Get("Etag") != "" || h.Get("Last-Modified") != ""
	return f.lifetime+max(f.whileRevalidate, f.ifError) > 0 || confirmable && byDefault(status)
}

// overrides reports whether the operator has the last word about answers with a status.
// About what is not there or failed, he does not.
func (p *Policy) overrides(status int) bool {
	return p.OverrideTTL > 0 && (!p.Gateway || status < 400 && byDefault(status))
}

// isStorable reports whether answers with a status are stored as such: it is final,
// and not about the conditions or the range of one request.
func isStorable(status int) bool {
	switch status {
	case http.StatusNotModified, http.StatusPreconditionFailed, http.StatusRequestedRangeNotSatisfiable:
		return false
	}
	return status >= 200
}

// understands reports whether what a status means to a cache is known and heeded:
// those that are registered, but for the one that stands for a difference (RFC 3229).
func understands(status int) bool {
	return isStorable(status) && http.StatusText(status) != "" && status != http.StatusIMUsed && status != http.StatusTeapot
}

// cacheableByDefault are the statuses of answers that may be used again without having
// said so (RFC 9110, section 15.1).
var cacheableByDefault = []int{
	http.StatusOK, http.StatusNonAuthoritativeInfo, http.StatusNoContent, http.StatusPartialContent,
	http.StatusMultipleChoices, http.StatusMovedPermanently, http.StatusPermanentRedirect,
	http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusGone, http.StatusRequestURITooLong, http.StatusNotImplemented,
}

func byDefault(status int) bool { return slices.Contains(cacheableByDefault, status) }
