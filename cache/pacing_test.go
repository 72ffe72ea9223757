package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestListenersOneAfterAnother has listeners come one after the other to objects that
// are together larger than the memory.
func TestListenersOneAfterAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, slice, clients = 1 << 20, 16 << 10, 200
		c := newTest(t, Limits{Memory: 16 << 20, Slice: slice})
		p := policy()
		p.MaxObject = 0
		var sent, requests atomic.Int64
		upstream := endless(size, func(n int) { sent.Add(int64(n)) })
		fetch := func(ctx context.Context, h http.Header) (*http.Response, error) {
			requests.Add(1)
			return upstream(ctx, h)
		}
		var wg sync.WaitGroup
		for i := range clients {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 4 * time.Second)
				client := slowly(size, slice, 12*time.Second) // twelve minutes and a half in all
				err := serve(t.Context(), c, client, Request{Key: fmt.Sprint(i), Policy: p, Fetch: fetch}, "")
				if err != nil || client.wrong || client.got != size {
					t.Errorf("%v, wrong: %t, %d bytes", err, client.wrong, client.got)
				}
			})
		}
		wg.Wait()
		c.work.Wait()
		factor := float64(sent.Load()) / (clients * size)
		t.Logf("the upstream sent %.2f times what the clients got, in %d requests for %d clients", factor, requests.Load(), clients)
		if factor > 1.5 {
			t.Errorf("the upstream sent %.1f times what the clients got, in %d requests for %d clients", factor, requests.Load(), clients)
		}
	})
}

// TestSlowReaderIsReadAheadOf has a listener far into an object whose next slice is
// missing: the fill that follows him brings it, with one request.
func TestSlowReaderIsReadAheadOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{Memory: 64_000, Slice: 1000})
		o := newOrigin(content(1, 40_000))
		p := policy()
		p.ReadAhead = 0
		req := Request{Key: "a", Policy: p, Fetch: o.fetch}
		if _, _, err := get(t, c, req, "Range", "bytes=0-29999"); err != nil {
			t.Fatal(err)
		}
		c.work.Wait()
		before := o.count()
		p2 := *p
		p2.ReadAhead = 2
		req.Policy = &p2
		var waited atomic.Int64
		var last time.Time
		var got bytes.Buffer
		client := &checking{header: http.Header{}, want: &pattern{}, paused: func(int64) error {
			if !last.IsZero() {
				waited.Add(int64(time.Since(last)))
			}
			time.Sleep(5 * time.Second) // for each slice
			last = time.Now()
			return nil
		}}
		if err := serve(t.Context(), c, &teeWriter{client, &got}, req, "bytes=20000-39999"); err != nil || !bytes.Equal(got.Bytes(), o.body[20_000:]) {
			t.Error(err)
		}
		c.work.Wait()
		t.Logf("%d requests, %v", o.count()-before, o.requests[before:])
		for i, h := range o.requests[before:] {
			for _, g := range o.requests[before : before+i] {
				if h.Get("Range") == g.Get("Range") {
					t.Errorf("%s was asked for twice", h.Get("Range"))
				}
			}
		}
		if sent := o.bytesSent(); sent > 45_000 {
			t.Errorf("the upstream sent %d bytes of 40000", sent)
		}
	})
}

// TestSeekOnABusyNodeAsksOnce has more exchanges than may run, and a client that wants
// the end of something new: the answer that it has waited for is used.
func TestSeekOnABusyNodeAsksOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 4 << 20
		c := newTest(t, Limits{Memory: 2 << 20, Slice: 64 << 10})
		gate := make(chan struct{})
		hang := func(context.Context, http.Header) (*http.Response, error) {
			<-gate
			return nil, errReset
		}
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		busy := manyClients(ctx, c, minExchanges-1, hang, 1, nil)
		synctest.Wait()
		asked := make(map[string]int)
		slow := make(chan struct{})
		fetch := func(ctx context.Context, h http.Header) (*http.Response, error) {
			asked[h.Get("Range")]++
			<-slow
			return claims(size)(ctx, h)
		}
		done := make(chan error)
		go func() {
			client := &checking{header: http.Header{}, want: &pattern{3 << 20, size}}
			err := serve(t.Context(), c, client, Request{Key: "seek", Policy: &Policy{TTL: day}, Fetch: fetch}, fmt.Sprintf("bytes=%d-", 3<<20))
			if err == nil && client.wrong {
				err = errors.New("wrong bytes")
			}
			done <- err
		}()
		synctest.Wait()
		waiting := make(chan error, 1) // in the queue
		go func() {
			waiting <- serve(t.Context(), c, httptest.NewRecorder(), Request{Key: "queued", Policy: &Policy{TTL: day}, Fetch: hang}, "")
		}()
		synctest.Wait()
		close(slow)
		synctest.Wait()
		close(gate)
		if err := <-done; err != nil {
			t.Error(err)
		}
		if err := <-waiting; !errors.Is(err, errReset) {
			t.Error(err)
		}
		for range minExchanges - 1 {
			if err := <-busy; !errors.Is(err, errReset) {
				t.Error(err)
			}
		}
		for rng, times := range asked {
			if times > 1 {
				t.Errorf("%s was asked for %d times", rng, times)
			}
		}
	})
}

// TestEndedFillsAreBounded has many slow readers of different objects: what is held
// for them is bounded by the memory, or nearly.
func TestEndedFillsAreBounded(t *testing.T) {
	const size, slice, clients, memory = 1 << 20, 64 << 10, 400, 8 << 20
	c := New(Limits{Memory: memory, Slice: slice})
	var at sync.WaitGroup
	at.Add(clients)
	wake := make(chan struct{})
	var results <-chan error
	grown := heapGrowth(func() {
		results = manyClients(t.Context(), c, clients, claims(size), size, func(off int64) error {
			if off == slice {
				at.Done()
				<-wake
			}
			return nil
		})
		at.Wait()
		for c.Stats().Fills > 0 {
			time.Sleep(100 * time.Millisecond)
		}
		runtime.GC()
	})
	t.Logf("%d MiB for %d readers, with a memory of %d MiB, %d counted", grown>>20, clients, memory>>20, c.Stats().Bytes>>20)
	if grown > memory+clients*slice*3/2 {
		t.Errorf("the heap has grown by %d MiB", grown>>20)
	}
	close(wake)
	for range clients {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	c.Close()
}

// TestOldFailureDoesNotAbort has the upstream fail while a slow listener has enough to
// listen to; it is well again when he needs more.
func TestOldFailureDoesNotAbort(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{Slice: 1000, Memory: 1 << 20})
		o := newOrigin(content(1, 40_000))
		down := false
		o.fail = func(int, http.Header) error {
			if down {
				return errReset
			}
			return nil
		}
		o.tamper = func(n int, resp *http.Response) {
			if n == 1 {
				down = true
				resp.Body = io.NopCloser(errReader(resp.Body, 10_500, errReset, nil))
			}
		}
		req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
		var got bytes.Buffer
		client := &checking{header: http.Header{}, want: &pattern{}, paused: func(off int64) error {
			time.Sleep(time.Second)
			if off >= 5000 {
				o.mu.Lock()
				down = false
				o.mu.Unlock()
			}
			return nil
		}}
		err := serve(t.Context(), c, &teeWriter{client, &got}, req, "")
		if err != nil || !bytes.Equal(got.Bytes(), o.body) {
			t.Errorf("%d bytes of %d, %v", got.Len(), len(o.body), err)
		}
	})
}

// TestSlicesDoNotHoldOnToEachOther has one slice of each object stay in memory: those
// that have left it must not be held any more.
func TestSlicesDoNotHoldOnToEachOther(t *testing.T) {
	const slice, memory = 64 << 10, 8 << 20
	c := newTest(t, Limits{Memory: memory, Slice: slice})
	grown := heapGrowth(func() {
		for i := range 600 {
			req := Request{Key: fmt.Sprint(i), Policy: policy(), Fetch: claims(4 * slice)}
			for _, rng := range []string{"", "bytes=0-65535", "bytes=0-65535"} {
				if err := serve(t.Context(), c, &checking{header: http.Header{}, want: &pattern{0, 4 * slice}}, req, rng); err != nil {
					t.Fatal(err)
				}
			}
			c.work.Wait()
		}
	})
	if grown > 2*memory {
		t.Errorf("the heap has grown by %d MiB; the limit is %d MiB, counted are %d", grown>>20, memory>>20, c.Stats().Bytes>>20)
	}
	runtime.KeepAlive(c)
}
