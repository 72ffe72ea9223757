package voyo

import (
	"errors"
	"mime"
	"net/http"
	"slices"
	"strings"

	"github.com/voyo-music/caddy-voyo/internal/byterange"
	"github.com/voyo-music/caddy-voyo/resolver"
)

// requestFields are passed from a request to the upstream, and nothing else is:
// what a client sends must not decide what is kept for others, and its cookies
// and address are none of an upstream's business.
var requestFields = []string{"If-Modified-Since", "If-None-Match", "If-Range", "Range"}

// responseFields are passed from an upstream's answer to the cache, which sends some of
// them to clients, and keeps the tags by which answers are purged to itself. Set-Cookie
// is not among them, nor is anything that names a server.
var responseFields = []string{
	"Accept-Ranges", "Age", "Cache-Control", "Cache-Tag", "Cdn-Cache-Control", "Content-Length", "Content-Range", "Content-Type",
	"Date", "Etag", "Expires", "Last-Modified", "Surrogate-Key", "Vary",
}

// listFields are those of which all lines count.
var listFields = []string{"Cache-Control", "Cache-Tag", "Cdn-Cache-Control", "If-None-Match", "Surrogate-Key", "Vary"}

// pick returns what a header has of the fields. Of those that are no lists it is
// the first line, so that nobody downstream can take another one for it (RFC 9110,
// section 5.3).
func pick(header http.Header, fields []string) http.Header {
	picked := make(http.Header, len(fields))
	for _, name := range fields {
		values := header[name]
		switch {
		case len(values) == 0:
		case slices.Contains(listFields, name):
			picked[name] = slices.Clone(values)
		default:
			picked[name] = []string{values[0]}
		}
	}
	return picked
}

// setCommonHeader sets what every answer has.
func setCommonHeader(header http.Header) {
	values := [...]string{"Origin", "cross-origin", "nosniff"} // one array for all of them
	// Also without an Origin: a cache on the way must not give that answer to a
	// page that has one (https://fetch.spec.whatwg.org/#cors-protocol-and-http-caches).
	header["Vary"] = append(values[:1:1], header["Vary"]...)
	header["Cross-Origin-Resource-Policy"] = values[1:2:2]
	header["X-Content-Type-Options"] = values[2:]
}

// upstreamHeader returns what each request to an upstream has, besides what its
// target wants to be sent.
func upstreamHeader(a resolver.Asset, header http.Header, cdnLoop string) http.Header {
	out := pick(header, requestFields)
	// Several ranges come as multipart/byteranges, if at all. The whole is as good
	// an answer (RFC 9110, section 14.2), and one that can be checked.
	if specs, err := byterange.Parse(out.Get("Range")); err != nil || len(specs) > 1 {
		out.Del("Range")
		out.Del("If-Range")
	}
	accept := "image/*"
	if a.Kind == resolver.Stream {
		accept = string(a.Type) + "/*"
	}
	out.Set("Accept", accept)
	// What is stored and cut into ranges is the object itself. Without this, the
	// transport would ask for gzip.
	out.Set("Accept-Encoding", "identity")
	out.Set("Cdn-Loop", cdnLoop)
	out.Set("User-Agent", edgeName)
	out.Set("Via", "1.1 "+edgeName)
	return out
}

// isMedia reports whether a Content-Type may be that of a stream, whose file has
// the extension. It refuses what is clearly something else, such as the error page
// of a server that sends it with status 200, and lets pass what servers make of
// files that they do not know.
func isMedia(contentType, ext string) bool {
	if contentType == "" {
		return true
	}
	typ, _, err := mime.ParseMediaType(contentType)
	if err != nil {
		return false
	}
	top, sub, _ := strings.Cut(typ, "/")
	switch {
	case isGeneric(typ) && mediaType(resolver.Audio, ext) != genericType:
		return true
	case top == "text", top == "image", top == "font", top == "message", top == "model", top == "multipart":
		return false
	case strings.HasSuffix(sub, "+json"), strings.HasSuffix(sub, "+xml"):
		return false
	}
	return top != "application" || !slices.Contains([]string{"ecmascript", "javascript", "json", "pdf", "xml", "zip"}, sub)
}

// setContentType gives an answer a type that a browser can be told, who is told
// not to guess. There always is one, or else net/http would guess instead.
func setContentType(header http.Header, a resolver.Asset, ext string) {
	current, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	switch {
	case a.Kind == resolver.Art && slices.Contains(imageTypes, current):
	case a.Kind == resolver.Art:
		header.Set("Content-Type", genericType) // admitImage knows better
	case isGeneric(current):
		header.Set("Content-Type", mediaType(a.Type, ext))
	}
}

// isGeneric reports whether a type is one that servers give to files whose
// extension they do not know.
func isGeneric(typ string) bool {
	return slices.Contains([]string{"", genericType, "binary/octet-stream", "text/plain"}, typ)
}

const genericType = "application/octet-stream"

// mediaType returns the type of a stream's file by its extension. Some browsers
// don't play what is labelled generically.
func mediaType(typ resolver.Type, ext string) string {
	switch strings.ToLower(ext) {
	case ".opus", ".ogg", ".oga":
		return "audio/ogg"
	case ".mp3":
		return "audio/mpeg"
	case ".m4a":
		return "audio/mp4"
	case ".mp4":
		return "video/mp4"
	case ".webm":
		return string(typ) + "/webm"
	default:
		return genericType
	}
}

// imageTypes are the types of covers. SVG is not one of them, as it can hold
// scripts, which would run in the edge's own origin.
var imageTypes = []string{"image/avif", "image/gif", "image/jpeg", "image/png", "image/webp"}

var errNoImage = errors.New("not an image")

// admitImage admits a cover to the cache by what it is, whatever the upstream
// calls it, and labels it so.
func admitImage(header http.Header, head []byte) error {
	typ := http.DetectContentType(head)
	if isAVIF(head) {
		typ = "image/avif"
	}
	if !slices.Contains(imageTypes, typ) {
		return errNoImage
	}
	header.Set("Content-Type", typ)
	return nil
}

// isAVIF looks for AVIF's brand in the ftyp box that begins an ISO media file
// (ISO/IEC 14496-12, section 4.3): as the major brand, or among the compatible
// ones, since the major brand may be the container's.
func isAVIF(head []byte) bool {
	if len(head) < 16 || string(head[4:8]) != "ftyp" {
		return false
	}
	size := int(head[0])<<24 | int(head[1])<<16 | int(head[2])<<8 | int(head[3])
	head = head[:min(size, len(head))]
	for at := 8; at+4 <= len(head); at += 4 {
		// the four bytes behind the major brand are its version
		if brand := string(head[at : at+4]); at != 12 && (brand == "avif" || brand == "avis") {
			return true
		}
	}
	return false
}
