package cache

import (
	"testing"
)

// TestWhatIsTooLargeIsNotPromoted reads small parts of a slice that the memory has no
// room for.
func TestWhatIsTooLargeIsNotPromoted(t *testing.T) {
	n := newDiskNode(t, Limits{Memory: 5000, Slice: 10_000})
	o := newOrigin(content(1, 20_000))
	req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
	if _, _, err := get(t, n.Cache, req); err != nil {
		t.Fatal(err)
	}
	n.work.Wait()
	n.store.Flush()
	n.mu.Lock()
	ob := n.Cache.store.get("a")
	n.mu.Unlock()
	if ob == nil {
		if _, _, err := get(t, n.Cache, req, "Range", "bytes=0-1"); err != nil {
			t.Fatal(err)
		}
		n.mu.Lock()
		ob = n.Cache.store.get("a")
		n.mu.Unlock()
	}
	promoted := 0
	for range 10 {
		n.mu.Lock()
		if n.Cache.store.useDisk(ob, 0, 10_000, 10_000) {
			promoted++
			delete(n.Cache.store.promoting, sliceKey{ob, 0})
		}
		n.mu.Unlock()
	}
	if promoted > 0 {
		t.Errorf("promoted %d times in 10 uses", promoted)
	}
}
