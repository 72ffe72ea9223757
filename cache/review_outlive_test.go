package cache

import (
	"bytes"
	"io"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// TestOldFailureDoesNotAbort has the upstream fail while a slow listener has enough to
// listen to; it is well again when he needs more.
func TestOldFailureDoesNotAbort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{Slice: 1000, Memory: 1 << 20})
		o := newOrigin(content(1, 40_000))
		down := false
		o.fail = func(int, http.Header) error {
			if down {
				return errReset
			}
			return nil
		}
		o.tamper = func(n int, resp *http.Response) {
			if n == 1 {
				down = true
				resp.Body = io.NopCloser(errReader(resp.Body, 10_500, errReset, nil))
			}
		}
		req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
		var got bytes.Buffer
		client := &checking{header: http.Header{}, want: &pattern{}, paused: func(off int64) error {
			time.Sleep(time.Second)
			if off >= 5000 {
				o.mu.Lock()
				down = false
				o.mu.Unlock()
			}
			return nil
		}}
		err := serve(t.Context(), c, &teeWriter{client, &got}, req, "")
		if err != nil || !bytes.Equal(got.Bytes(), o.body) {
			t.Errorf("%d bytes of %d, %v", got.Len(), len(o.body), err)
		}
	})
}
