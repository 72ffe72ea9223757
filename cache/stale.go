package cache

import (
	"errors"
	"net/http"
	"time"

	"github.com/voyo-music/caddy-voyo/internal/byterange"
)

// retryTime is for how long an upstream that has just failed to confirm an object is
// not asked again, where it may be used without.
const retryTime = 10 * time.Second

// usableStale reports whether the object, which is stale, may be used for what is
// wanted, of which all must be there: while it is being confirmed, or because it
// can't be (RFC 5861). The caller holds Cache.mu.
func (o *object) usableStale(want byterange.Spec, headOnly bool, now time.Time) bool {
	stale := o.staleFor(now)
	if stale >= o.whileRevalidate && (stale >= o.ifError || !now.Before(o.retry)) {
		return false
	}
	return headOnly || o.all(want)
}

// revalidate has an object that is stale, and used all the same, confirmed in the
// background. The caller holds c.mu.
func (c *Cache) revalidate(req Request, o *object, want byterange.Spec, now time.Time) {
	if c.flights[o.key] == nil && !now.Before(o.retry) {
		c.launch(&flight{key: o.key, background: true}, req, o, want)
	}
}

// failed notes that an object could not be confirmed, which says nothing about it;
// unless the upstream says that it does not exist any more. The caller holds c.mu.
func (c *Cache) failed(fl *flight, req Request, old *object, err error) {
	fl.err = err
	if !fl.outdated && fl.stamp == c.store.purges.latest { // or else it may be there by now
		c.markMissing(req, err)
	}
	switch {
	case old == nil, errors.Is(err, errAbandoned): // the client has left, and the upstream has not failed
	case errors.Is(err, ErrNotFound):
		c.store.void(old)
	default:
		old.retry = time.Now().Add(retryTime)
		fl.stale = old
	}
}

// mayFail reports whether an object may be used if the upstream fails.
func (c *Cache) mayFail(o *object) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return o.staleFor(time.Now()) < o.ifError
}

// isFailure reports whether a status says that the upstream failed, so that what is
// stale may be used in its place (RFC 5861, section 4).
func isFailure(status int) bool {
	switch status {
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}
