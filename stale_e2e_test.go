package voyo_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// A track whose upstream is gone plays on for as long as the operator says, and what
// the upstream says to CDNs comes before what it says to everybody.
func TestStaleTracks(t *testing.T) {
	track := fakeTrack(1000)
	for _, tt := range []struct {
		name, cacheControl, cdn string
		status                  int // with the upstream gone
	}{
		{"stale", "max-age=10", "", http.StatusOK},
		{"stale for CDNs", "max-age=1000", "max-age=10", http.StatusOK},
		{"fresh for CDNs", "no-cache", "max-age=1000", http.StatusOK},
		{"must be confirmed", "max-age=10, must-revalidate", "", http.StatusBadGateway},
		{"must be confirmed by CDNs", "max-age=10", "max-age=10, must-revalidate", http.StatusBadGateway},
		{"stale for too long", "max-age=10, stale-if-error=20", "", http.StatusBadGateway},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var gone atomic.Bool
			o := newOrigin(t, func(w http.ResponseWriter, _ *http.Request) {
				if gone.Load() {
					panic(http.ErrAbortHandler)
				}
				for name, v := range map[string]string{"Cache-Control": tt.cacheControl, "CDN-Cache-Control": tt.cdn} {
					if v != "" {
						w.Header().Set(name, v)
					}
				}
				w.Header().Set("Age", "100") // so that nobody has to wait until it is stale
				w.Header().Set("Content-Type", "audio/ogg")
				w.Header().Set("ETag", `"v"`)
				_, _ = w.Write([]byte(track))
			})
			e := startEdge(t, "voyo {\n"+template(o.URL)+"\nstream {\nstale_if_error 1h\n}\n}")
			e.mustGet(t, "/cdn/stream/"+songVOYO, track)
			gone.Store(true)
			a := e.get(t, "/cdn/stream/"+songVOYO)
			if a.status != tt.status {
				t.Fatalf("got %s", a)
			}
			if tt.status != http.StatusOK {
				return
			}
			if string(a.body) != track {
				t.Error("wrong bytes")
			}
			if a.header.Get("CDN-Cache-Control") != "" || !strings.HasPrefix(a.header.Get("Cache-Control"), "public") {
				t.Errorf("the client was told %q, %q", a.header.Get("Cache-Control"), a.header.Get("CDN-Cache-Control"))
			}
		})
	}
}
