package voyo

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"regexp"
	"testing"
	"time"
)

func TestServerTiming(t *testing.T) {
	song := bytes.Repeat([]byte("voyo"), 5000)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", `"1"`)
		http.ServeContent(w, r, "song.mp3", time.Time{}, bytes.NewReader(song))
	}))
	defer srv.Close()
	h := newTestHandler(t, at(srv.URL))
	for i, form := range []string{`^resolve;dur=[\d.]+, connect;dur=[\d.]+, ttfb;dur=[\d.]+$`, `^$`} {
		w := serve(t, h, "GET", "/cdn/stream/"+testID, nil)
		if got := w.Header().Get("Server-Timing"); w.Code != 200 || !regexp.MustCompile(form).MatchString(got) {
			t.Errorf("request %d: got %d, Server-Timing %q", i, w.Code, got)
		}
	}
}

func TestTimingAddsUp(t *testing.T) {
	tm := new(timing)
	ctx := tm.trace(context.Background())
	resolving(ctx)()
	if tm.resolve <= 0 {
		t.Errorf("a look-up took %v", tm.resolve)
	}
	tm.resolve, tm.connect, tm.firstByte = 1500*time.Microsecond, 0, 20*time.Millisecond
	if got, want := tm.field(), "resolve;dur=1.5, connect;dur=0, ttfb;dur=20"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	resolving(context.Background())() // of a fetch that is not timed
}
