package cache

import (
	"net/http"
	"sync"
)

// clientHeader is the header of an answer to a client. Other handlers may change values
// that they find there in place: none are shared with what is stored.
type clientHeader struct {
	header http.Header
	values []string // that set has set: one array for all of them
}

// set gives a field one value.
func (h *clientHeader) set(name, value string) {
	h.values = append(h.values, value)
	n := len(h.values)
	h.header[name] = h.values[n-1 : n : n]
}

// newClientHeader returns what clients are sent of the header of a stored or a forwarded
// answer.
func newClientHeader(upstream http.Header, policy *Policy) clientHeader {
	h := clientHeader{values: make([]string, 0, usualFields)}
	if policy.Gateway {
		h.header = upstream.Clone()
	} else {
		h.header = headers.Get().(http.Header)
		for _, name := range sentFields {
			if v := upstream[name]; len(v) > 0 {
				h.set(name, v[0])
			}
		}
		h.set("Accept-Ranges", "bytes")
	}
	if policy.MaxAge >= 0 {
		delete(h.header, "Expires")
		h.set("Cache-Control", "public, max-age="+seconds(policy.MaxAge))
	}
	return h
}

// sentFields are those of a stored answer that clients are sent, where that is not a
// gateway's.
var sentFields = [...]string{"Content-Type", "Etag", "Last-Modified", "Date"}

// headers are empty, and of the size that is usual here.
var headers = sync.Pool{New: func() any { return make(http.Header, usualFields) }}

const usualFields = 12

// recycle takes back a header whose fields have been copied.
func recycle(h http.Header) {
	if len(h) <= usualFields {
		clear(h)
		headers.Put(h)
	}
}
