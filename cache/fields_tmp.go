package cache

import "net/http"

func storedHeader(h http.Header) http.Header { return h.Clone() }
func updatedHeader(stored, h http.Header) http.Header {
	merged := stored.Clone()
	for name, values := range h {
		switch name {
		case "Content-Length", "Content-Range":
		default:
			merged[name] = values
		}
	}
	for _, name := range []string{"Age", "Date"} {
		if h.Get(name) == "" {
			merged.Del(name)
		}
	}
	return merged
}
func notModifiedHeader(h http.Header) http.Header {
	h = h.Clone()
	h.Del("Content-Type")
	return h
}
func varyFields(h http.Header) ([]string, bool)             { return h.Values("Vary"), true }
func variantKey(names []string, request http.Header) string { return request.Get(names[0]) }
