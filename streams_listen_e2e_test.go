package voyo_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"
)

// heard is what a client got of a song.
type heard struct {
	status int
	header http.Header
	bytes  int64
}

// hit reports whether it came out of the cache alone.
func (h heard) hit() bool { return strings.HasPrefix(h.header.Get("Cache-Status"), "voyo; hit") }

// hear asks for all of a song and compares every byte that comes.
func (n node) hear(ctx context.Context, s song) (heard, error) {
	return n.hearPart(ctx, s, 0, s.size, "")
}

// hearRange asks for the bytes from start to end.
func (n node) hearRange(ctx context.Context, s song, start, end int64) (heard, error) {
	return n.hearPart(ctx, s, start, end, fmt.Sprintf("bytes=%d-%d", start, end-1))
}

// hearPart asks for a range, which should be the bytes from start to end.
func (n node) hearPart(ctx context.Context, s song, start, end int64, rng string) (h heard, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url+s.path(), nil)
	if err != nil {
		return h, err
	}
	status, contentRange := http.StatusOK, ""
	if rng != "" {
		r.Header.Set("Range", rng)
		status, contentRange = http.StatusPartialContent, fmt.Sprintf("bytes %d-%d/%d", start, end-1, s.size)
	}
	resp, err := n.client.Do(r)
	if err != nil {
		return h, err
	}
	defer resp.Body.Close()
	h.status, h.header = resp.StatusCode, resp.Header
	if got := resp.Header.Get("Content-Range"); resp.StatusCode != status || got != contentRange {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 200))
		return h, fmt.Errorf("track %s, %q: got %s, Content-Range %q: %q", s.id, rng, resp.Status, got, text)
	}
	h.bytes, err = s.verify(resp.Body, start, end)
	return h, err
}

// mustHear hears all of a song, and reports whether it was cached.
func (n node) mustHear(t *testing.T, s song) (hit bool) {
	t.Helper()
	h, err := n.hear(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	return h.hit()
}

// mustHearAll hears all of the songs, some at once, and returns how many were cached.
func (n node) mustHearAll(t *testing.T, songs []song, atOnce int) (hits int) {
	t.Helper()
	var count atomic.Int64
	group, ctx := errgroup.WithContext(t.Context())
	group.SetLimit(atOnce)
	for _, s := range songs {
		group.Go(func() error {
			h, err := n.hear(ctx, s)
			if h.hit() {
				count.Add(1)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	return int(count.Load())
}
