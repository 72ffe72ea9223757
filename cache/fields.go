package cache

import (
	"errors"
	"iter"
	"maps"
	"net/http"
	"strings"

	"github.com/voyo-music/caddy-voyo/internal/byterange"
)

// members yields the members of a list whose elements have no quoted strings, given
// by its lines; without those that are empty (RFC 9110, section 5.6.1.2).
func members(lines ...string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, line := range lines {
			for member := range strings.SplitSeq(line, ",") {
				if member = strings.Trim(member, " \t"); member != "" && !yield(member) {
					return
				}
			}
		}
	}
}

// HopByHop are the fields that are about one connection, or one exchange with a proxy,
// or were when they were made, whether Connection names them or not (RFC 9110, section
// 7.6.1, and RFC 9111, section 3.1).
var HopByHop = []string{
	"Connection", "Http2-Settings", "Keep-Alive", "Proxy-Authenticate", "Proxy-Authentication-Info", "Proxy-Authorization",
	"Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// RemoveHopByHop removes those fields, and those that Connection names.
func RemoveHopByHop(h http.Header) {
	for name := range members(h.Values("Connection")...) {
		h.Del(name)
	}
	for _, name := range HopByHop {
		h.Del(name)
	}
}

// storedHeader returns what is kept of the header of an answer (RFC 9111, section
// 3.1): nothing hop-by-hop, and no cookies, which are one client's. Whether the answer
// may be kept is for the whole of it to say.
func storedHeader(h http.Header) http.Header {
	stored := h.Clone()
	RemoveHopByHop(stored)
	stored.Del("Set-Cookie")
	dropFraming(stored)
	dropQualified(stored)
	return stored
}

// mediaFields are those that matter where the cache speaks for what it keeps: what its
// clients are sent, what says for how long and for whom it is, and by which tags it is
// purged.
var mediaFields = append(sentFields[:], "Age", "Cache-Control", "Cache-Tag", "Cdn-Cache-Control", "Expires", "Surrogate-Key", "Vary")

// mediaHeader returns what is kept of the header of an answer there.
func mediaHeader(h http.Header) http.Header { return pickFields(h, mediaFields).Clone() }

// dropFraming removes what the cache itself says of the bytes that it sends: it cuts
// its own ranges. A Content-Range that can't be one means nothing (RFC 9110, section
// 14.4), and is the origin's like any other field.
func dropFraming(h http.Header) {
	h.Del("Content-Length")
	if _, _, err := byterange.ParseContentRange(h.Get("Content-Range")); err == nil || errors.Is(err, byterange.ErrUnsatisfied) {
		h.Del("Content-Range")
	}
}

// dropQualified removes the fields that a no-cache or private directive is about: a
// cache that does not keep them need not confirm them (RFC 9111, sections 5.2.2.4
// and 5.2.2.7).
func dropQualified(h http.Header) {
	d, _ := responseDirectives(h)
	for _, directive := range qualifiable {
		for _, name := range d.fields(directive) {
			h.Del(name)
		}
	}
}

// unchanging are the fields that no later answer changes: they say which bytes are
// stored, and how they are coded (RFC 9111, section 3.2). Content-Digest is about the
// content of the message that has it (RFC 9530, section 2), which here is none.
var unchanging = []string{"Content-Digest", "Content-Encoding", "Content-Md5", "Content-Range", "Etag"}

// updatedHeader returns a stored header with what an answer says that confirms it: a
// 304, or one to HEAD (RFC 9111, sections 3.2, 4.3.4 and 4.3.5).
func updatedHeader(stored, answer http.Header) http.Header {
	updated := mergedHeader(stored, storedHeader(answer))
	dropQualified(updated) // also what the stored answer did not list
	return updated
}

// mergedHeader is the same with all that is not to be stored.
func mergedHeader(stored, answer http.Header) http.Header {
	merged := stored.Clone()
	// These belong to the answer that brought them.
	merged.Del("Age")
	merged.Del("Date")
	changes := answer.Clone()
	dropFraming(changes)
	for _, name := range unchanging {
		changes.Del(name)
	}
	maps.Copy(merged, changes)
	return merged
}
