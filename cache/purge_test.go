package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/voyo-music/caddy-voyo/internal/byterange"
)

// purgeWays are the ways to purge "a" and not "b", unless all is purged.
var purgeWays = []struct {
	name  string
	all   bool
	purge func(ctx context.Context, c *Cache) error
}{
	{"key", false, func(ctx context.Context, c *Cache) error { return c.Purge(ctx, "a", "unknown") }},
	{"tag", false, func(ctx context.Context, c *Cache) error { return c.PurgeTags(ctx, "unknown", "of-a") }},
	{"all", true, func(ctx context.Context, c *Cache) error { return c.PurgeAll(ctx) }},
}

// tagged returns an origin of an object with tags.
func tagged(version int, tags string) *origin {
	o := newOrigin(content(uint64(version), 10_000))
	o.header.Set("Cache-Tag", tags)
	o.header.Set("Etag", fmt.Sprintf(`"v%d"`, version))
	return o
}

// TestPurge purges what is stored: it does not come back, whatever happens to the node,
// and what is stored later stays.
func TestPurge(t *testing.T) {
	after := []struct {
		name string
		disk int64
		then func(t *testing.T, n *node)
	}{
		{"in memory", 0, func(*testing.T, *node) {}},
		{"on disk", 10 << 20, func(*testing.T, *node) {}},
		{"after a restart", 10 << 20, func(_ *testing.T, n *node) { n.stop(); n.start() }},
		{"after a kill", 10 << 20, func(t *testing.T, n *node) {
			killed := t.TempDir() // as the disk would be found
			if err := os.CopyFS(killed, os.DirFS(n.dir)); err != nil {
				t.Fatal(err)
			}
			n.stop()
			n.dir = killed
			n.start()
		}},
	}
	for _, way := range purgeWays {
		for _, a := range after {
			t.Run(way.name+" "+a.name, func(t *testing.T) {
				n := newNode(t, Limits{Memory: 1 << 20, Slice: 1000}, a.disk)
				defer func() { n.stop() }()
				o, other := tagged(1, "x, of-a,y"), tagged(1, "of-b")
				o.header.Set("Surrogate-Key", "z of")
				reqA, reqB := Request{Key: "a", Policy: policy(), Fetch: o.fetch}, Request{Key: "b", Policy: policy(), Fetch: other.fetch}
				check := func(req Request, etag string, count int, from *origin) {
					t.Helper()
					resp, _, err := get(t, n.Cache, req)
					if err != nil || resp.Header.Get("Etag") != etag || from.count() != count {
						t.Errorf("%s: version %s, want %s; %d requests, want %d; %v", req.Key, resp.Header.Get("Etag"), etag, from.count(), count, err)
					}
					n.work.Wait()
					if n.store != nil {
						n.store.Flush()
					}
				}
				check(reqA, `"v1"`, 1, o)
				check(reqB, `"v1"`, 1, other)
				o.set(content(2, 10_000), `"v2"`)
				other.set(content(2, 10_000), `"v2"`)
				if err := way.purge(t.Context(), n.Cache); err != nil {
					t.Fatal(err)
				}
				a.then(t, n)
				check(reqA, `"v2"`, 2, o)
				wantB, countB := `"v1"`, 1
				if way.all {
					wantB, countB = `"v2"`, 2
				}
				check(reqB, wantB, countB, other)
				a.then(t, n)
				check(reqA, `"v2"`, 2, o) // it was stored after the purge
			})
		}
	}
}

// TestPurgeForgetsWhatIsMissing purges what was said not to exist.
func TestPurgeForgetsWhatIsMissing(t *testing.T) {
	for _, way := range purgeWays {
		if way.name == "tag" {
			continue // what does not exist has none
		}
		c := newTest(t, Limits{})
		o := newOrigin(content(1, 100))
		missing := true
		o.fail = func(int, http.Header) error {
			if missing {
				return ErrNotFound
			}
			return nil
		}
		req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
		if _, _, err := get(t, c, req); !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
		missing = false
		if err := way.purge(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		if _, status, err := get(t, c, req); err != nil || status != Miss {
			t.Errorf("%s: %s, %v", way.name, status, err)
		}
	}
}

// TestPurgeWhileItIsMissing purges what is being asked for, and is not there yet: who
// asks later finds it.
func TestPurgeWhileItIsMissing(t *testing.T) {
	for _, way := range purgeWays {
		c := newTest(t, Limits{})
		o := newOrigin(content(1, 100))
		asked, answer := make(chan struct{}), make(chan struct{})
		early := Request{Key: "a", Policy: policy(), Fetch: func(context.Context, http.Header) (*http.Response, error) {
			close(asked)
			<-answer
			return nil, ErrNotFound
		}}
		done := make(chan error)
		go func() { done <- serve(t.Context(), c, httptest.NewRecorder(), early, "") }()
		<-asked
		if err := way.purge(t.Context(), c); err != nil {
			t.Fatal(err)
		}
		close(answer)
		if err := <-done; !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: who asked before: %v", way.name, err)
		}
		if _, status, err := get(t, c, Request{Key: "a", Policy: policy(), Fetch: o.fetch}); err != nil || status != Miss {
			t.Errorf("%s: %s, %v", way.name, status, err)
		}
	}
}

// TestPurgeWithoutDisk can't write down what it purges: it says so, and it is purged
// all the same.
func TestPurgeWithoutDisk(t *testing.T) {
	n := newNode(t, Limits{Memory: 1 << 20, Slice: 1000}, 10<<20)
	defer func() { n.stop() }()
	o := tagged(1, "of-a")
	req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
	if _, _, err := get(t, n.Cache, req); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(n.dir); err != nil {
		t.Fatal(err)
	}
	o.set(content(2, 10_000), `"v2"`)
	if err := n.PurgeTags(t.Context(), "of-a"); err == nil {
		t.Error("no error")
	}
	resp, _, err := get(t, n.Cache, req)
	if err != nil || resp.Header.Get("Etag") != `"v2"` {
		t.Errorf("version %s, %v", resp.Header.Get("Etag"), err)
	}
}

// TestPurgeNoteDamaged finds that what was purged can't be read: nothing that is there
// is used.
func TestPurgeNoteDamaged(t *testing.T) {
	n := newNode(t, Limits{Memory: 1 << 20, Slice: 1000}, 10<<20)
	defer func() { n.stop() }()
	o := tagged(1, "x")
	req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
	if _, _, err := get(t, n.Cache, req); err != nil {
		t.Fatal(err)
	}
	n.work.Wait()
	n.store.Flush()
	if err := n.store.SetNote(n.Cache.store.noteID(), []byte("{")); err != nil {
		t.Fatal(err)
	}
	n.stop()
	n.start()
	if _, status, err := get(t, n.Cache, req); err != nil || status != Miss {
		t.Errorf("%s, %v", status, err)
	}
	if _, status, err := get(t, n.Cache, req); err != nil || status != Hit {
		t.Errorf("what came later: %s, %v", status, err)
	}
}

// TestPurgeTagsAreBounded purges more tags than are remembered: what is older counts as
// purged if it has any.
func TestPurgeTagsAreBounded(t *testing.T) {
	c := newTest(t, Limits{})
	plain, with := newOrigin(content(1, 100)), tagged(1, "rare")
	plainReq := Request{Key: "plain", Policy: policy(), Fetch: plain.fetch}
	withReq := Request{Key: "with", Policy: policy(), Fetch: with.fetch}
	for _, req := range []Request{plainReq, withReq} {
		if _, _, err := get(t, c, req); err != nil {
			t.Fatal(err)
		}
	}
	purge := func(n int) {
		for i := range n {
			if err := c.PurgeTags(t.Context(), strconv.Itoa(i)); err != nil {
				t.Fatal(err)
			}
		}
	}
	purge(maxPurgedTags)
	if _, status, _ := get(t, c, withReq); status != Hit {
		t.Errorf("before: %s", status)
	}
	if err := c.PurgeTags(t.Context(), "one more"); err != nil {
		t.Fatal(err)
	}
	if _, status, _ := get(t, c, withReq); status != Miss {
		t.Errorf("after: %s", status)
	}
	if _, status, _ := get(t, c, plainReq); status != Hit {
		t.Errorf("without a tag: %s", status)
	}
	if n := c.store.purges.tags.Len(); n != maxPurgedTags {
		t.Errorf("%d tags are remembered", n)
	}
}

// TestPurgeUnderWay has clients ask all the time while the object changes and is
// purged: who asks after that gets what is new, and nobody gets a mixture.
func TestPurgeUnderWay(t *testing.T) {
	const clients, purges, size = 50, 100, 40_000
	for _, diskLimit := range []int64{0, 2 << 20} {
		t.Run(fmt.Sprint("disk ", diskLimit), func(t *testing.T) {
			n := newNode(t, Limits{Memory: 60_000, Slice: 4096}, diskLimit)
			defer func() { n.stop() }()
			o := tagged(1, "of-a")
			o.set(content(1, size), `"v1"`)
			o.wrap = func(_ context.Context, r io.Reader) io.Reader { // comes in parts
				return readerFunc(func(p []byte) (int, error) { return r.Read(p[:min(len(p), 500)]) })
			}
			var acknowledged atomic.Int64
			acknowledged.Store(1)
			req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
			stop := make(chan struct{})
			var wg sync.WaitGroup
			whole := make(chan struct{})
			for range clients {
				wg.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						if ok, err := askPurged(t.Context(), n.Cache, req, &acknowledged, size); err != nil {
							t.Error(err)
							return
						} else if ok {
							select {
							case whole <- struct{}{}:
							case <-stop:
							}
						}
					}
				})
			}
			for v := 2; v <= purges; v++ {
				o.set(content(uint64(v), size), fmt.Sprintf(`"v%d"`, v))
				var err error
				switch v % 3 {
				case 0:
					err = n.Purge(t.Context(), "a")
				case 1:
					err = n.PurgeTags(t.Context(), "of-a")
				default:
					err = n.PurgeAll(t.Context())
				}
				if err != nil {
					t.Error(err)
				}
				acknowledged.Store(int64(v))
				for range clients / 5 { // so that something is stored
					select {
					case <-whole:
					case <-t.Context().Done():
					}
				}
			}
			close(stop)
			wg.Wait()
			n.work.Wait()
			if o.open() != 0 || len(n.flights) != 0 {
				t.Errorf("%d bodies are open, %d flights under way", o.open(), len(n.flights))
			}
		})
	}
}

// askPurged asks for a random range, and reports whether all of it came. The error says
// what is wrong with it.
func askPurged(ctx context.Context, c *Cache, req Request, acknowledged *atomic.Int64, size int) (bool, error) {
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	first := rand.IntN(size)
	last := first + rand.IntN(size-first)
	r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", first, last))
	least := acknowledged.Load()
	rec := httptest.NewRecorder()
	_, err := c.Serve(rec, r, req)
	if err != nil && !errors.Is(err, ErrAborted) {
		return false, nil // it was changed too often
	}
	version, parseErr := strconv.ParseInt(strings.Trim(rec.Header().Get("Etag"), `"v`), 10, 64)
	if parseErr != nil {
		return false, parseErr
	}
	if version < least {
		return false, fmt.Errorf("version %d after %d was acknowledged (%s)", version, least, rec.Header().Get("Cache-Status"))
	}
	want := content(uint64(version), size)
	rng, _, parseErr := byterange.ParseContentRange(rec.Header().Get("Content-Range"))
	if parseErr != nil || rng.Start != int64(first) || rng.End != int64(last)+1 {
		return false, fmt.Errorf("status %d, Content-Range %q for %d-%d", rec.Code, rec.Header().Get("Content-Range"), first, last)
	}
	got := rec.Body.Bytes()
	if !bytes.HasPrefix(want[first:last+1], got) || err == nil && len(got) != last+1-first {
		return false, fmt.Errorf("wrong bytes of version %d", version)
	}
	return err == nil, nil
}
