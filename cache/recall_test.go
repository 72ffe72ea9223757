package cache

import (
	"bytes"
	"errors"
	"fmt"
	"net/http/httptest"
	"sync"
	"syscall"
	"testing"
	"time"
)

// withoutFiles runs f while the process can't open a file.
func withoutFiles(t *testing.T, f func()) {
	t.Helper()
	var old syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &old); err != nil {
		t.Fatal(err)
	}
	tight := old
	tight.Cur = 0 // whatever is closed meanwhile gives no descriptor back
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &tight); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &old) }()
	f()
}

// TestNewVersionOutlivesAFailedRecall fetches a new version because the old one can't
// be recalled at the moment: once the new one was sent the old one must not come back.
func TestNewVersionOutlivesAFailedRecall(t *testing.T) {
	n := newDiskNode(t, Limits{Memory: 1 << 20, Slice: 1000, Entries: 1})
	o := newOrigin(content(1, 10_000))
	req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
	n.bring(t, req)
	n.restart()
	for n.store.Stats().Loading {
		time.Sleep(time.Millisecond)
	}
	o.set(nil, `"v2"`) // is empty by now
	withoutFiles(t, func() {
		resp, status, err := get(t, n.Cache, req)
		t.Log(status, err, resp.Header.Get("Etag"))
		if err != nil || resp.Header.Get("Etag") != `"v2"` {
			t.Fatal(status, err)
		}
		n.work.Wait()
	})
	other := newOrigin(content(2, 500))
	if _, _, err := get(t, n.Cache, Request{Key: "b", Policy: policy(), Fetch: other.fetch}); err != nil {
		t.Fatal(err)
	}
	resp, status, err := get(t, n.Cache, req)
	if err != nil || resp.Header.Get("Etag") != `"v2"` {
		t.Errorf("%s of version %s after v2 was sent, %v", status, resp.Header.Get("Etag"), err)
	}
}

// TestRecalledObjectsAreUsed has more clients at once than there may be entries: what
// is on disk is not fetched again.
func TestRecalledObjectsAreUsed(t *testing.T) {
	n := newDiskNode(t, Limits{Memory: 1 << 20, Slice: 10_000, Entries: 1})
	o := newOrigin(content(1, 10_000))
	reqs := make([]Request, 8)
	for i := range reqs {
		reqs[i] = Request{Key: fmt.Sprint(i), Policy: policy(), Fetch: o.fetch}
		n.bring(t, reqs[i])
	}
	n.store.Flush()
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for k := range 50 {
				if err := serve(t.Context(), n.Cache, httptest.NewRecorder(), reqs[(i+k)%8], ""); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	n.work.Wait()
	if o.count() != 8 {
		t.Errorf("%d requests for 8 objects, all of which are on disk", o.count())
	}
	n.check(t)
}

// TestRecallOfAnotherNamespace changes the namespace while an object is recalled.
func TestRecallOfAnotherNamespace(t *testing.T) {
	for range 50 {
		n := newDiskNode(t, Limits{Memory: 1 << 20, Slice: 1000})
		o := newOrigin(content(1, 1_000))
		req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
		n.bring(t, req)
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

// TestChangeIsSeenByWhoSharesTheDisk has the reader of a forgotten object find out that
// there is another version: the recalled object is not served any more, either.
func TestChangeIsSeenByWhoSharesTheDisk(t *testing.T) {
	n := newDiskNode(t, Limits{Memory: 1 << 20, Slice: 1000, Entries: 1})
	o := newOrigin(content(1, 10_000))
	req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
	n.bring(t, req, "Range", "bytes=0-999")
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

// TestHeadersOutliveTheProcessByteForByte has a strong entity tag with a byte beyond
// ASCII (RFC 9110, section 8.8.3: obs-text).
func TestHeadersOutliveTheProcessByteForByte(t *testing.T) {
	n := newDiskNode(t, Limits{Memory: 1 << 20, Slice: 1000})
	o := newOrigin(content(1, 10_000))
	o.header.Set("Etag", "\"caf\xe9\"")
	req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
	n.bring(t, req, "Range", "bytes=0-2999")
	n.restart()
	resp, status, err := get(t, n.Cache, req)
	if err != nil || !bytes.Equal(read(t, resp), o.body) || resp.Header.Get("Etag") != o.header.Get("Etag") {
		t.Errorf("%s of version %q, %v", status, resp.Header.Get("Etag"), err)
	}
}
