package resolver

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/voyo-music/caddy-voyo/internal/contain"
)

// result is what one caller of Resolve got.
type result struct {
	ans        *Answer
	remembered bool
	err        error
}

// start calls Resolve in a goroutine and waits until it is waiting.
func start(ctx context.Context, m *Memo, name string, r Resolver, a Asset) <-chan result {
	ch := make(chan result, 1)
	go func() {
		ans, remembered, err := m.Resolve(ctx, name, r, a, time.Hour)
		ch <- result{ans, remembered, err}
	}()
	synctest.Wait()
	return ch
}

// blocking answers when it is released, and minds its context or not.
type blocking struct {
	lookups atomic.Int64
	release chan struct{}
	deaf    bool
}

func (r *blocking) Resolve(ctx context.Context, a Asset) (*Answer, error) {
	r.lookups.Add(1)
	if r.deaf {
		ctx = context.Background()
	}
	select {
	case <-r.release:
		return answer(a), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// checkIdle fails if something is left of a lookup.
func checkIdle(t *testing.T, m *Memo) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.flights) != 0 || len(m.gates) != 0 {
		t.Errorf("%d flights and %d gates are left", len(m.flights), len(m.gates))
	}
}

func TestFlightIsShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemo(10)
		defer m.Close()
		r := &blocking{release: make(chan struct{})}
		var waiters []<-chan result
		for range 1000 {
			waiters = append(waiters, start(t.Context(), m, "r", r, numbered(1)))
		}
		close(r.release)
		first := <-waiters[0]
		for _, ch := range waiters[1:] {
			if got := <-ch; got != first || got.err != nil || got.remembered {
				t.Fatalf("got %+v, the first got %+v", got, first)
			}
		}
		if n := r.lookups.Load(); n != 1 {
			t.Errorf("%d lookups", n)
		}
		synctest.Wait()
		checkIdle(t, m)
	})
}

func TestFlightBelongsToNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemo(10)
		defer m.Close()
		type key struct{}
		var lookupErr func() error
		var lookupValue any
		r := &blocking{release: make(chan struct{})}
		asked := resolverFunc(func(ctx context.Context, a Asset) (*Answer, error) {
			lookupErr, lookupValue = ctx.Err, ctx.Value(key{})
			return r.Resolve(ctx, a)
		})
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "client's"))
		leader := start(ctx, m, "r", asked, numbered(1))
		other := start(t.Context(), m, "r", asked, numbered(1))

		cancel()
		if got := <-leader; !errors.Is(got.err, context.Canceled) {
			t.Errorf("the client that left got %+v", got)
		}
		if lookupErr() != nil || lookupValue != nil {
			t.Error("the lookup has the context of its first client")
		}
		close(r.release)
		if got := <-other; got.err != nil {
			t.Errorf("the client that stayed got %v", got.err)
		}
	})
}

func TestFlightOutlivesItsClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemo(10)
		defer m.Close()
		r := &blocking{release: make(chan struct{})}
		ctx, cancel := context.WithCancel(t.Context())
		ch := start(ctx, m, "r", r, numbered(1))
		cancel()
		<-ch
		close(r.release)
		synctest.Wait()
		if got := <-start(t.Context(), m, "r", r, numbered(1)); !got.remembered {
			t.Error("the answer is lost with the client that asked for it")
		}
	})
}

func TestFlightOfAClientThatHasLeft(t *testing.T) {
	m := NewMemo(10)
	defer m.Close()
	r := new(counting)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for i := range 100 {
		if _, _, err := m.Resolve(ctx, "r", r, numbered(i), time.Hour); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	}
	if n := r.lookups.Load(); n != 0 {
		t.Errorf("%d lookups for nobody", n)
	}
}

// A resolver that hangs costs its waiters the timeout, and nobody more than that.
func TestFlightStalls(t *testing.T) {
	for name, deaf := range map[string]bool{"minds its context": false, "deaf": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := NewMemo(10)
				defer m.Close()
				stalled := &blocking{release: make(chan struct{}), deaf: deaf}
				begin := time.Now()
				waiters := []<-chan result{
					start(t.Context(), m, "r", stalled, numbered(1)),
					start(t.Context(), m, "r", stalled, numbered(1)),
				}
				for _, ch := range waiters {
					if got := <-ch; !errors.Is(got.err, context.DeadlineExceeded) {
						t.Errorf("a waiter got %+v", got)
					}
				}
				if waited := time.Since(begin); waited != LookupTimeout {
					t.Errorf("waited for %v, want %v", waited, LookupTimeout)
				}

				again := new(counting)
				fresh := <-start(t.Context(), m, "r", again, numbered(1))
				if fresh.err != nil || again.lookups.Load() != 1 {
					t.Fatalf("the next got %+v after %d lookups", fresh, again.lookups.Load())
				}
				if n := m.Stats().UnderWay; deaf && n != 1 {
					t.Errorf("%d lookups under way, want the one that hangs", n)
				}
				close(stalled.release)
				synctest.Wait()
				if got := <-start(t.Context(), m, "r", again, numbered(1)); got.ans != fresh.ans {
					t.Error("an answer that came too late took the place of its successor's")
				}
				checkIdle(t, m)
			})
		})
	}
}

// A client that finds the old answer wrong while its successor is looked up does
// not spoil the successor.
func TestFlightForgottenMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemo(10)
		defer m.Close()
		old := <-start(t.Context(), m, "r", new(counting), numbered(1))
		m.Forget("r", numbered(1), old.ans)
		r := &blocking{release: make(chan struct{})}
		ch := start(t.Context(), m, "r", r, numbered(1))
		m.Forget("r", numbered(1), old.ans) // another client, about the same answer
		close(r.release)
		anew := <-ch
		if got := <-start(t.Context(), m, "r", r, numbered(1)); !got.remembered || got.ans != anew.ans {
			t.Errorf("got %+v, want the answer of the flight, remembered", got)
		}
	})
}

func TestFlightPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemo(10)
		defer m.Close()
		release := make(chan struct{})
		r := resolverFunc(func(context.Context, Asset) (*Answer, error) {
			<-release
			panic("key=hunter2")
		})
		waiters := []<-chan result{
			start(t.Context(), m, "r", r, numbered(1)),
			start(t.Context(), m, "r", r, numbered(1)),
		}
		close(release)
		claims := 0
		for _, ch := range waiters {
			got := <-ch
			p, ok := errors.AsType[*contain.PanicError](got.err)
			if !ok {
				t.Fatalf("got %+v", got)
			}
			if p.Value != "key=hunter2" || !strings.Contains(string(p.Stack), "flight_test.go") {
				t.Errorf("panicked with %v at\n%s", p.Value, p.Stack)
			}
			if strings.Contains(p.Error(), "hunter2") {
				t.Error("the error shows the value")
			}
			if p.Claim() {
				claims++
			}
		}
		if claims != 1 {
			t.Errorf("%d are to log the panic, want 1", claims)
		}
		if n := m.Stats().Panics; n != 1 {
			t.Errorf("%d panics counted", n)
		}
		if got := <-start(t.Context(), m, "r", new(counting), numbered(1)); got.err != nil {
			t.Errorf("after a panic: %v", got.err)
		}
		synctest.Wait()
		checkIdle(t, m)
	})
}

func TestFlightGoroutineEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemo(10)
		defer m.Close()
		r := resolverFunc(func(context.Context, Asset) (*Answer, error) {
			runtime.Goexit()
			return nil, nil
		})
		begin := time.Now()
		if got := <-start(t.Context(), m, "r", r, numbered(1)); got.err == nil || time.Since(begin) != 0 {
			t.Errorf("got %+v after %v", got, time.Since(begin))
		}
		synctest.Wait()
		checkIdle(t, m)
	})
}

func TestFlightsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemo(10)
		defer m.Close()
		full := &blocking{release: make(chan struct{})}
		for i := range MaxLookups {
			start(t.Context(), m, "full", full, numbered(i))
		}

		// More wait for a place; what nobody waits for any longer is not looked up.
		ctx, cancel := context.WithCancel(t.Context())
		left := start(ctx, m, "full", full, numbered(MaxLookups))
		leftOther := start(ctx, m, "full", full, numbered(MaxLookups+1))
		stayed := start(t.Context(), m, "full", full, numbered(MaxLookups+1))
		if n := full.lookups.Load(); n != MaxLookups {
			t.Fatalf("%d lookups at a time, want %d", n, MaxLookups)
		}
		cancel()
		for _, ch := range []<-chan result{left, leftOther} {
			if got := <-ch; !errors.Is(got.err, context.Canceled) {
				t.Errorf("a client that left got %+v", got)
			}
		}
		synctest.Wait()
		if n := m.Stats().UnderWay; n != MaxLookups+1 {
			t.Errorf("%d lookups under way, want %d and one waiting", n, MaxLookups)
		}

		// What is under way can be joined, and another resolver is not concerned.
		joined := start(t.Context(), m, "full", full, numbered(0))
		if got := <-start(t.Context(), m, "other", new(counting), numbered(0)); got.err != nil {
			t.Error(got.err)
		}

		full.release <- struct{}{}
		synctest.Wait()
		if n := full.lookups.Load(); n != MaxLookups+1 {
			t.Errorf("%d lookups after a place was left, want %d", n, MaxLookups+1)
		}
		close(full.release)
		if got := <-stayed; got.err != nil {
			t.Errorf("the client that stayed got %v", got.err)
		}
		if got := <-joined; got.err != nil {
			t.Errorf("the client that joined got %v", got.err)
		}
		synctest.Wait()
		checkIdle(t, m)
	})
}

// The last client leaves at the moment at which a place comes free.
func TestFlightAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemo(10)
		defer m.Close()
		full := &blocking{release: make(chan struct{})}
		for i := range MaxLookups {
			start(t.Context(), m, "r", full, numbered(i))
		}
		key := memoKey{"r", numbered(MaxLookups)}
		m.mu.Lock()
		f := m.join(key, full, time.Hour)
		m.mu.Unlock()
		m.leave(f)
		if m.begin(f) {
			t.Error("a lookup begins that nobody waits for")
		}
		m.mu.Lock()
		if m.flights[key] == f {
			t.Error("the flight can still be joined")
		}
		m.mu.Unlock()
		close(full.release)
		synctest.Wait()
		checkIdle(t, m)
	})
}

// A resolver that fails because its time is up, and the timeout itself, are one error.
func TestAskGivenUp(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errClosed)
	if _, err := ask(ctx, &counting{err: errors.New("secret")}, numbered(1)); !errors.Is(err, errClosed) {
		t.Errorf("got %v", err)
	}
}

func TestFlightsOfAHungResolver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemo(10)
		defer m.Close()
		hung := &blocking{release: make(chan struct{}), deaf: true}
		for i := range MaxLookups {
			start(t.Context(), m, "r", hung, numbered(i))
		}
		time.Sleep(2 * LookupTimeout)

		// Their goroutines hold the places, as nothing can end them.
		begin := time.Now()
		if got := <-start(t.Context(), m, "r", hung, numbered(0)); !errors.Is(got.err, context.DeadlineExceeded) {
			t.Errorf("got %+v without a place", got)
		}
		if waited := time.Since(begin); waited != LookupTimeout {
			t.Errorf("waited for %v, want %v", waited, LookupTimeout)
		}
		if n := hung.lookups.Load(); n != MaxLookups {
			t.Errorf("%d lookups hang, want %d at the most", n, MaxLookups)
		}

		close(hung.release)
		synctest.Wait()
		if got := <-start(t.Context(), m, "r", hung, numbered(0)); got.err != nil {
			t.Errorf("after they came back: %v", got.err)
		}
	})
}
