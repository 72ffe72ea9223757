package cache

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// hang is an upstream that never answers.
func hang(ctx context.Context, _ http.Header) (*http.Response, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// manyClients serves n clients, each of an object of its own, and sends what
// becomes of them.
func manyClients(ctx context.Context, c *Cache, n int, fetch Fetch, size int64, paused func(off int64) error) <-chan error {
	results := make(chan error, n)
	for i := range n {
		go func() {
			client := &checking{header: http.Header{}, want: &pattern{0, size}, paused: paused}
			req := Request{Key: fmt.Sprint(i), Policy: &Policy{TTL: day}, Fetch: fetch}
			err := serve(ctx, c, client, req, "")
			if err == nil && client.wrong {
				err = errors.New("wrong bytes")
			}
			results <- err
		}()
	}
	return results
}

func TestExchangesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const clients = 3 * minExchanges
		c := newTest(t, Limits{Memory: 1 << 20, Slice: 64 << 10})
		var open, most atomic.Int64
		gate := make(chan struct{})
		origin := claims(100_000)
		fetch := func(ctx context.Context, h http.Header) (*http.Response, error) {
			most.Store(max(most.Load(), open.Add(1)))
			defer open.Add(-1)
			<-gate
			return origin(ctx, h)
		}
		results := manyClients(t.Context(), c, clients, fetch, 100_000, nil)
		synctest.Wait()
		if open.Load() != minExchanges || c.Stats().Fills != minExchanges {
			t.Errorf("%d exchanges are under way, %d may be", open.Load(), minExchanges)
		}
		close(gate)
		for range clients {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		if most.Load() > minExchanges {
			t.Errorf("%d exchanges were under way at once, %d may be", most.Load(), minExchanges)
		}
	})
}

// TestQueueForgetsWhoLeft fills all places, and has clients that wait for one
// leave: nothing is asked of the upstream for them.
func TestQueueForgetsWhoLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{Memory: 1 << 20, Slice: 64 << 10})
		var asked atomic.Int64
		gate := make(chan struct{})
		origin := claims(100_000)
		fetch := func(ctx context.Context, h http.Header) (*http.Response, error) {
			asked.Add(1)
			<-gate
			return origin(ctx, h)
		}
		ctx, leave := context.WithCancel(t.Context())
		results := manyClients(ctx, c, 2*minExchanges, fetch, 100_000, nil)
		synctest.Wait()
		leave()
		for range 2 * minExchanges {
			if err := <-results; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
		close(gate)
		synctest.Wait()
		if asked.Load() != minExchanges {
			t.Errorf("the upstream was asked %d times, for %d clients", asked.Load(), minExchanges)
		}
	})
}

func TestCloseEndsTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := New(Limits{Memory: 1 << 20, Slice: 64 << 10})
		results := manyClients(t.Context(), c, 2*minExchanges, hang, 1, nil)
		synctest.Wait()
		c.Close()
		for range 2 * minExchanges {
			if err := <-results; !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
		}
		c.check(t)
	})
}

// TestQueueIsBounded has more requests wait than may: they are told so at once.
func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{Memory: 1 << 20, Slice: 64 << 10})
		ctx, leave := context.WithCancel(t.Context())
		results := manyClients(ctx, c, minExchanges+maxQueue+10, hang, 1, nil)
		for range 10 {
			if err := <-results; !errors.Is(err, ErrBusy) {
				t.Error(err)
			}
		}
		leave()
		for range minExchanges + maxQueue {
			if err := <-results; !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		}
	})
}

// TestPausedFillsMakeWay has as many readers who do not read on as there are
// places: whoever comes then is served at once.
func TestPausedFillsMakeWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 4 << 20
		c := newTest(t, Limits{Memory: 2 << 20, Slice: 64 << 10})
		wake := make(chan struct{})
		slow := manyClients(t.Context(), c, minExchanges, claims(size), size, func(off int64) error {
			if off > 64<<10 {
				<-wake
			}
			return nil
		})
		synctest.Wait()
		if n := c.Stats().Fills; n != minExchanges {
			t.Fatalf("%d fills are under way", n)
		}
		start := time.Now()
		req := Request{Key: "late", Policy: &Policy{TTL: day}, Fetch: claims(size)}
		client := &checking{header: http.Header{}, want: &pattern{0, size}}
		if err := serve(t.Context(), c, client, req, ""); err != nil || client.wrong {
			t.Errorf("%v, wrong bytes: %t", err, client.wrong)
		}
		if waited := time.Since(start); waited != 0 {
			t.Errorf("waited %v", waited)
		}
		close(wake)
		for range minExchanges {
			if err := <-slow; err != nil {
				t.Error(err)
			}
		}
	})
}

// TestPauseLetsGoOfTheConnection has a reader stop: the upstream's connection is
// given back, and the rest comes when the reader goes on.
func TestPauseLetsGoOfTheConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 4 << 20
		c := newTest(t, Limits{Memory: 1 << 20, Slice: 64 << 10})
		wake := make(chan struct{})
		slow := manyClients(t.Context(), c, 1, claims(size), size, func(off int64) error {
			if off > 64<<10 {
				<-wake
			}
			return nil
		})
		time.Sleep(pauseTimeout)
		synctest.Wait()
		if n := c.Stats().Fills; n != 0 {
			t.Errorf("%d fills are under way", n)
		}
		close(wake)
		if err := <-slow; err != nil {
			t.Error(err)
		}
	})
}
