package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// within runs f and reports whether it is done in time.
func within(d time.Duration, f func()) bool {
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
		return true
	case <-time.After(d):
		return false
	}
}

// 1. A client's unsatisfiable range is answered to everybody who joined its flight.
func TestReviewJoinerGetsAnothers416(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{Slice: 1000})
		o := newOrigin(content(1, 3000))
		gate := make(chan struct{})
		req := Request{Key: "a", Policy: policy(), Fetch: func(ctx context.Context, h http.Header) (*http.Response, error) {
			<-gate
			return o.fetch(ctx, h)
		}}
		go func() { _, _, _ = get(t, c, req, "Range", "bytes=999999-") }()
		synctest.Wait()
		done := make(chan struct{})
		go func() {
			defer close(done)
			resp, _, err := get(t, c, req)
			if err != nil || resp.StatusCode != 200 || !bytes.Equal(read(t, resp), o.body) {
				t.Errorf("a request without Range: status %d, %v", resp.StatusCode, err)
			}
		}()
		synctest.Wait()
		close(gate)
		<-done
	})
}

// 2. After Close a reader that needs a gap filled waits for ever.
func TestReviewReaderHangsAfterClose(t *testing.T) {
	c := newTest(t, Limits{Slice: 1000})
	o := newOrigin(content(1, 30_000))
	req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
	if err := c.Warm(t.Context(), req, 500); err != nil {
		t.Fatal(err)
	}
	c.work.Wait()
	c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	err := serve(ctx, c, httptest.NewRecorder(), req, "bytes=20000-20010")
	if !errors.Is(err, ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// 3. A panic after the flight has landed leaves the fill unfinished: readers hang.
func TestReviewPanicAfterLandingHangsReaders(t *testing.T) {
	c := newTest(t, Limits{})
	o := newOrigin(content(1, 300_000))
	req := Request{Key: "a", Policy: policy(), Fetch: func(ctx context.Context, h http.Header) (*http.Response, error) {
		if h.Get("Range") != "" {
			panic("in the resume")
		}
		resp, err := o.fetch(ctx, h)
		resp.Body = io.NopCloser(errReader(resp.Body, 1000, errReset, nil))
		return resp, err
	}}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	err := serve(ctx, c, httptest.NewRecorder(), req, "")
	if errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the reader waited until it lost patience: %v", err)
	}
	c.work.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ob := range c.store.objects.Values() {
		if len(ob.fills) > 0 {
			t.Errorf("a fill that nobody runs is still there")
		}
	}
}

// claims is an upstream that claims a size, and sends the pattern.
func claims(size int64) Fetch { return endless(size, func(int) {}) }

// 4. Loops over all slices of a claimed size, under the mutex.
func TestReviewClaimedSizeStallsTheCache(t *testing.T) {
	c := New(Limits{Memory: 1 << 20, Slice: 1024})
	p := policy()
	p.MaxObject = 0
	req := Request{Key: "a", Policy: p, Fetch: claims(1 << 45)}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := serve(ctx, c, httptest.NewRecorder(), req, "bytes=0-99"); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = serve(ctx, c, &leaving{ResponseRecorder: httptest.NewRecorder(), after: 5000, cancel: cancel}, req, "bytes=0-")
	}()
	time.Sleep(200 * time.Millisecond)
	if !within(3*time.Second, func() { c.Stats() }) {
		t.Fatal("the mutex is held for more than 3 s")
	}
	c.Close()
}

// 5. The table of slices grows to the index that a hostile answer names.
func TestReviewSliceTableIsUnbounded(t *testing.T) {
	c := newTest(t, Limits{Memory: 1 << 20, Slice: 1024})
	p := policy()
	p.MaxObject = 0
	req := Request{Key: "a", Policy: p, Fetch: claims(1 << 34)} // 2^62 would be 2^52 pointers
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	if err := serve(t.Context(), c, httptest.NewRecorder(), req, fmt.Sprintf("bytes=%d-", int64(1<<34-10))); err != nil {
		t.Fatal(err)
	}
	c.work.Wait()
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 8<<20 {
		t.Errorf("10 bytes of an object weigh %d MiB; the limit is 1 MiB, Stats says %d bytes", grown>>20, c.Stats().Bytes)
	}
	runtime.KeepAlive(c)
}

// 6. What is not resumable is read whole into memory, whatever the limit.
func TestReviewUnknownLengthIsUnbounded(t *testing.T) {
	c := newTest(t, Limits{Memory: 1 << 20, Slice: 64 << 10})
	p := policy()
	p.MaxObject = 0 // the default of streams
	var sent atomic.Int64
	stop := make(chan struct{})
	req := Request{Key: "radio", Policy: p, Fetch: func(ctx context.Context, _ http.Header) (*http.Response, error) {
		pt := &pattern{0, 64 << 20} // would be endless
		return &http.Response{StatusCode: 200, ProtoMajor: 1, TransferEncoding: []string{"chunked"}, ContentLength: -1,
			Header: http.Header{"Etag": {`"p"`}}, Body: io.NopCloser(readerFunc(func(b []byte) (int, error) {
				if sent.Load() > 60<<20 {
					select {
					case <-stop:
					case <-ctx.Done():
						return 0, ctx.Err()
					}
				}
				n, err := pt.Read(b)
				sent.Add(int64(n))
				return n, err
			}))}, nil
	}}
	// the only client leaves after 100 KiB
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	_ = serve(ctx, c, &leaving{ResponseRecorder: httptest.NewRecorder(), after: 100 << 10, cancel: cancel}, req, "")
	for range 100 {
		if sent.Load() > 60<<20 {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if s := c.Stats(); s.Bytes > 4<<20 {
		t.Errorf("%d MiB are held for nobody, the limit is 1 MiB; %d MiB were read", s.Bytes>>20, sent.Load()>>20)
	}
	close(stop)
}

// 7. What is read of an object that has left the store is neither counted nor let go of.
func TestReviewGoneObjectIsUnbounded(t *testing.T) {
	const size = 64 << 20
	c := newTest(t, Limits{Memory: 1 << 20, Slice: 64 << 10, Entries: 1})
	p := policy()
	p.MaxObject = 0
	req := Request{Key: "a", Policy: p, Fetch: claims(size)}
	var obj *object
	var held int64
	client := &checking{header: http.Header{}, want: &pattern{0, size}}
	client.paused = func(got int64) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if obj == nil {
			obj, _ = c.store.objects.Peek("a")
			c.store.objects.Purge() // as if another key had been put, Entries being 1
		}
		var sum int64
		for _, s := range obj.slices {
			if s != nil {
				sum += int64(cap(s.data))
			}
		}
		held = max(held, sum)
		return nil
	}
	if err := serve(t.Context(), c, client, req, ""); err != nil || client.wrong {
		t.Fatal(err, client.wrong)
	}
	if held > 8<<20 {
		t.Errorf("the object held %d MiB, the limit is 1 MiB", held>>20)
	}
}

// 8. A transaction that starts over keeps the fill of the version before, and reads
// that version's bytes from it.
func TestReviewReopeningSplices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{Slice: 1000})
		v1, v2 := content(1, 10_000), content(2, 10_000)
		o := newOrigin(v1)
		hold := make(chan struct{})
		o.tamper = func(n int, resp *http.Response) {
			if n == 1 { // some bytes when the gate opens, then nothing
				b := resp.Body
				resp.Body = io.NopCloser(io.MultiReader(readerFunc(func(p []byte) (int, error) { <-hold; return 0, io.EOF }), io.LimitReader(b, 500),
					readerFunc(func([]byte) (int, error) { time.Sleep(10 * time.Second); return 0, errReset })))
			}
		}
		req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
		tr := &transaction{c: c, req: req}
		if err := tr.open(t.Context(), whole); err != nil {
			t.Fatal(err)
		}
		if _, news, err := tr.look(0, -1); news == nil || err != nil {
			t.Fatal("the reader waits for byte 0", err)
		}
		close(hold) // v1's first bytes arrive ...
		synctest.Wait()
		// ... but before the reader gets to run, another fill finds v2, and a second client brings a part of it.
		c.supersede(tr.obj)
		o.set(v2, `"v2"`)
		if resp, _, err := get(t, c, req, "Range", "bytes=5000-5999"); err != nil || !bytes.Equal(read(t, resp), v2[5000:6000]) {
			t.Fatal(err)
		}
		// The reader runs: what it finds is superseded before its first byte, so Serve opens again.
		if _, _, err := tr.look(0, -1); !errors.Is(err, errSuperseded) {
			t.Fatal(err)
		}
		if err := tr.open(t.Context(), whole); err != nil {
			t.Fatal(err)
		}
		if etag := tr.obj.header.Get("Etag"); etag != `"v2"` {
			t.Fatal(etag)
		}
		p, err := tr.next(t.Context(), 0, -1, func() {})
		if err != nil || !bytes.HasPrefix(v2, p) {
			t.Errorf("the answer with v2's header begins with v1's bytes: %t, %v", bytes.HasPrefix(v1, p), err)
		}
		tr.close()
	})
}

// 9. A 304 that names another entity tag renames the stored bytes.
func TestReview304WithAnotherETag(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{})
		o := newOrigin(content(1, 1000))
		req := Request{Key: "a", Policy: policy(), Fetch: func(ctx context.Context, h http.Header) (*http.Response, error) {
			resp, err := o.fetch(ctx, h)
			if resp.StatusCode == 304 {
				resp.Header.Set("Etag", `"v2"`)
			}
			return resp, err
		}}
		if _, _, err := get(t, c, req); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * day)
		resp, _, err := get(t, c, req)
		if err == nil && resp.Header.Get("Etag") == `"v2"` && bytes.Equal(read(t, resp), o.body) {
			t.Error("the bytes of v1 are sent as v2")
		}
	})
}

// 10. The memory of slices of unknown length is counted by length, not by what is allocated.
func TestReviewChunkedTailsAreNotCounted(t *testing.T) {
	c := newTest(t, Limits{Memory: 1 << 20})
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for i := range 4000 {
		o := newOrigin([]byte("x"))
		o.unknown = true
		req := Request{Key: fmt.Sprint(i), Policy: policy(), Fetch: o.fetch}
		if _, _, err := get(t, c, req); err != nil {
			t.Fatal(err)
		}
	}
	c.work.Wait()
	runtime.GC()
	runtime.ReadMemStats(&after)
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 16<<20 {
		t.Errorf("the heap has grown by %d MiB; the limit is 1 MiB, counted are %d bytes in %d objects", grown>>20, c.Stats().Bytes, c.Stats().Entries)
	}
	runtime.KeepAlive(c)
}

// 11. A gap in an object that first came without a length can't be filled: the size
// in its validator stays unknown.
func TestReviewGapOfChunkedObjectAborts(t *testing.T) {
	c := newTest(t, Limits{Slice: 1000})
	o := newOrigin(content(1, 10_000))
	o.unknown = true
	req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
	if _, _, err := get(t, c, req); err != nil {
		t.Fatal(err)
	}
	c.work.Wait()
	c.mu.Lock() // evict all but the first slice
	ob, _ := c.store.objects.Peek("a")
	c.store.touch(ob, 0)
	c.mu.Unlock()
	c.SetLimits(Limits{Memory: 1000, Slice: 1000})
	c.SetLimits(Limits{Memory: 1 << 20, Slice: 1000})
	resp, _, err := get(t, c, req)
	if err != nil || !bytes.Equal(read(t, resp), o.body) {
		t.Errorf("nothing has changed upstream: %v", err)
	}
}

// 12. The upstream's 416 to what the cache made of a request is not the answer to it.
func TestReviewColdAnswersDifferFromWarm(t *testing.T) {
	tests := []struct {
		name   string
		size   int
		method string
		fields []string
		status int
	}{
		{"If-Range does not hold, range beyond the new version", 3000, "GET", []string{"Range", "bytes=999999-", "If-Range", `"v0"`}, 200},
		{"first of two ranges unsatisfiable", 3000, "GET", []string{"Range", "bytes=999999-,0-1"}, 206},
		{"If-None-Match comes before Range", 3000, "GET", []string{"Range", "bytes=999999-", "If-None-Match", `"v1"`}, 304},
		{"HEAD of an empty object", 0, "HEAD", nil, 200},
	}
	for _, tt := range tests {
		for _, temperature := range []string{"warm", "cold"} {
			t.Run(tt.name+", "+temperature, func(t *testing.T) {
				c := newTest(t, Limits{Slice: 1000})
				o := newOrigin(content(1, tt.size))
				req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
				if temperature == "warm" {
					if _, _, err := get(t, c, req); err != nil {
						t.Fatal(err)
					}
				}
				resp, _, err := do(t, c, tt.method, req, tt.fields...)
				if err != nil || resp.StatusCode != tt.status {
					t.Errorf("status %d, %v; want %d", resp.StatusCode, err, tt.status)
				}
			})
		}
	}
}

// 13. Of an object without validator only the first range wanted is opened, but
// more is sent.
func TestReviewWithoutValidatorMoreIsSentThanOpened(t *testing.T) {
	for _, fields := range [][]string{
		{"Range", "bytes=0-9,50000-50009"},
		{"Range", "bytes=0-9,5-50000"},
		{"Range", "bytes=0-9", "If-Range", `"x"`},
	} {
		t.Run(fmt.Sprint(fields), func(t *testing.T) {
			c := newTest(t, Limits{Slice: 1000})
			o := newOrigin(content(1, 100_000))
			o.header.Del("Etag")
			req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
			for range 2 {
				if _, _, err := get(t, c, req, fields...); err != nil {
					t.Errorf("a correct upstream, and: %v", err)
				}
			}
		})
	}
}

// 14. Clients that want different parts of an object without validator make each other fail.
func TestReviewDifferentRangesWithoutValidator(t *testing.T) {
	c := newTest(t, Limits{Slice: 1000})
	o := newOrigin(content(1, 100_000))
	o.header.Del("Etag")
	req := Request{Key: "a", Policy: policy(), Fetch: func(ctx context.Context, h http.Header) (*http.Response, error) {
		time.Sleep(20 * time.Millisecond)
		return o.fetch(ctx, h)
	}}
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			rng := fmt.Sprintf("bytes=%d-%d", i*10_000, i*10_000+99)
			resp, _, err := get(t, c, req, "Range", rng)
			if err != nil || !bytes.Equal(read(t, resp), o.body[i*10_000:i*10_000+100]) {
				t.Errorf("%s: %v", rng, err)
			}
		})
	}
	wg.Wait()
}

// pausing is a client that waits, after its first bytes, for a channel.
type pausing struct {
	*httptest.ResponseRecorder
	first chan struct{} // closed with the first byte
	wait  <-chan struct{}
	once  sync.Once
}

func (p *pausing) Write(b []byte) (int, error) {
	p.once.Do(func() { close(p.first); <-p.wait })
	return p.ResponseRecorder.Write(b)
}

// 15. An upstream that breaks after its last byte kills an object that is all there.
func TestReviewResetAfterTheLastByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{Slice: 1000})
		o := newOrigin(content(1, 1800))
		first, wait := make(chan struct{}), make(chan struct{})
		o.tamper = func(n int, resp *http.Response) {
			if n == 1 {
				resp.Body = io.NopCloser(errReader(resp.Body, 1800, errReset, first))
			}
		}
		client := &pausing{ResponseRecorder: httptest.NewRecorder(), first: first, wait: wait}
		done := make(chan error)
		go func() { done <- serve(t.Context(), c, client, Request{Key: "a", Policy: policy(), Fetch: o.fetch}, "") }()
		synctest.Wait()
		close(wait)
		if err := <-done; err != nil || !bytes.Equal(client.Body.Bytes(), o.body) {
			t.Errorf("all bytes arrived before the reset: %v", err)
		}
		c.work.Wait()
		if !contains(c, "a") {
			t.Error("and they are not stored")
		}
		for i, h := range o.requests {
			t.Logf("request %d: Range %q", i+1, h.Get("Range"))
		}
	})
}

// 16. An object of unknown size that turns out too large before the first byte has
// left is a 502, not a pass.
func TestReviewTooLargeBeforeTheFirstByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{})
		o := newOrigin(content(1, 5000))
		o.unknown = true
		o.wrap = func(_ context.Context, r io.Reader) io.Reader {
			return readerFunc(func(p []byte) (int, error) { time.Sleep(time.Millisecond); return r.Read(p) })
		}
		p := policy()
		p.MaxObject = 1000
		req := Request{Key: "a", Policy: p, Fetch: o.fetch}
		resp, status, err := get(t, c, req)
		if err != nil || status != Pass || !bytes.Equal(read(t, resp), o.body) {
			t.Errorf("%s, %v", status, err)
		}
	})
}

// 17. Warm with "all of it" on a partly stored object truncates the object.
func TestReviewWarmAllTruncates(t *testing.T) {
	c := newTest(t, Limits{Slice: 1000})
	o := newOrigin(content(1, 10_000))
	req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
	for _, rng := range []string{"bytes=0-10", "bytes=5000-5010"} {
		if _, _, err := get(t, c, req, "Range", rng); err != nil {
			t.Fatal(err)
		}
	}
	c.work.Wait()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	err := c.Warm(ctx, req, math.MaxInt64)
	info, _ := c.Peek("a")
	resp, _, gerr := get(t, c, req)
	if err != nil || info.Size != 10_000 || gerr != nil || !bytes.Equal(read(t, resp), o.body) {
		t.Errorf("Warm: %v; %+v; GET: %v, Content-Length %s", err, info, gerr, resp.Header.Get("Content-Length"))
	}
}

// 18. Empty objects have no weight: where Entries is 0, as for streams, nothing bounds them.
func TestReviewEmptyObjectsAreUnbounded(t *testing.T) {
	c := newTest(t, Limits{Memory: 100 << 10})
	o := newOrigin(nil)
	for i := range 20_000 {
		if _, _, err := get(t, c, Request{Key: fmt.Sprint(i), Policy: policy(), Fetch: o.fetch}); err != nil {
			t.Fatal(err)
		}
	}
	if s := c.Stats(); s.Entries > 10_000 {
		t.Errorf("%d objects in 100 KiB", s.Entries)
	}
}

// 19. Several ranges of what passes through: the upstream's multipart answer is a 502.
func TestReviewForwardSeveralRanges(t *testing.T) {
	body := content(1, 10_000)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Etag", `"v1"`)
		http.ServeContent(w, r, "a.bin", time.Time{}, bytes.NewReader(body))
	}))
	defer srv.Close()
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	req := Request{Key: "a", Policy: policy(), Fetch: func(ctx context.Context, h http.Header) (*http.Response, error) {
		r, _ := http.NewRequestWithContext(ctx, "GET", srv.URL, nil)
		r.Header = h
		return tr.RoundTrip(r)
	}}
	c := newTest(t, Limits{})
	resp, _, err := get(t, c, req, "Range", "bytes=0-9,5000-5009")
	if err != nil || resp.StatusCode != 200 && resp.StatusCode != 206 {
		t.Errorf("%d, %v", resp.StatusCode, err)
	}
}

// 20. A panic of Admit leaves the upstream's body open.
func TestReviewAdmitPanicLeaksTheBody(t *testing.T) {
	c := newTest(t, Limits{})
	o := newOrigin(content(1, 1000))
	p := policy()
	p.Admit = func(http.Header, []byte) error { panic("boom") }
	_, _, err := get(t, c, Request{Key: "a", Policy: p, Fetch: o.fetch})
	c.work.Wait()
	if err == nil || o.open() != 0 {
		t.Errorf("%v; %d bodies are open", err, o.open())
	}
}

// 21. A NotFound in a gap is not remembered.
func TestReviewNotFoundInAGap(t *testing.T) {
	c := newTest(t, Limits{Slice: 1000})
	o := newOrigin(content(1, 100_000))
	req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
	if err := c.Warm(t.Context(), req, 500); err != nil {
		t.Fatal(err)
	}
	c.work.Wait()
	o.fail = func(int, http.Header) error { return fmt.Errorf("gone: %w", ErrNotFound) }
	before := o.count()
	for range 10 {
		if _, _, err := get(t, c, req, "Range", "bytes=50000-50009"); !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
	}
	if n := o.count() - before; n > 1 {
		t.Errorf("the upstream was asked %d times within the NegativeTTL", n)
	}
}

// 22. Arithmetic with dates that are out of time.Duration's reach.
func TestReviewDatesOverflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{})
		o := newOrigin(content(1, 1000))
		o.header.Set("Date", "Mon, 01 Jan 1500 00:00:00 GMT")
		req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
		_, _, _ = get(t, c, req)
		time.Sleep(2 * time.Second)
		resp, _, err := get(t, c, req)
		if age := resp.Header.Get("Age"); err != nil || strings.HasPrefix(age, "-") {
			t.Errorf("Age: %s, %v", age, err)
		}
	})
}

// 22b. Saturated durations that are subtracted wrap around.
func TestReviewLifetimeOverflow(t *testing.T) {
	h := http.Header{"Date": {"Fri, 31 Dec 9999 23:59:59 GMT"}, "Expires": {"Mon, 01 Jan 1500 00:00:00 GMT"}, "Age": {"2147483648"}}
	t.Logf("lifetime %v", policy().lifetime(h, time.Now()))
	if l := policy().lifetime(h, time.Now()); l > 0 {
		t.Errorf("expired 500 years ago, and fresh for %v", l)
	}
}

// 23. Stats.Fills is never set.
func TestReviewStatsFills(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{})
		o := newOrigin(content(1, 1000))
		gate := make(chan struct{})
		o.wrap = func(_ context.Context, r io.Reader) io.Reader {
			return readerFunc(func(p []byte) (int, error) { <-gate; return r.Read(p) })
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _, _ = get(t, c, Request{Key: "a", Policy: policy(), Fetch: o.fetch})
		}()
		synctest.Wait()
		if s := c.Stats(); s.Fills != 1 {
			t.Errorf("%d fills", s.Fills)
		}
		close(gate)
		<-done
	})
}

// 24. Cache-Status says "fwd" where nothing is forwarded.
func TestReviewCacheStatusOfHeaders(t *testing.T) {
	c := newTest(t, Limits{Slice: 1000})
	o := newOrigin(content(1, 100_000))
	req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
	if _, _, err := get(t, c, req, "Range", "bytes=-5"); err != nil {
		t.Fatal(err)
	}
	c.work.Wait()
	before := o.count()
	for _, r := range []struct {
		method string
		fields []string
	}{{"HEAD", nil}, {"GET", []string{"If-None-Match", `"v1"`}}, {"GET", []string{"If-Match", `"v2"`}}} {
		resp, status, err := do(t, c, r.method, req, r.fields...)
		if cs := resp.Header.Get("Cache-Status"); err != nil || strings.Contains(cs, "fwd") || status != Hit {
			t.Errorf("%s %v: %d, %s, %q, %d upstream requests", r.method, r.fields, resp.StatusCode, status, cs, o.count()-before)
		}
	}
}

// 25. Many slow readers: each fill runs ahead, evicts what the others have ahead,
// and so on.
func TestReviewThrashing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, slice, clients = 4 << 20, 64 << 10, 64
		c := newTest(t, Limits{Memory: 32 << 20, Slice: slice}) // 2 MiB ahead each; 64 clients
		p := policy()
		p.MaxObject = 0
		var sent, requests atomic.Int64
		f := endless(size, func(n int) { sent.Add(int64(n)); time.Sleep(time.Millisecond) })
		var wg sync.WaitGroup
		for i := range clients {
			wg.Go(func() {
				var next int64
				client := &checking{header: http.Header{}, want: &pattern{0, size}, paused: func(got int64) error {
					if got >= next {
						next += slice
						time.Sleep(time.Second) // 64 KiB/s
					}
					return nil
				}}
				req := Request{Key: fmt.Sprint(i), Policy: p, Fetch: func(ctx context.Context, h http.Header) (*http.Response, error) {
					requests.Add(1)
					return f(ctx, h)
				}}
				if err := serve(t.Context(), c, client, req, ""); err != nil || client.wrong || client.got != size {
					t.Errorf("%v, %t, %d", err, client.wrong, client.got)
				}
			})
		}
		wg.Wait()
		c.work.Wait()
		if factor := float64(sent.Load()) / (clients * size); factor > 1.5 {
			t.Errorf("the upstream sent %.1f times what the clients got, in %d requests for %d clients", factor, requests.Load(), clients)
		}
	})
}

// 26. A Vary with a * among others.
func TestReviewVaryList(t *testing.T) {
	for _, v := range [][]string{{"Origin, *"}, {"Origin", "*"}} {
		resp := &http.Response{StatusCode: 200, ContentLength: 5, Header: http.Header{"Vary": v}}
		if policy().storable(resp, 5) {
			t.Errorf("%q is storable", v)
		}
	}
}

// 27. A 304 that forbids to store.
func TestReview304NoStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{})
		o := newOrigin(content(1, 1000))
		req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
		_, _, _ = get(t, c, req)
		time.Sleep(2 * day)
		o.mu.Lock()
		o.header.Set("Cache-Control", "no-store")
		o.mu.Unlock()
		_, _, _ = get(t, c, req)
		if _, status, err := get(t, c, req); status == Hit {
			t.Errorf("%s, %v", status, err)
		}
	})
}

// 28. What a fill has to skip it reads to the end, for nobody.
func TestReviewSkippingForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 256 << 20
		c := newTest(t, Limits{Memory: 64 << 20})
		p := policy()
		p.MaxObject = 0
		var sent atomic.Int64
		f := endless(size, func(n int) { sent.Add(int64(n)); time.Sleep(time.Millisecond) })
		req := Request{Key: "a", Policy: p, Fetch: func(ctx context.Context, _ http.Header) (*http.Response, error) {
			return f(ctx, http.Header{}) // ignores Range
		}}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_ = serve(ctx, c, httptest.NewRecorder(), req, "bytes=268000000-")
		at := sent.Load()
		c.work.Wait()
		if after := sent.Load() - at; after > 2*DefaultSlice {
			t.Errorf("%d MiB were read after the last reader had left", after>>20)
		}
	})
}

// 29. A cold HEAD may store nothing, and says that it does.
func TestReviewColdHeadIsStored(t *testing.T) {
	lost := 0
	for range 300 {
		c := New(Limits{})
		c.SetLimits(Limits{Memory: 1 << 20, Slice: 1000})
		o := newOrigin(content(1, 10_000))
		resp, _, err := do(t, c, "HEAD", Request{Key: "a", Policy: policy(), Fetch: o.fetch})
		if err != nil {
			t.Fatal(err)
		}
		c.work.Wait()
		if strings.Contains(resp.Header.Get("Cache-Status"), "stored") && c.Stats().Entries == 0 {
			lost++
		}
		c.Close()
	}
	if lost > 0 {
		t.Errorf("%d of 300 say stored, and nothing is", lost)
	}
}

// 30. Paused clients hold on to upstream connections, of which there are only so
// many (max_conns_per_host): others wait for them.
func TestReviewPausedClientsHoldConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 64 << 20
		c := newTest(t, Limits{Memory: 32 << 20})
		p := policy()
		p.MaxObject = 0
		conns := make(chan struct{}, 2)
		f := claims(size)
		fetch := func(ctx context.Context, h http.Header) (*http.Response, error) {
			select {
			case conns <- struct{}{}:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			resp, err := f(ctx, h)
			resp.Body = &closing{resp.Body, sync.OnceFunc(func() { <-conns })}
			return resp, err
		}
		resume := make(chan struct{})
		var wg sync.WaitGroup
		for i := range 2 {
			wg.Go(func() {
				client := &checking{header: http.Header{}, want: &pattern{0, size}, paused: func(got int64) error {
					if got > 1<<20 {
						<-resume
					}
					return nil
				}}
				if err := serve(t.Context(), c, client, Request{Key: fmt.Sprint("paused ", i), Policy: p, Fetch: fetch}, ""); err != nil || client.wrong {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		time.Sleep(10 * time.Minute)
		client := &checking{header: http.Header{}, want: &pattern{0, 100}}
		if err := serve(t.Context(), c, client, Request{Key: "other", Policy: p, Fetch: fetch}, "bytes=0-99"); err != nil {
			t.Errorf("a third client, after 10 minutes of two others' pause: %v", err)
		}
		close(resume)
		wg.Wait()
	})
}

type closing struct {
	io.Reader
	close func()
}

func (c *closing) Close() error { c.close(); return nil }

type slowRec struct {
	*httptest.ResponseRecorder
	slow bool
	left int
}

func (s *slowRec) Write(p []byte) (int, error) {
	if s.slow {
		time.Sleep(time.Duration(rand.IntN(300)) * time.Microsecond)
	}
	s.left -= len(p)
	if s.left < 0 {
		return 0, errors.New("gone")
	}
	return s.ResponseRecorder.Write(p)
}

const rounds = 60

// 8b. Finding 8 from outside: every answer is compared with the version that its ETag names.
func TestReviewStress(t *testing.T) {
	for round := range rounds {
		c := New(Limits{Memory: 8000, Slice: 500})
		const keys = 3
		var vmu sync.Mutex
		versions := map[string][]byte{}
		fetches := make([]Fetch, keys)
		for k := range keys {
			cur := 0
			mk := func() string {
				etag := fmt.Sprintf("\"%d-%d\"", k, cur)
				vmu.Lock()
				versions[etag] = content(uint64(k*1000+cur), 3000+rand.IntN(20000))
				vmu.Unlock()
				return etag
			}
			etag := mk()
			var mu sync.Mutex
			fetches[k] = func(ctx context.Context, h http.Header) (*http.Response, error) {
				mu.Lock()
				defer mu.Unlock()
				if rand.IntN(20) == 0 {
					cur++
					etag = mk()
				}
				vmu.Lock()
				body := versions[etag]
				vmu.Unlock()
				o := newOrigin(body)
				o.header.Set("Etag", etag)
				if k == 2 {
					o.header.Set("Cache-Control", "no-cache")
				}
				o.unknown = rand.IntN(5) == 0
				o.noRange = rand.IntN(8) == 0
				resp, err := o.fetch(ctx, h)
				if err != nil {
					return nil, err
				}
				switch rand.IntN(8) {
				case 0:
					resp.Body = io.NopCloser(errReader(resp.Body, int64(rand.IntN(5000)), errReset, nil))
				case 1:
					b := resp.Body
					resp.Body = io.NopCloser(readerFunc(func(p []byte) (int, error) {
						time.Sleep(50 * time.Microsecond)
						return b.Read(p[:min(len(p), 300)])
					}))
				}
				return resp, nil
			}
		}
		var wg sync.WaitGroup
		for range 12 {
			wg.Go(func() {
				for range 25 {
					k := rand.IntN(keys)
					req := Request{Key: fmt.Sprint(k), Policy: policy(), Fetch: fetches[k]}
					req.Policy.ReadAhead = rand.IntN(3)
					ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
					if rand.IntN(10) == 0 {
						cancel()
						ctx, cancel = context.WithTimeout(context.Background(), time.Duration(rand.IntN(2000))*time.Microsecond)
					} else if rand.IntN(15) == 0 {
						c.SetLimits(Limits{Memory: int64(rand.IntN(20000)), Slice: int64(100 + rand.IntN(2000)), Entries: rand.IntN(4)})
					} else if rand.IntN(15) == 0 {
						if err := c.Warm(ctx, req, int64(rand.IntN(30000))); errors.Is(err, context.DeadlineExceeded) {
							t.Errorf("Warm hangs")
						}
						cancel()
						continue
					}
					start := time.Now()
					r := httptest.NewRequestWithContext(ctx, "GET", "/", nil)
					first, last := rand.IntN(25000), 0
					if rand.IntN(2) == 0 {
						last = first + rand.IntN(8000)
						r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", first, last))
					} else {
						first, last = 0, -1
					}
					w := &slowRec{httptest.NewRecorder(), rand.IntN(2) == 0, 1 << 30}
					if rand.IntN(5) == 0 {
						w.left = rand.IntN(5000)
					}
					_, err := c.Serve(w, r, req)
					cancel()
					if time.Since(start) > 9*time.Second {
						t.Errorf("hang: %v", err)
					}
					if w.Code == 200 || w.Code == 206 {
						vmu.Lock()
						body := versions[w.Result().Header.Get("Etag")]
						vmu.Unlock()
						if w.Body.Len() == 0 && err != nil {
							continue
						}
						want := body
						if w.Code == 206 {
							want = body[first:min(last+1, len(body))]
						}
						if !bytes.HasPrefix(want, w.Body.Bytes()) || err == nil && len(want) != w.Body.Len() {
							who := ""
							vmu.Lock()
							for e, v := range versions {
								for off := 0; off+50 <= w.Body.Len(); off += 50 {
									if at := bytes.Index(v, w.Body.Bytes()[off:off+50]); at >= 0 {
										who += fmt.Sprintf(" %s@%d+%d", e, first+off, at-off-first)
									}
								}
							}
							vmu.Unlock()
							t.Errorf("%s", who)
							t.Errorf("round %d: %d: %d bytes, want %d of %s, %v", round, w.Code, w.Body.Len(), len(want), w.Result().Header.Get("Etag"), err)
						}
					}
				}
			})
		}
		wg.Wait()
		done := make(chan struct{})
		go func() { c.work.Wait(); close(done) }()
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			t.Fatal("work does not end")
		}
		func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			var total int64
			n := 0
			for _, o := range c.store.objects.Values() {
				if len(o.fills) > 0 || o.gone || o.dead != nil {
					t.Errorf("object with %d fills, gone: %t, dead: %v", len(o.fills), o.gone, o.dead)
				}
				kept := 0
				for i, s := range o.slices {
					if !s.complete {
						t.Errorf("incomplete slice %d", i)
					}
					total += s.counted
					kept++
				}
				n += kept
				if kept != o.kept {
					t.Errorf("kept %d, counted %d", kept, o.kept)
				}
			}
			if total != c.store.bytes || n != c.store.slices.Len() || c.store.bytes > c.store.limits.Memory {
				t.Errorf("%d bytes counted %d (limit %d), %d slices counted %d", total, c.store.bytes, c.store.limits.Memory, n, c.store.slices.Len())
			}
		}()
		c.Close()
	}
}
