// Package bench holds the benchmarks of the edge: of the handler, and of its parts one by one.
package bench

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	voyo "github.com/voyo-music/caddy-voyo"
)

const (
	songID    = "OSBan_sH_b8"
	trackSize = 4 << 20
	coverSize = 20 << 10
)

// newHandler returns the handler as an operator has it, before an origin with any track
// and any cover.
func newHandler(b *testing.B, options map[string]any) caddyhttp.MiddlewareHandler {
	b.Helper()
	track := "OggS" + strings.Repeat("0123456789abcdef", trackSize/16)[4:]
	cover := "\x89PNG\r\n\x1a\n" + strings.Repeat("0123456789abcdef", coverSize/16)[8:]
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := track
		if strings.HasPrefix(r.URL.Path, "/art/") {
			body = cover
		}
		w.Header().Set("Etag", `"v1"`)
		http.ServeContent(w, r, r.URL.Path, time.Time{}, strings.NewReader(body))
	}))
	b.Cleanup(origin.Close)

	config := map[string]any{"resolvers": []any{map[string]any{
		"resolver": "template",
		"audio":    []string{origin.URL + "/{http.voyo.bitrate}/{http.voyo.id}.opus"},
		"art":      []string{origin.URL + "/art/{http.voyo.id}/{http.voyo.image}.png"},
	}}}
	maps.Copy(config, options)
	text, err := json.Marshal(config)
	if err != nil {
		b.Fatal(err)
	}
	whole, err := caddy.ProvisionContext(&caddy.Config{})
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(whole)
	b.Cleanup(cancel)
	mod, err := ctx.LoadModuleByID("http.handlers.voyo", text)
	if err != nil {
		b.Fatal(err)
	}
	app, err := ctx.App("voyo")
	if err != nil {
		b.Fatal(err)
	}
	if err := app.(*voyo.App).Start(); err != nil {
		b.Fatal(err)
	}
	return mod.(caddyhttp.MiddlewareHandler)
}

// newRequest returns a request as Caddy's server hands it to the handler. It can be used
// again.
func newRequest(path string, header http.Header) *http.Request {
	r := httptest.NewRequest(http.MethodGet, path, nil)
	if header != nil {
		r.Header = header
	}
	return caddyhttp.PrepareRequest(r, caddy.NewReplacer(), nil, nil)
}

// get answers the request, which must bring so many bytes.
func get(b *testing.B, h caddyhttp.MiddlewareHandler, r *http.Request, w *sent, want int) {
	b.Helper()
	clear(w.header)
	w.bytes = 0
	if err := h.ServeHTTP(w, r, nil); err != nil || w.bytes != want {
		b.Fatalf("%d, %d bytes, %v", w.status, w.bytes, err)
	}
}

// BenchmarkHit answers out of memory.
func BenchmarkHit(b *testing.B) {
	h := newHandler(b, nil)
	for _, c := range []struct {
		name, path, byteRange string
		size                  int
	}{
		{"cover", "/cdn/art/" + songID, "", coverSize},
		{"range", "/cdn/stream/" + songID, "bytes=1048576-1114111", 64 << 10},
		{"track", "/cdn/stream/" + songID, "", trackSize},
	} {
		header := http.Header{}
		if c.byteRange != "" {
			header.Set("Range", c.byteRange)
		}
		b.Run(c.name, func(b *testing.B) {
			r, w := newRequest(c.path, header), &sent{header: http.Header{}}
			for !strings.HasPrefix(w.header.Get("Cache-Status"), "voyo; hit") { // the fill may not have ended yet
				get(b, h, r, w, c.size)
			}
			b.ReportAllocs()
			for b.Loop() {
				get(b, h, r, w, c.size)
			}
			if status := w.header.Get("Cache-Status"); !strings.HasPrefix(status, "voyo; hit") {
				b.Fatal(status)
			}
		})
		b.Run(fmt.Sprintf("%s-parallel", c.name), func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				r, w := newRequest(c.path, header), &sent{header: http.Header{}}
				for pb.Next() {
					get(b, h, r, w, c.size)
				}
			})
		})
	}
}
