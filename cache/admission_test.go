package cache

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
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
	n.bring(t, req)
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

// TestWhatIsTooLargeIsNotPromoted reads small parts of a slice that the memory has no
// room for.
func TestWhatIsTooLargeIsNotPromoted(t *testing.T) {
	n := newDiskNode(t, Limits{Memory: 5000, Slice: 10_000})
	o := newOrigin(content(1, 20_000))
	req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
	n.bring(t, req)
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
		}
		n.mu.Unlock()
	}
	if promoted > 0 {
		t.Errorf("promoted %d times in 10 uses", promoted)
	}
}

// TestPromotedSliceInAFillsWay has a slice come into memory, from the disk, ahead of a
// fill that has no gap there: an object that was forgotten while it was read, and the
// one that was recalled, share what is on disk.
func TestPromotedSliceInAFillsWay(t *testing.T) {
	n := newDiskNode(t, Limits{Memory: 1 << 20, Slice: 1000, Entries: 1})
	o := newOrigin(content(1, 10_000))
	gateA, gateB := make(chan struct{}), make(chan struct{})
	req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
	o.tamper = func(_ int, resp *http.Response) {
		cr := resp.Header.Get("Content-Range")
		body := resp.Body
		switch {
		case strings.HasPrefix(cr, "bytes 5000-"): // of the forgotten object
			resp.Body = io.NopCloser(readerFunc(func(p []byte) (int, error) { <-gateA; return body.Read(p) }))
		case strings.HasPrefix(cr, "bytes 0-"): // of the recalled one
			resp.Body = io.NopCloser(io.MultiReader(io.LimitReader(body, 3000),
				readerFunc(func(p []byte) (int, error) { <-gateB; return body.Read(p) })))
		}
	}
	n.bring(t, req, "Range", "bytes=9000-9999")

	one := make(chan error, 1)
	go func() { one <- serve(t.Context(), n.Cache, httptest.NewRecorder(), req, "bytes=5000-5999") }()
	for o.count() < 2 {
		time.Sleep(time.Millisecond)
	}
	other := newOrigin(content(2, 500))
	if _, _, err := get(t, n.Cache, Request{Key: "b", Policy: policy(), Fetch: other.fetch}); err != nil {
		t.Fatal(err)
	}
	two := make(chan error, 1)
	rec := httptest.NewRecorder()
	go func() { two <- serve(t.Context(), n.Cache, rec, req, "bytes=0-8999") }()
	for o.count() < 3 {
		time.Sleep(time.Millisecond)
	}
	close(gateA)
	if err := <-one; err != nil {
		t.Fatal(err)
	}
	for stored := false; !stored; { // whoever has all of it may be ahead of its fill's end
		n.store.Flush()
		n.mu.Lock()
		stored = n.Cache.store.get("a").onDisk(5)
		n.mu.Unlock()
	}
	for range 3 { // until it is promoted
		if _, _, err := get(t, n.Cache, req, "Range", "bytes=5000-5999"); err != nil {
			t.Fatal(err)
		}
	}
	close(gateB)
	if err := <-two; err != nil || !bytes.Equal(rec.Body.Bytes(), o.body[:9000]) {
		t.Errorf("%d bytes of 9000, %v", rec.Body.Len(), err)
	}
	n.work.Wait()
	n.check(t)
}

// TestRangesOfAMultipartCountOnce asks for several ranges of what is on disk: each
// byte that is sent is one use.
func TestRangesOfAMultipartCountOnce(t *testing.T) {
	n := newDiskNode(t, Limits{Memory: 100_000, Slice: 10_000})
	o := newOrigin(content(1, 20_000))
	req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
	n.bring(t, req)
	n.restart()
	if _, status, err := get(t, n.Cache, req, "Range", "bytes=0-8999,10000-18999"); status != Hit {
		t.Fatal(status, err)
	}
	if got := n.Stats().Bytes; got != 0 {
		t.Errorf("after one use there are %d bytes in memory", got)
	}
}
