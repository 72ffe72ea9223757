package voyo

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/voyo-music/caddy-voyo/cache"
)

// largestWrite is a client that notes how much comes at once.
type largestWrite struct {
	*httptest.ResponseRecorder
	n int
}

func (w *largestWrite) Write(p []byte) (int, error) {
	w.n = max(w.n, len(p))
	return w.ResponseRecorder.Write(p)
}

func TestWidenWrites(t *testing.T) {
	song := bytes.Repeat([]byte("voyo"), cache.DefaultSlice/2) // two slices
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", `"1"`)
		http.ServeContent(w, r, "song.mp3", time.Time{}, bytes.NewReader(song))
	}))
	defer srv.Close()
	h := newTestHandler(t, at(srv.URL))
	h.state.streams = cache.New(cache.Limits{Memory: 4 << 20}) // in the place of one of smaller slices
	serve(t, h, "GET", "/cdn/stream/"+testID, nil)             // so that it is in memory

	const kib = 1 << 10
	for name, tt := range map[string]struct {
		deadline caddyhttp.IdleDeadline
		chunk    int
		want     int
	}{
		"Caddy's default":   {caddyhttp.IdleDeadline{Timeout: time.Minute}, 64 * kib, 256 * kib},
		"more time":         {caddyhttp.IdleDeadline{Timeout: time.Hour}, 64 * kib, 256 * kib},
		"less time":         {caddyhttp.IdleDeadline{Timeout: 30 * time.Second}, 64 * kib, 128 * kib},
		"hardly any":        {caddyhttp.IdleDeadline{Timeout: time.Second}, 64 * kib, 64 * kib},
		"a least rate":      {caddyhttp.IdleDeadline{Timeout: time.Minute, MinRate: 1}, 64 * kib, 64 * kib},
		"the operator's":    {caddyhttp.IdleDeadline{Timeout: time.Minute}, 16 * kib, 16 * kib},
		"the operator's, 2": {caddyhttp.IdleDeadline{Timeout: time.Minute}, 512 * kib, 256 * kib},
	} {
		client := &largestWrite{ResponseRecorder: httptest.NewRecorder()}
		w := &caddyhttp.IdleTimeoutWriter{
			ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: client},
			Ctrl:                  http.NewResponseController(client),
			Deadline:              tt.deadline,
			MaxChunk:              tt.chunk,
			Logger:                zap.NewNop(),
		}
		r := newTestRequest("GET", "/cdn/stream/"+testID, nil)
		r = r.WithContext(caddyhttp.ContextWithIdleTimeouts(r.Context(), nil, w))
		if err := serveRequest(h, w, r); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if client.n != tt.want || w.MaxChunk != tt.chunk || !bytes.Equal(client.Body.Bytes(), song) {
			t.Errorf("%s: %d bytes, at most %d at once, then %d", name, client.Body.Len(), client.n, w.MaxChunk)
		}
	}
}
