package cache

import (
	"net/http"
	"strconv"
	"time"
)

// heard updates what is stored with the answer to a HEAD, or makes it stale if that is
// about another version (RFC 9111, section 4.3.5).
func (c *Cache) heard(req Request, a *answer, asked time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o, _ := c.store.find(req)
	if o == nil || o.status != http.StatusOK || a.StatusCode != http.StatusOK {
		return
	}
	switch {
	case !o.matches(a.Header):
		o.freshness = freshness{}
	case a.Header.Get("Etag") == "" && a.Header.Get("Last-Modified") == "":
		// It says nothing against the stored version, and nothing for it: or else whoever
		// looks every minute whether a page is there would have it kept for ever.
	case !o.refresh(req, a.Header, asked):
		c.store.void(o)
	}
}

// matches reports whether a header that came without content can be the object's.
func (o *object) matches(h http.Header) bool {
	length := h.Get("Content-Length")
	return h.Get("Etag") == o.header.Get("Etag") &&
		h.Get("Last-Modified") == o.header.Get("Last-Modified") &&
		(length == "" || o.size < 0 || length == strconv.FormatInt(o.size, 10))
}
