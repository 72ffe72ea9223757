package cache

import (
	"testing"
)

// TestRangesOfAMultipartCountOnce asks for several ranges of what is on disk: each
// byte that is sent is one use.
func TestRangesOfAMultipartCountOnce(t *testing.T) {
	n := newDiskNode(t, Limits{Memory: 100_000, Slice: 10_000})
	o := newOrigin(content(1, 20_000))
	req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
	if _, _, err := get(t, n.Cache, req); err != nil {
		t.Fatal(err)
	}
	n.work.Wait()
	n.restart()
	if _, status, err := get(t, n.Cache, req, "Range", "bytes=0-8999,10000-18999"); status != Hit {
		t.Fatal(status, err)
	}
	if got := n.Stats().Bytes; got != 0 {
		t.Errorf("after one use there are %d bytes in memory", got)
	}
}
