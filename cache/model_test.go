package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/voyo-music/caddy-voyo/cache/disk"
	"github.com/voyo-music/caddy-voyo/internal/byterange"
)

// fault is what the upstream does to one of its answers.
type fault struct {
	kind string
	at   int64 // byte of the body
}

func (f fault) apply(o *origin, resp *http.Response) {
	switch f.kind {
	case "reset":
		resp.Body = io.NopCloser(errReader(resp.Body, f.at, errReset, nil))
	case "truncated":
		resp.Body = io.NopCloser(errReader(resp.Body, f.at, io.ErrUnexpectedEOF, nil))
	case "short": // a 206 may hold less than was asked for
		rng, size, err := byterange.ParseContentRange(resp.Header.Get("Content-Range"))
		if err == nil && f.at > 0 && f.at < rng.Len() {
			rng.End = rng.Start + f.at
			resp.Header.Set("Content-Range", byterange.ContentRange(rng, size))
			resp.ContentLength = rng.Len()
			resp.Body = io.NopCloser(io.LimitReader(resp.Body, rng.Len()))
		}
	case "lies":
		if resp.StatusCode == http.StatusPartialContent {
			resp.Header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", f.at, f.at+resp.ContentLength-1, len(o.body)))
		}
	case "long":
		if resp.ContentLength < 0 {
			return // who is to tell?
		}
		resp.Body = io.NopCloser(io.MultiReader(resp.Body, bytes.NewReader([]byte("x"))))
	case "ignores range":
		if resp.StatusCode == http.StatusPartialContent {
			resp.StatusCode, resp.ContentLength = http.StatusOK, int64(len(o.body))
			resp.Header.Del("Content-Range")
			resp.Body = io.NopCloser(bytes.NewReader(o.body))
		}
	}
}

var faultKinds = []string{"", "", "reset", "truncated", "short", "lies", "long", "ignores range", "refuses", "changes"}

// action is one client's request.
type action struct {
	spec    byterange.Spec
	leave   int64 // after so many bytes; -1: never
	restart bool  // the node, afterwards
}

// TestModel compares what clients get, from a cache whose upstream misbehaves and
// whose memory is small, with the bytes of the version that the answer's entity tag
// names: they are right as far as they go, and all there unless the answer says
// otherwise.
func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		size := rapid.IntRange(1, 40_000).Draw(rt, "size")
		slice := rapid.SampledFrom([]int64{512, 1000, 4096, 65536}).Draw(rt, "slice")
		limits := Limits{Memory: rapid.Int64Range(1, 60_000).Draw(rt, "memory"), Slice: slice}
		n := newNode(t, limits, rapid.SampledFrom([]int64{0, 0, 1_100_000, 2_000_000}).Draw(rt, "disk"))
		defer n.clear()
		o := newOrigin(content(0, size))
		o.unknown = rapid.Bool().Draw(rt, "unknown")
		o.noRange = rapid.Bool().Draw(rt, "noRange")
		if rapid.Bool().Draw(rt, "no validator") {
			o.header.Del("Etag") // there is one version then
		}
		faults := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) fault {
			return fault{rapid.SampledFrom(faultKinds).Draw(rt, "kind"), rapid.Int64Range(0, int64(size)).Draw(rt, "at")}
		}), 0, 12).Draw(rt, "faults")
		versions := map[string][]byte{o.header.Get("Etag"): o.body}
		o.fail = func(n int, _ http.Header) error {
			switch {
			case n > len(faults):
			case faults[n-1].kind == "refuses":
				return errors.New("refused")
			case faults[n-1].kind == "changes" && o.header.Get("Etag") != "":
				o.body = content(uint64(n), size)
				o.header = o.header.Clone()
				o.header.Set("Etag", fmt.Sprintf(`"%d"`, n))
				versions[o.header.Get("Etag")] = o.body
			}
			return nil
		}
		o.tamper = func(n int, resp *http.Response) {
			if n <= len(faults) {
				faults[n-1].apply(o, resp)
			}
		}
		actions := rapid.SliceOfN(rapid.Custom(func(rt *rapid.T) action {
			first := rapid.Int64Range(-1, int64(size)).Draw(rt, "first")
			last := rapid.Int64Range(max(first, -1), int64(size)+100).Draw(rt, "last")
			if first < 0 {
				last = max(last, 1)
			}
			return action{byterange.Spec{First: first, Last: last}, rapid.SampledFrom([]int64{-1, -1, 0, 700, 9000}).Draw(rt, "leave"), rapid.IntRange(0, 9).Draw(rt, "restart") == 9}
		}), 1, 12).Draw(rt, "actions")

		req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
		var wg sync.WaitGroup
		for i, a := range actions {
			wg.Go(func() {
				if err := play(n.Cache, req, a, size, func() map[string][]byte {
					o.mu.Lock()
					defer o.mu.Unlock()
					return maps.Clone(versions)
				}); err != nil {
					rt.Errorf("client %d (%+v): %v", i, a, err)
				}
			})
			if i%3 == 2 {
				wg.Wait()
			}
			if a.restart {
				wg.Wait()
				n.stop()
				n.start()
			}
		}
		wg.Wait()
		n.work.Wait()
		if n := o.open(); n != 0 && len(faults) == 0 {
			rt.Errorf("%d bodies are still open", n)
		}
		n.check(rt)
	})
}

// node is a cache that may have a disk, and that can be started again.
type node struct {
	*Cache
	tb     testing.TB
	limits Limits
	disk   int64 // bytes; 0: none
	dir    string
	store  *disk.Store
	gates  func(context.Context) error // as for Cache.SetGate
}

func newNode(tb testing.TB, l Limits, diskLimit int64) *node {
	tb.Helper()
	n := &node{tb: tb, limits: l, disk: diskLimit}
	if diskLimit > 0 {
		dir, err := os.MkdirTemp(tb.TempDir(), "disk") // rapid runs many in one test
		if err != nil {
			tb.Fatal(err)
		}
		n.dir = dir
	}
	n.start()
	return n
}

func (n *node) start() {
	n.Cache = New(n.limits)
	n.SetGate(n.gates)
	if n.disk > 0 {
		var err error
		if n.store, err = disk.Open(n.dir, n.disk, disk.Events{}); err != nil {
			n.tb.Fatal(err)
		}
		n.SetDisk(n.store, "test")
	}
}

// clear stops the node and removes what it has on disk: rapid makes thousands.
func (n *node) clear() {
	n.stop()
	if err := os.RemoveAll(n.dir); err != nil {
		n.tb.Error(err)
	}
}

func (n *node) stop() {
	n.Close()
	if n.store != nil {
		if err := n.store.Close(); err != nil {
			n.tb.Error(err)
		}
	}
}

// play makes one request, and returns what is wrong with its answer.
func play(c *Cache, req Request, a action, size int, versions func() map[string][]byte) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	switch {
	case a.spec.First < 0:
		r.Header.Set("Range", fmt.Sprintf("bytes=-%d", a.spec.Last))
	case a.spec.Last < 0:
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-", a.spec.First))
	default:
		r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", a.spec.First, a.spec.Last))
	}
	rec := &leaving{ResponseRecorder: httptest.NewRecorder(), after: a.leave, cancel: cancel}
	_, err := c.Serve(rec, r, req)
	if err != nil && !errors.Is(err, ErrAborted) {
		if rec.Body.Len() > 0 {
			return fmt.Errorf("an answer had begun, and the error doesn't say so: %w", err)
		}
		return nil
	}
	rng := byterange.Range{End: int64(size)}
	switch rec.Code {
	case http.StatusRequestedRangeNotSatisfiable:
		if _, ok := a.spec.Resolve(int64(size)); ok {
			return errors.New("416 to a satisfiable range")
		}
		return nil
	case http.StatusPartialContent:
		rng, _ = a.spec.Resolve(int64(size))
		cr := rec.Header().Get("Content-Range")
		// What passes through may be less than was asked for, if it says so (RFC 9110,
		// section 15.3.7).
		passed, _, parseErr := byterange.ParseContentRange(cr)
		cs := rec.Header().Get("Cache-Status")
		if !strings.Contains(cs, "stored") && !strings.Contains(cs, "hit") && parseErr == nil && passed.Start == rng.Start && passed.End < rng.End {
			rng = passed
		}
		if cr != byterange.ContentRange(rng, int64(size)) {
			return fmt.Errorf("Content-Range %s for %v", cr, rng)
		}
	}
	got := rec.Body.Bytes()
	if err == nil && int64(len(got)) != rng.Len() {
		return fmt.Errorf("%d bytes of %v, and no error", len(got), rng)
	}
	etag := rec.Header().Get("Etag")
	v, ok := versions()[etag]
	if !ok {
		return fmt.Errorf("there never was a version %s", etag)
	}
	if !bytes.HasPrefix(v[rng.Start:rng.End], got) {
		return fmt.Errorf("wrong bytes in %d of %v of version %s:%s", len(got), rng, etag, origins(versions(), got, rng.Start))
	}
	return nil
}

// origins says which parts of what a client got from start on are of which version.
func origins(versions map[string][]byte, got []byte, start int64) string {
	text := ""
	for etag, v := range versions {
		for from := 0; from < len(got); {
			n := 0
			for from+n < len(got) && v[start+int64(from+n)] == got[from+n] {
				n++
			}
			if n > 8 {
				text += fmt.Sprintf(" [%d,%d) is version %s's;", from, from+n, etag)
			}
			from += n + 1
		}
	}
	return text
}

// check compares what an idle cache counts with what it holds.
func (c *Cache) check(t rapid.TB) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.store.bytes > c.store.limits.Memory {
		t.Errorf("%d bytes are kept, %d are allowed", c.store.bytes, c.store.limits.Memory)
	}
	var total, inSmall int64
	kept := 0
	for _, o := range c.store.objects.Values() {
		if len(o.fills) > 0 || o.gone || o.dead != nil {
			t.Errorf("object with %d fills, gone: %t, dead: %v", len(o.fills), o.gone, o.dead)
		}
		there := 0
		for s := range o.slices.all() {
			_, start, end := o.bounds(int64(s.i) * o.sliceSize)
			if !s.complete || int64(len(s.data)) != end-start || s.counted != int64(cap(s.data)) {
				t.Errorf("slice %d: complete: %t, %d bytes of %d, %d counted of %d", s.i, s.complete, len(s.data), end-start, s.counted, cap(s.data))
			}
			total += s.counted
			there++
			if s.queue == small {
				inSmall += s.counted
			}
		}
		if kept += there; there != o.kept {
			t.Errorf("%d slices are counted as %d", there, o.kept)
		}
	}
	if m := c.store.memory; m.bytes != inSmall || m.ghosts.Len() > int(max(2*m.limit/c.store.limits.Slice, 1)) || len(c.store.promoting) != 0 {
		t.Errorf("small has %d bytes, counted as %d; %d ghosts; %d slices are being promoted", inSmall, m.bytes, m.ghosts.Len(), len(c.store.promoting))
	}
	e := &c.exchanges
	if paused := len(e.clients.paused) + len(e.peers.paused); e.running()+e.queued()+paused+e.readers != 0 {
		t.Errorf("%d exchanges are under way, %d wait, %d are paused", e.running(), e.queued(), paused)
	}
	if total != c.store.bytes || kept != c.store.memory.len() || len(c.flights) != 0 {
		t.Errorf("%d bytes in %d slices, counted as %d in %d; %d flights", total, kept, c.store.bytes, c.store.memory.len(), len(c.flights))
	}
}
