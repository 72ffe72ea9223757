package cache

import (
	"os"
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
	probe, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	next := uint64(probe.Fd())
	_ = probe.Close()
	tight := old
	tight.Cur = next
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
	if _, _, err := get(t, n.Cache, req); err != nil {
		t.Fatal(err)
	}
	n.work.Wait()
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
