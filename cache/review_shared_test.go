package cache

import (
	"errors"
	"net/http/httptest"
	"testing"
)

// TestChangeIsSeenByWhoSharesTheDisk has the reader of a forgotten object find out that
// there is another version: the recalled object is not served any more, either.
func TestChangeIsSeenByWhoSharesTheDisk(t *testing.T) {
	n := newDiskNode(t, Limits{Memory: 1 << 20, Slice: 1000, Entries: 1})
	o := newOrigin(content(1, 10_000))
	req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
	if _, _, err := get(t, n.Cache, req, "Range", "bytes=0-999"); err != nil {
		t.Fatal(err)
	}
	n.work.Wait()
	n.store.Flush()
	first, wait := make(chan struct{}), make(chan struct{})
	client := &pausing{ResponseRecorder: httptest.NewRecorder(), first: first, wait: wait}
	done := make(chan error, 1)
	go func() { done <- serve(t.Context(), n.Cache, client, req, "") }()
	<-first
	other := newOrigin(content(2, 500))
	if _, _, err := get(t, n.Cache, Request{Key: "b", Policy: policy(), Fetch: other.fetch}); err != nil {
		t.Fatal(err)
	}
	for range 3 { // recalled, and promoted
		if _, status, err := get(t, n.Cache, req, "Range", "bytes=0-999"); status != Hit {
			t.Fatal(status, err)
		}
	}
	o.set(content(3, 10_000), `"v2"`)
	close(wait)
	if err := <-done; !errors.Is(err, ErrAborted) {
		t.Fatal(err)
	}
	resp, status, err := get(t, n.Cache, req, "Range", "bytes=0-999")
	if err != nil || resp.Header.Get("Etag") != `"v2"` {
		t.Errorf("%s of %s though v2 was seen, %v", status, resp.Header.Get("Etag"), err)
	}
}
