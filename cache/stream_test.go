package cache

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestPausedClientPausesItsFill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, memory = 16 << 20, 32 << 20
		c := newTest(t, Limits{Memory: memory})
		p := policy()
		p.MaxObject = 0
		var mu sync.Mutex
		var read int64
		req := Request{Key: "a", Policy: p, Fetch: endless(size, func(n int) {
			mu.Lock()
			defer mu.Unlock()
			read += int64(n)
		})}
		resume := make(chan struct{})
		client := &checking{header: http.Header{}, want: &pattern{0, size}, paused: func(got int64) error {
			if got > 1<<20 {
				<-resume
			}
			return nil
		}}
		done := make(chan error)
		go func() { done <- serve(t.Context(), c, client, req, "") }()
		synctest.Wait()
		mu.Lock()
		ahead := read - client.got
		mu.Unlock()
		if ahead > memory/aheadShare+2*DefaultSlice {
			t.Errorf("the fill is %d bytes ahead of a client that has paused", ahead)
		}
		time.Sleep(time.Hour) // a pause is no stall
		close(resume)
		if err := <-done; err != nil || client.wrong || client.got != size {
			t.Errorf("%v, wrong: %t, %d bytes", err, client.wrong, client.got)
		}
	})
}

// TestPausedClientsLeaveTheirConnections pauses as many clients as there may be
// connections to the upstream: after a while their fills must make room for others,
// and take up where they stopped when the clients go on.
func TestPausedClientsLeaveTheirConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 16 << 20
		c := newTest(t, Limits{Memory: 32 << 20})
		p := policy()
		p.MaxObject = 0
		conns := make(chan struct{}, 2)
		upstream := claims(size)
		fetch := func(ctx context.Context, h http.Header) (*http.Response, error) {
			select {
			case conns <- struct{}{}:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
			resp, err := upstream(ctx, h)
			resp.Body = &closing{resp.Body, sync.OnceFunc(func() { <-conns })}
			return resp, err
		}
		resume := make(chan struct{})
		var wg sync.WaitGroup
		for i := range cap(conns) {
			wg.Go(func() {
				client := &checking{header: http.Header{}, want: &pattern{0, size}, paused: func(got int64) error {
					if got > 1<<20 {
						<-resume
					}
					return nil
				}}
				err := serve(t.Context(), c, client, Request{Key: fmt.Sprint("paused ", i), Policy: p, Fetch: fetch}, "")
				if err != nil || client.wrong || client.got != size {
					t.Errorf("%v, wrong: %t, %d bytes", err, client.wrong, client.got)
				}
			})
		}
		synctest.Wait()
		time.Sleep(10 * time.Minute)
		client := &checking{header: http.Header{}, want: &pattern{0, 100}}
		if err := serve(t.Context(), c, client, Request{Key: "other", Policy: p, Fetch: fetch}, "bytes=0-99"); err != nil {
			t.Errorf("one client more, after 10 minutes of the others' pause: %v", err)
		}
		close(resume)
		wg.Wait()
	})
}

func TestFillStopsWithItsLastReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 64 << 20
		c := newTest(t, Limits{Memory: 256 << 20})
		p := policy()
		p.MaxObject = 0
		var mu sync.Mutex
		var read int64
		gate := make(chan struct{}, size/1024)
		req := Request{Key: "a", Policy: p, Fetch: endless(size, func(n int) {
			<-gate
			mu.Lock()
			defer mu.Unlock()
			read += int64(n)
		})}
		gone := errors.New("client is gone")
		client := &checking{header: http.Header{}, want: &pattern{0, size}, paused: func(got int64) error {
			if got > 0 {
				return gone
			}
			return nil
		}}
		done := make(chan error)
		go func() { done <- serve(t.Context(), c, client, req, "") }()
		gate <- struct{}{}
		synctest.Wait()
		gate <- struct{}{}
		if err := <-done; !errors.Is(err, gone) || !errors.Is(err, ErrAborted) {
			t.Errorf("got %v", err)
		}
		for range 1000 {
			gate <- struct{}{}
		}
		synctest.Wait()
		if s := c.Stats(); read > 3*DefaultSlice || s.Bytes%DefaultSlice != 0 {
			t.Errorf("%d bytes were read for nobody, %d are kept", read, s.Bytes)
		}
	})
}

// TestSkippingStopsWithItsLastReader asks an upstream that ignores Range for the end
// of a large object, and leaves: what comes before need not be read for nobody.
func TestSkippingStopsWithItsLastReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 256 << 20
		c := newTest(t, Limits{Memory: 64 << 20})
		p := policy()
		p.MaxObject = 0
		var sent atomic.Int64
		upstream := endless(size, func(n int) { sent.Add(int64(n)); time.Sleep(time.Millisecond) })
		req := Request{Key: "a", Policy: p, Fetch: func(ctx context.Context, _ http.Header) (*http.Response, error) {
			return upstream(ctx, http.Header{})
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

func TestSeekPastARunningFillDoesNotWaitForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 16 << 20
		c := newTest(t, Limits{Memory: 256 << 20})
		p := policy()
		p.MaxObject = 0
		slow := endless(size, func(int) { time.Sleep(time.Second) })
		fast := endless(size, func(int) {})
		req := Request{Key: "a", Policy: p, Fetch: func(ctx context.Context, h http.Header) (*http.Response, error) {
			if h.Get("Range") == "" {
				return slow(ctx, h)
			}
			return fast(ctx, h)
		}}
		player := &checking{header: http.Header{}, want: &pattern{0, size}}
		done := make(chan error)
		go func() { done <- serve(t.Context(), c, player, req, "") }()
		time.Sleep(1500 * time.Millisecond)
		start := time.Now()
		seeker := &checking{header: http.Header{}, want: &pattern{size - 131072, size}}
		if err := serve(t.Context(), c, seeker, req, "bytes=-131072"); err != nil || seeker.wrong || seeker.got != 131072 {
			t.Errorf("%v, wrong: %t, %d bytes", err, seeker.wrong, seeker.got)
		}
		if took := time.Since(start); took > 0 {
			t.Errorf("the seek took %v", took)
		}
		if err := <-done; err != nil || player.wrong || player.got != size {
			t.Errorf("%v, wrong: %t, %d bytes", err, player.wrong, player.got)
		}
	})
}
