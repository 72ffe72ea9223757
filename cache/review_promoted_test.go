package cache

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

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
	if _, _, err := get(t, n.Cache, req, "Range", "bytes=9000-9999"); err != nil {
		t.Fatal(err)
	}
	n.work.Wait()
	n.store.Flush()

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
	n.store.Flush()
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
