package cache

import (
	"bytes"
	"net/http"
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
