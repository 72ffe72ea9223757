package cache

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"
)

// TestClockIsSetBack has an object on disk that was stored when the clock was years
// ahead, and one from years ago: neither passes for fresh, and each is once it is
// confirmed. A bubble's clock begins in the year 2000.
func TestClockIsSetBack(t *testing.T) {
	n := newNode(t, Limits{Memory: 1 << 20, Slice: 1000}, diskSpace)
	o := newOrigin(content(1, 10_000))
	req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
	n.bring(t, req)
	n.stop()
	confirmed := func(t *testing.T) {
		t.Helper()
		n.start()
		defer n.stop()
		for _, want := range []Status{Revalidated, Hit} {
			resp, status, err := get(t, n.Cache, req)
			if err != nil || status != want || !bytes.Equal(read(t, resp), o.body) {
				t.Errorf("%s, want %s, %v", status, want, err)
			}
			n.store.Flush()
		}
	}
	synctest.Test(t, func(t *testing.T) {
		if time.Now().Year() > 2000 {
			t.Fatal("the clock was not set back")
		}
		confirmed(t)
		n.start() // what is stored now is not from the future
		defer n.stop()
		if status := n.bring(t, req); status != Hit {
			t.Errorf("after it was confirmed: %s", status)
		}
	})
	confirmed(t)
}
