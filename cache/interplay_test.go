package cache

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// All of an object whose upstream does not say how long it is stays with those who
// read it, though another has taken its place.
func TestReplacedObjectIsReadToItsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{Slice: 1000})
		o := newOrigin(content(1, 20_000))
		o.unknown, o.noRange = true, true
		o.header.Set("Cache-Control", "no-cache")
		hold := make(chan struct{})
		o.tamper = func(n int, resp *http.Response) {
			if n == 1 {
				b := resp.Body
				resp.Body = io.NopCloser(io.MultiReader(io.LimitReader(b, 1000), readerFunc(func(p []byte) (int, error) { <-hold; return b.Read(p) })))
			}
		}
		req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
		first, wait := make(chan struct{}), make(chan struct{})
		client := &pausing{ResponseRecorder: httptest.NewRecorder(), first: first, wait: wait}
		done := make(chan error)
		go func() { done <- serve(t.Context(), c, client, req, "") }()
		<-first
		if resp, _, err := get(t, c, req); err != nil || !bytes.Equal(read(t, resp), o.body) { // the second client
			t.Fatal(err)
		}
		close(hold)
		c.work.Wait()
		close(wait)
		if err := <-done; err != nil || !bytes.Equal(client.Body.Bytes(), o.body) {
			t.Errorf("the first client, all of whose bytes had arrived: %v, %d bytes of %d; %d requests", err, client.Body.Len(), len(o.body), o.count())
		}
	})
}

// What can be found by nobody any more, and can not be resumed, is not read on when
// its readers have left.
func TestNothingIsReadForNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, clients = 4 << 20, 40
		c := newTest(t, Limits{Memory: 4 << 20})
		var sent atomic.Int64
		gate := make(chan struct{})
		fetch := func(ctx context.Context, _ http.Header) (*http.Response, error) {
			p := &pattern{0, size}
			n := 0
			return &http.Response{StatusCode: 200, ProtoMajor: 1, ContentLength: size, Header: http.Header{"Cache-Control": {"no-cache"}},
				Body: io.NopCloser(readerFunc(func(b []byte) (int, error) {
					if ctx.Err() != nil {
						return 0, ctx.Err()
					}
					if n > 0 {
						<-gate
					}
					m, err := p.Read(b)
					n += m
					sent.Add(int64(m))
					return m, err
				}))}, nil
		}
		for range clients {
			ctx, cancel := context.WithCancel(t.Context())
			_ = serve(ctx, c, &leaving{ResponseRecorder: httptest.NewRecorder(), after: 100, cancel: cancel}, Request{Key: "a", Policy: policy(), Fetch: fetch}, "")
			cancel()
		}
		synctest.Wait()
		t.Logf("fills under way for nobody: %d, counted bytes %d", c.Stats().Fills, c.Stats().Bytes)
		close(gate)
		c.work.Wait()
		if got := sent.Load(); got > 2*size+clients*2*DefaultSlice {
			t.Errorf("%d MiB were read for %d clients that had left, of an object that is kept once at the most", got>>20, clients)
		}
	})
}

// Another version that shows itself while an object is warmed is a new start.
func TestWarmStartsOver(t *testing.T) {
	c := newTest(t, Limits{Slice: 1000})
	o := newOrigin(content(1, 30_000))
	req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
	if err := c.Warm(t.Context(), req, 500); err != nil {
		t.Fatal(err)
	}
	c.work.Wait()
	o.set(content(2, 30_000), `"v2"`)
	if err := c.Warm(t.Context(), req, 5000); err != nil {
		t.Errorf("a new version: %v", err)
	}
}

// What was asked for in slices of one size is kept in slices of that size.
func TestSliceSizeChangesDuringAFlight(t *testing.T) {
	c := newTest(t, Limits{Slice: 1000})
	o := newOrigin(content(1, 30_000))
	req := Request{Key: "a", Policy: policy(), Fetch: func(ctx context.Context, h http.Header) (*http.Response, error) {
		c.SetLimits(Limits{Memory: 1 << 20, Slice: 10_000})
		return o.fetch(ctx, h)
	}}
	resp, _, err := get(t, c, req, "Range", "bytes=1200-1300")
	if err != nil || !bytes.Equal(read(t, resp), o.body[1200:1301]) {
		t.Errorf("%v", err)
	}
}

// A part that is stored does not make a hit of an answer that needs more.
func TestNoHitWithTheUpstreamsHelp(t *testing.T) {
	for _, fields := range [][]string{
		{"Range", "bytes=0-99", "If-Range", `"other"`},
		{"Range", "bytes=0-99,20000-20099"},
	} {
		c := newTest(t, Limits{Slice: 1000})
		o := newOrigin(content(1, 30_000))
		req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
		if _, _, err := get(t, c, req, "Range", "bytes=0-99"); err != nil {
			t.Fatal(err)
		}
		c.work.Wait()
		before := o.count()
		resp, status, err := get(t, c, req, fields...)
		if err != nil || status == Hit && o.count() > before {
			t.Errorf("%v: %s, %q, though the upstream was asked, %v", fields, status, resp.Header.Get("Cache-Status"), err)
		}
	}
}

// A fill that fails does not fail a reader whose bytes another one brings.
func TestFillThatFailsElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 100_000
		c := newTest(t, Limits{Slice: 1000})
		o := newOrigin(content(1, size))
		var mu sync.Mutex
		n := 0
		req := Request{Key: "a", Policy: policy(), Fetch: func(ctx context.Context, h http.Header) (*http.Response, error) {
			mu.Lock()
			n++
			k := n
			mu.Unlock()
			r := h.Get("Range")
			if k > 1 && strings.HasPrefix(r, "bytes=500-") {
				return nil, errReset
			}
			resp, err := o.fetch(ctx, h)
			b := resp.Body
			if k == 1 { // 500 bytes, then breaks after a second
				resp.Body = io.NopCloser(io.MultiReader(io.LimitReader(b, 500), readerFunc(func([]byte) (int, error) { time.Sleep(2 * time.Second); return 0, errReset })))
			} else {
				resp.Body = io.NopCloser(io.MultiReader(readerFunc(func([]byte) (int, error) { time.Sleep(4 * time.Second); return 0, io.EOF }), b))
			}
			return resp, err
		}}
		go func() { _ = serve(t.Context(), c, httptest.NewRecorder(), req, "") }()
		synctest.Wait()
		rec2 := httptest.NewRecorder()
		done2 := make(chan error)
		go func() { done2 <- serve(t.Context(), c, rec2, req, "bytes=4400-4450") }() // joins
		synctest.Wait()
		rec1 := httptest.NewRecorder()
		done1 := make(chan error)
		go func() { done1 <- serve(t.Context(), c, rec1, req, "bytes=4600-4650") }() // own fill from 4000 on
		synctest.Wait()
		err2, err1 := <-done2, <-done1
		if err1 != nil || err2 != nil {
			t.Errorf("4600-: %v; 4400-: %v; bytes %d", err1, err2, rec2.Body.Len())
		}
	})
}

// A fill that has read all that it wants does not wait for its readers.
func TestFillAtItsEndIsNotPaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 1 << 20
		c := newTest(t, Limits{Memory: 1 << 20, Slice: 64 << 10})
		resume := make(chan struct{})
		client := &checking{header: http.Header{}, want: &pattern{0, size}, paused: func(got int64) error {
			if got >= size-128<<10 {
				<-resume
			}
			return nil
		}}
		done := make(chan error)
		go func() {
			done <- serve(t.Context(), c, client, Request{Key: "a", Policy: policy(), Fetch: claims(size)}, "")
		}()
		synctest.Wait()
		if s := c.Stats(); s.Fills != 0 {
			t.Errorf("%d fills are under way, all bytes have been read", s.Fills)
		}
		close(resume)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// A HEAD is answered with what is known of a part, and does not replace it.
func TestHeadKeepsAPart(t *testing.T) {
	c := newTest(t, Limits{Slice: 1000})
	o := newOrigin(content(1, 30_000))
	o.header.Del("Etag")
	req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
	if _, _, err := get(t, c, req, "Range", "bytes=20000-20999"); err != nil {
		t.Fatal(err)
	}
	c.work.Wait()
	if _, status, err := do(t, c, "HEAD", req); err != nil || o.count() != 1 {
		t.Errorf("HEAD: %s %v, %d requests", status, err, o.count())
	}
	c.work.Wait()
	if _, status, _ := get(t, c, req, "Range", "bytes=20000-20999"); status != Hit {
		t.Errorf("after the HEAD the part is a %s", status)
	}
}

// An object of a length that its upstream does not say is evicted as a whole, and
// its readers keep it.
func TestEvictedWhileRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{Slice: 1000, Memory: 30_000})
		o := newOrigin(content(1, 20_000))
		o.unknown, o.noRange = true, true
		req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
		first, wait := make(chan struct{}), make(chan struct{})
		client := &pausing{ResponseRecorder: httptest.NewRecorder(), first: first, wait: wait}
		done := make(chan error)
		go func() { done <- serve(t.Context(), c, client, req, "") }()
		<-first
		c.work.Wait()
		o2 := newOrigin(content(2, 25_000))
		if _, _, err := get(t, c, Request{Key: "b", Policy: policy(), Fetch: o2.fetch}); err != nil {
			t.Fatal(err)
		}
		c.work.Wait()
		close(wait)
		if err := <-done; err != nil || !bytes.Equal(client.Body.Bytes(), o.body) {
			t.Errorf("%v, %d bytes of %d", err, client.Body.Len(), len(o.body))
		}
	})
}

// What is passed through is admitted like what is kept.
func TestPassIsAdmittedToo(t *testing.T) {
	for _, fields := range [][]string{nil, {"Range", "bytes=2-9"}} {
		c := newTest(t, Limits{})
		o := newOrigin([]byte("<script>alert(1)</script>"))
		o.header.Set("Cache-Control", "no-store")
		p := policy()
		p.Admit = func(http.Header, []byte) error { return errReset }
		if resp, status, err := get(t, c, Request{Key: "a", Policy: p, Fetch: o.fetch}, fields...); !errors.Is(err, errReset) {
			t.Errorf("%v: %s, %q, %v", fields, status, read(t, resp), err)
		}
	}
}
