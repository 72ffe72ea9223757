package cache

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// TestFollowingKeepsTheWindow has a reader of what the memory can't keep: what the
// fill holds for him is not fetched again.
func TestFollowingKeepsTheWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{Memory: 1, Slice: 1000})
		o := newOrigin(content(1, 40_000))
		p := policy()
		p.ReadAhead = 1
		req := Request{Key: "a", Policy: p, Fetch: o.fetch}
		var got bytes.Buffer
		client := &checking{header: http.Header{}, want: &pattern{}, paused: func(int64) error {
			time.Sleep(5 * time.Second)
			return nil
		}}
		if err := serve(t.Context(), c, &teeWriter{client, &got}, req, ""); err != nil || !bytes.Equal(got.Bytes(), o.body) {
			t.Error(err)
		}
		c.work.Wait()
		if sent := o.bytesSent(); sent != 40_000 {
			t.Errorf("the upstream sent %d bytes of 40000, in %d requests", sent, o.count())
		}
	})
}

// TestFollowingStopsWithASeek has a listener leave in the middle of what is stored: not
// more than a slice is fetched for nobody.
func TestFollowingStopsWithASeek(t *testing.T) {
	for _, tt := range []struct {
		rng  string
		most int64
	}{
		{"bytes=0-", 1000},        // leaves in the middle
		{"bytes=0-499", 3 * 1000}, // gets all: the next slice comes, and two more
	} {
		t.Run(tt.rng, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newTest(t, Limits{Slice: 1000, Memory: 1 << 20})
				o := newOrigin(content(1, 40_000))
				o.wrap = func(_ context.Context, r io.Reader) io.Reader {
					return readerFunc(func(p []byte) (int, error) {
						time.Sleep(time.Millisecond) // the listener leaves first
						return r.Read(p)
					})
				}
				p := policy()
				req := Request{Key: "a", Policy: p, Fetch: o.fetch}
				if _, _, err := get(t, c, req, "Range", "bytes=0-999"); err != nil {
					t.Fatal(err)
				}
				c.work.Wait()
				before := o.bytesSent()
				ahead := *p
				ahead.ReadAhead = 2
				req.Policy = &ahead
				ctx, cancel := context.WithCancel(t.Context())
				after := int64(-1)
				if tt.rng == "bytes=0-" {
					after = 0
				}
				_ = serve(ctx, c, &leaving{ResponseRecorder: httptest.NewRecorder(), after: after, cancel: cancel}, req, tt.rng)
				cancel()
				c.work.Wait()
				if sent := o.bytesSent() - before; sent > tt.most {
					t.Errorf("the upstream sent %d bytes, for %d", sent, tt.most)
				}
			})
		})
	}
}
