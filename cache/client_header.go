package cache

import (
	"net/http"
	"slices"
	"sync"
)

// clientHeader is the header of an answer to a client, until that is begun: what fails
// before may still be answered in another way. It is a list, whose fields are few; the
// lines of one are next to each other.
type clientHeader struct{ lines []headerLine }

type headerLine struct{ name, value string }

// clientHeaders are empty.
var clientHeaders = sync.Pool{New: func() any { return &clientHeader{lines: make([]headerLine, 0, usualLines)} }}

const usualLines = 16

// newClientHeader returns what clients are sent of the header of a stored or a forwarded
// answer.
func newClientHeader(upstream http.Header, policy *Policy) *clientHeader {
	var h *clientHeader
	if policy.Gateway {
		h = copyHeader(upstream)
	} else {
		h = clientHeaders.Get().(*clientHeader)
		for _, name := range sentFields {
			if v := upstream[name]; len(v) > 0 {
				h.add(name, v[0])
			}
		}
		h.add("Accept-Ranges", "bytes")
	}
	if policy.MaxAge >= 0 {
		h.del("Expires")
		h.set("Cache-Control", "public, max-age="+seconds(policy.MaxAge))
	}
	return h
}

// sentFields are those of a stored answer that clients are sent, where that is not a
// gateway's.
var sentFields = [...]string{"Content-Type", "Etag", "Last-Modified", "Date"}

// copyHeader returns one with all that another header has.
func copyHeader(other http.Header) *clientHeader {
	h := clientHeaders.Get().(*clientHeader)
	for name, values := range other {
		for _, value := range values {
			h.lines = append(h.lines, headerLine{name, value})
		}
	}
	return h
}

// find returns where a field's lines begin and end, twice the end of all if it has none.
func (h *clientHeader) find(name string) (begin, end int) {
	for begin < len(h.lines) && h.lines[begin].name != name {
		begin++
	}
	end = begin
	for end < len(h.lines) && h.lines[end].name == name {
		end++
	}
	return begin, end
}

func (h *clientHeader) has(name string) bool {
	begin, end := h.find(name)
	return begin < end
}

// get returns the first line of a field.
func (h *clientHeader) get(name string) string {
	if begin, end := h.find(name); begin < end {
		return h.lines[begin].value
	}
	return ""
}

// add gives a field one more line.
func (h *clientHeader) add(name, value string) {
	_, end := h.find(name)
	h.lines = slices.Insert(h.lines, end, headerLine{name, value})
}

// set gives a field one line.
func (h *clientHeader) set(name, value string) {
	begin, end := h.find(name)
	h.lines = slices.Replace(h.lines, begin, end, headerLine{name, value})
}

func (h *clientHeader) del(name string) {
	begin, end := h.find(name)
	h.lines = slices.Delete(h.lines, begin, end)
}

func (h *clientHeader) clear() { h.lines = slices.Delete(h.lines, 0, len(h.lines)) }

// unsentMetadata are the fields that a 304 leaves out: they describe a representation
// that the client has, and guide no update of it (RFC 9110, section 15.4.5).
var unsentMetadata = []string{
	"Content-Digest", "Content-Disposition", "Content-Encoding", "Content-Language", "Content-Length", "Content-Md5",
	"Content-Range", "Content-Type", "Digest", "Repr-Digest",
}

// dropMetadata leaves what a 304 has of the header that a 200 would have. Last-Modified
// is needed where there is no entity tag to tell the version by.
func (h *clientHeader) dropMetadata() {
	for _, name := range unsentMetadata {
		h.del(name)
	}
	if h.get("Etag") != "" {
		h.del("Last-Modified")
	}
}

// moveTo sets the fields in a header that is sent, and ends the use of this one. Other
// handlers may change values that they find there in place: they have an array of their own.
func (h *clientHeader) moveTo(sent http.Header) {
	values := make([]string, len(h.lines))
	for i := 0; i < len(h.lines); {
		begin := i
		for i < len(h.lines) && h.lines[i].name == h.lines[begin].name {
			values[i] = h.lines[i].value
			i++
		}
		sent[h.lines[begin].name] = values[begin:i:i]
	}
	if len(h.lines) <= usualLines {
		h.clear()
		clientHeaders.Put(h)
	}
}
