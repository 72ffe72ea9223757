package voyo

import (
	"io"
	"net/http"
	"slices"

	"github.com/voyo-music/caddy-voyo/cache"
)

// What goes past the cache may be of interest to it all the same: it may change what
// is kept, or be what later requests ask for.

// maxKeptPost is how large, in bytes, the answer to a POST may be to be kept.
const maxKeptPost = 1 << 20

// invalidate has the cache forget what an answer says has changed (RFC 9111, section
// 4.4).
func (h *Handler) invalidate(method string, f *forwarding, resp *http.Response) {
	if isSafe(method) || resp.StatusCode < 200 || resp.StatusCode > 399 {
		return
	}
	if f.expected != nil {
		f.expected.Invalidate()
	} else {
		h.state.pages.Invalidate(f.key())
	}
	for _, name := range []string{"Location", "Content-Location"} {
		if key, ok := f.related(resp.Header.Get(name)); ok && key != f.key() {
			h.state.pages.Invalidate(key)
		}
	}
}

// isSafe reports whether a request with the method changes nothing. Of a method that
// is not known, it isn't.
func isSafe(method string) bool {
	return slices.Contains([]string{http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace}, method)
}

// expect has the cache expect the answer to a POST, which may be kept, until done is
// called.
func (h *Handler) expect(method string, f *forwarding) (done func()) {
	if method != http.MethodPost {
		return func() {}
	}
	f.expected = h.state.pages.Expect(f.key())
	return f.expected.Done
}

// keeping returns the body to pass on. That of an answer to a POST is given to the
// cache as well, if the answer says that it is the page itself, and for how long it is
// fresh (RFC 9110, section 9.3.3).
func (h *Handler) keeping(f *forwarding, resp *http.Response) io.ReadCloser {
	key, same := f.related(resp.Header.Get("Content-Location"))
	switch {
	case f.expected == nil, resp.StatusCode != http.StatusOK, !same, key != f.key(), !cache.StatesFreshness(resp.Header):
		return resp.Body
	case resp.ContentLength < 0, resp.ContentLength > maxKeptPost:
		return resp.Body
	}
	page := *resp
	page.Header, page.Body, page.Request, page.Trailer = resp.Header.Clone(), http.NoBody, nil, nil
	return &kept{
		ReadCloser: resp.Body,
		length:     int(resp.ContentLength),
		done: func(body []byte) {
			f.expected.Put(cache.Request{Key: key, Policy: &h.origin.policy, Header: f.header}, &page, body)
		},
	}
}
