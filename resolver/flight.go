package resolver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/voyo-music/caddy-voyo/internal/contain"
)

var (
	errNoTargets = errors.New("resolver answered without a target")
	errExited    = errors.New("resolver ended its goroutine")
)

// flight is one lookup, which those who ask meanwhile wait for. It differs from
// singleflight's in that it knows who is waiting: one that has no place yet and
// nobody left to want it is dropped, so that goroutines are bounded by the
// clients there are and not by those that have gone.
type flight struct {
	key   memoKey
	ttl   time.Duration
	begun time.Time
	gate  *gate

	// ctx is what the resolver is given. It ends after LookupTimeout, and when
	// the Memo is closed.
	ctx    context.Context
	cancel context.CancelFunc

	// Guarded by Memo.mu.
	waiters  int
	running  bool // has a place, and is finished whoever leaves
	outdated bool // nobody else joins it, and its answer is not remembered

	// done is closed after ans and err are set.
	done chan struct{}
	ans  *Answer
	err  error
}

// gate bounds the lookups of one resolver, so that one that hangs takes no
// places from the others.
type gate struct {
	places  chan struct{}
	flights int // those that wait or run; guarded by Memo.mu
}

// join returns the flight for key that the caller is to wait for or leave. The
// caller holds m.mu.
func (m *Memo) join(key memoKey, r Resolver, ttl time.Duration) *flight {
	if f, ok := m.flights[key]; ok {
		f.waiters++
		return f
	}
	g, ok := m.gates[key.resolver]
	if !ok {
		g = &gate{places: make(chan struct{}, MaxLookups)}
		m.gates[key.resolver] = g
	}
	g.flights++
	f := &flight{
		key:     key,
		ttl:     ttl,
		begun:   time.Now(),
		gate:    g,
		waiters: 1,
		done:    make(chan struct{}),
	}
	// The answer is for everyone, so nothing of one client's context is in it.
	f.ctx, f.cancel = context.WithTimeout(m.ctx, LookupTimeout)
	m.flights[key] = f
	go m.run(f, r)
	return f
}

// leave takes one waiter from the flight. One that runs is flown to its end all
// the same: its answer will be remembered.
func (m *Memo) leave(f *flight) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f.waiters--
	if f.waiters > 0 || f.running {
		return
	}
	if m.flights[f.key] == f {
		delete(m.flights, f.key)
	}
	f.outdated = false
	f.cancel()
}

// run is the flight's goroutine.
func (m *Memo) run(f *flight, r Resolver) {
	defer m.land(f)
	// Waiters are answered when the time is up, whether or not the resolver minds
	// its context; whoever asks next begins anew. land calls this too, when there
	// is nothing left to finish.
	context.AfterFunc(f.ctx, func() { m.finish(f, nil, givenUp(f.ctx)) })

	select {
	case f.gate.places <- struct{}{}:
		defer func() { <-f.gate.places }()
	case <-f.ctx.Done():
		return
	}
	if !m.begin(f) {
		return
	}
	var ans *Answer
	err := errExited
	defer func() { m.finish(f, ans, err) }() // deferred for the sake of runtime.Goexit
	ans, err = ask(f.ctx, r, f.key.asset)
}

// underWay reports whether the flight's waiters still are to be answered. The caller
// holds m.mu.
func (m *Memo) underWay(f *flight) bool { return f.outdated || m.flights[f.key] == f }

// begin marks the flight as running, unless it was given up.
func (m *Memo) begin(f *flight) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.underWay(f) {
		return false
	}
	f.running = true
	m.stats.Lookups++
	return true
}

// finish answers the flight's waiters. Only the first call counts: an answer
// that comes after the flight was given up is older than its successor's, and
// is neither given to anyone nor remembered.
func (m *Memo) finish(f *flight, ans *Answer, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, ok := errors.AsType[*contain.PanicError](err); ok {
		m.stats.Panics++
	}
	if !m.underWay(f) {
		return
	}
	e := entry{ans, f.begun}
	switch {
	case f.outdated:
		f.outdated = false // it has been answered
	default:
		delete(m.flights, f.key)
		if (err == nil || errors.Is(err, ErrNotFound)) && e.fresh(f.ttl) {
			m.remember(f.key, e)
		}
	}
	f.ans, f.err = ans, err
	close(f.done)
}

// land ends the flight's goroutine.
func (m *Memo) land(f *flight) {
	f.cancel()
	m.mu.Lock()
	defer m.mu.Unlock()
	f.gate.flights--
	if f.gate.flights == 0 {
		delete(m.gates, f.key.resolver)
	}
}

// ask asks the resolver and makes an error of anything that is not an answer.
func ask(ctx context.Context, r Resolver, a Asset) (ans *Answer, err error) {
	err = contain.Do(func() error {
		ans, err = r.Resolve(ctx, a)
		return err
	})
	if err != nil {
		if ctx.Err() != nil {
			return nil, givenUp(ctx) // whichever of the two ends the flight
		}
		return nil, err
	}
	if ans == nil || len(ans.Targets) == 0 {
		return nil, errNoTargets
	}
	return ans, nil
}

// givenUp is the error of a lookup whose context has ended.
func givenUp(ctx context.Context) error {
	return fmt.Errorf("lookup given up: %w", context.Cause(ctx))
}
