package cache

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
)

// TestSent compares what the cache says that it has sent with what clients got.
func TestSent(t *testing.T) {
	n := newDiskNode(t, Limits{Memory: 1, Slice: 1000})
	o := newOrigin(content(1, 9500))
	req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
	passed := req
	passed.Key, passed.Policy = "b", &Policy{TTL: day, MaxObject: 1}
	n.bring(t, req)
	got := int64(len(o.body))
	if s := n.Stats(); s.Sent != got || s.FromDisk != 0 {
		t.Errorf("a miss: %d bytes, %d from the disk; want %d and none", s.Sent, s.FromDisk, got)
	}
	for _, c := range []struct {
		name, method, rng string
		req               Request
		disk              bool
	}{
		{"whole", http.MethodGet, "", req, true},
		{"range", http.MethodGet, "bytes=500-6000", req, true},
		{"several ranges", http.MethodGet, "bytes=0-9,5000-5009", req, false}, // between them are headers
		{"head", http.MethodHead, "", req, false},
		{"unsatisfiable", http.MethodGet, "bytes=100000-", req, false},
		{"passed", http.MethodGet, "", passed, false},
		{"passed again", http.MethodGet, "", passed, false},
	} {
		before := n.Stats()
		resp, _, err := do(t, n.Cache, c.method, c.req, "Range", c.rng)
		if err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		got := int64(len(read(t, resp)))
		s := n.Stats()
		if sent := s.Sent - before.Sent; sent != got {
			t.Errorf("%s: %d bytes were counted, %d came", c.name, sent, got)
		}
		if disk := s.FromDisk - before.FromDisk; c.disk && disk != got {
			t.Errorf("%s: %d bytes of %d were counted as the disk's", c.name, disk, got)
		}
	}
}

// TestEvicted has things make room: for bytes, for entries, and for smaller limits.
func TestEvicted(t *testing.T) {
	c := newTest(t, Limits{Entries: 3, Memory: 10_000, Slice: 1000})
	o := newOrigin(content(1, 2000))
	want := func(what string, evicted int64) {
		t.Helper()
		if s := c.Stats(); s.Evicted != evicted || s.Limits.Entries != 3 && s.Limits.Entries != 1 {
			t.Errorf("%s: %+v, want %d evictions", what, s, evicted)
		}
	}
	bring := func(key string) {
		t.Helper()
		if _, _, err := get(t, c, Request{Key: key, Policy: policy(), Fetch: o.fetch}); err != nil {
			t.Fatal(err)
		}
		c.work.Wait()
	}
	for _, key := range []string{"a", "b", "c"} {
		bring(key)
	}
	want("all fit", 0)
	bring("d")
	want("one too many", 1)
	c.SetLimits(Limits{Entries: 3, Memory: 4000, Slice: 1000})
	want("two slices too many", 3)
	c.SetLimits(Limits{Entries: 1, Memory: 4000, Slice: 1000})
	if s := c.Stats(); s.Entries != 1 || s.Evicted < 4 {
		t.Errorf("one entry is left: %+v", s)
	}
}

// TestWaiting counts those who wait for an upstream: for its answer, and for more of
// its body.
func TestWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{})
		o := newOrigin(content(1, 20_000))
		answers, rest := make(chan struct{}), make(chan struct{})
		o.wrap = func(_ context.Context, r io.Reader) io.Reader {
			return io.MultiReader(io.LimitReader(r, 10), readerFunc(func(p []byte) (int, error) {
				<-rest
				return r.Read(p)
			}))
		}
		req := Request{Key: "a", Policy: policy(), Fetch: func(ctx context.Context, h http.Header) (*http.Response, error) {
			<-answers
			return o.fetch(ctx, h)
		}}
		waiting := func(what string, want int64) {
			t.Helper()
			synctest.Wait()
			if n := c.Stats().Waiting; n != want {
				t.Errorf("%s: %d wait, want %d", what, n, want)
			}
		}
		for range 2 {
			go func() { _ = serve(t.Context(), c, httptest.NewRecorder(), req, "") }()
		}
		leaving, leave := context.WithCancel(t.Context())
		go func() { _ = serve(leaving, c, httptest.NewRecorder(), req, "") }()
		waiting("for the answer", 3)
		leave()
		waiting("one has left", 2)
		close(answers)
		waiting("for the rest", 2)
		close(rest)
		waiting("at the end", 0)
		_ = serve(t.Context(), c, httptest.NewRecorder(), req, "")
		waiting("a hit", 0)
	})
}
