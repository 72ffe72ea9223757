package cache

import (
	"fmt"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestGatewayUpdates has the origin say something new of what is stored: in a 304, or
// in an answer to HEAD.
func TestGatewayUpdates(t *testing.T) {
	page := step{ask: "GET", origin: "200 | Cache-Control: max-age=60 | ETag: \"a\" | =a", want: "200 miss =a"}
	again := step{ask: "GET | N: 2", origin: "200 | Cache-Control: max-age=60 | =2", want: "200 miss =2"}
	const asked = "If-None-Match: \"a\""
	tests := []struct {
		name  string
		steps []step
	}{
		{"by now it is private", []step{
			page,
			{after: hour, ask: "GET | N: 1", origin: "304 | Cache-Control: private, max-age=60 | X-User: 1", sent: asked, want: "200 revalidated =a", header: "X-User: 1"},
			again,
		}},
		{"by now it varies", []step{
			page,
			{after: hour, ask: "GET | N: 1", origin: "304 | Cache-Control: max-age=60 | Vary: N", sent: asked, want: "200 revalidated =a"},
			again,
		}},
		{"by now it varies, says HEAD", []step{
			page,
			{after: hour, ask: "HEAD | N: 1", origin: "200 | Cache-Control: max-age=60 | ETag: \"a\" | Vary: N", want: "200 pass ="},
			again,
		}},
		{"a cookie is for who has asked", []step{
			page,
			{after: hour, ask: "GET | N: 1", origin: "304 | Cache-Control: max-age=60 | Set-Cookie: n=1 | A: 1", sent: asked, want: "200 revalidated =a", header: "Set-Cookie: n=1 | A: 1 | Etag: \"a\""},
			{ask: "GET | N: 2", want: "200 hit =a", header: "Set-Cookie: | A: 1"},
		}},
		{"HEAD of it, which does not say of which version", []step{
			{ask: "GET", origin: "200 | Cache-Control: max-age=60 | =a", want: "200 miss =a"},
			{after: hour, ask: "HEAD", origin: "200 | Cache-Control: max-age=60", want: "200 pass ="},
			{ask: "GET", origin: "200 | Cache-Control: max-age=60 | =b", want: "200 miss =b"},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGateway(t)
				for _, s := range tt.steps {
					g.do(s)
				}
			})
		})
	}
}

// TestGatewayConfirmsForOne has many wait for a 304 that is for one of them.
func TestGatewayConfirmsForOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPage(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Etag", `"a"`)
			w.Header().Set("Cache-Control", "max-age=60")
			if n := r.Header.Get("N"); n != "" {
				time.Sleep(time.Second)
				w.Header().Set("Cache-Control", "private, max-age=60")
				w.Header().Set("X-User", n)
			}
			if r.Header.Get("If-None-Match") != "" {
				w.WriteHeader(http.StatusNotModified)
			}
		})
		p.get(t.Context())
		time.Sleep(time.Hour)
		var wg sync.WaitGroup
		for i := range 20 {
			wg.Go(func() {
				n := fmt.Sprint(i)
				if got := p.ask(t.Context(), "N", n).Header().Get("X-User"); got != n {
					t.Errorf("%s got what is for %s", n, got)
				}
			})
		}
		wg.Wait()
	})
}
