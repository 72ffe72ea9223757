package cache

import (
	"fmt"
	"testing"
)

// TestScanDoesNotPushOutWhatIsHot has listeners come back to some objects while a
// crawler reads ten times the memory, each object once.
func TestScanDoesNotPushOutWhatIsHot(t *testing.T) {
	const size = 10_000
	c := newTest(t, Limits{Memory: 20 * size, Slice: 1000})
	o := newOrigin(content(1, size))
	ask := func(key string) Status {
		_, status, err := get(t, c, Request{Key: key, Policy: policy(), Fetch: o.fetch})
		if err != nil {
			t.Fatal(err)
		}
		c.work.Wait()
		return status
	}
	hot := func(i int) string { return fmt.Sprint("hot", i%5) }
	for i := range 4 * 5 {
		ask(hot(i))
	}
	hits := 0
	for i := range 200 {
		ask(fmt.Sprint("crawled", i))
		if i%10 == 9 && ask(hot(i/10)) == Hit {
			hits++
		}
	}
	if hits != 20 {
		t.Errorf("%d of 20 requests for what is hot were hits", hits)
	}
	c.check(t)
}

// TestPromotion has what is on disk come into memory with its third use, which
// four ranges of one listener are not.
func TestPromotion(t *testing.T) {
	n := newDiskNode(t, Limits{Memory: 100_000, Slice: 10_000})
	o := newOrigin(content(1, 20_000))
	req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
	if _, _, err := get(t, n.Cache, req); err != nil {
		t.Fatal(err)
	}
	n.work.Wait()
	n.restart()
	for i, promoted := range []bool{false, false, true} {
		for _, rng := range []string{"bytes=0-2499", "bytes=2500-4999", "bytes=5000-7499", "bytes=7500-9999"} {
			if _, status, err := get(t, n.Cache, req, "Range", rng); status != Hit {
				t.Fatal(status, err)
			}
		}
		if got := n.Stats().Bytes; (got == 10_000) != promoted {
			t.Errorf("after listener %d there are %d bytes in memory", i, got)
		}
	}
	n.check(t)
}
