package cache

import (
	"testing"
)

// TestRecallOfAnotherNamespace changes the namespace while an object is recalled.
func TestRecallOfAnotherNamespace(t *testing.T) {
	for range 50 {
		n := newDiskNode(t, Limits{Memory: 1 << 20, Slice: 1000})
		o := newOrigin(content(1, 1_000))
		req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
		if _, _, err := get(t, n.Cache, req); err != nil {
			t.Fatal(err)
		}
		n.work.Wait()
		n.restart()
		n.mu.Lock()
		fl := n.recall("a")
		n.mu.Unlock()
		n.SetDisk(n.store, "other")
		<-fl.done
		n.mu.Lock()
		_, ok := n.Cache.store.objects.Peek("a")
		n.mu.Unlock()
		if ok {
			t.Fatal("the cache has an object of another namespace")
		}
	}
}
