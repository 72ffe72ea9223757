package voyo

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"
)

const (
	// markTTL is how long a track counts as warm.
	markTTL = 30 * time.Minute

	// maxMarks is how many tracks are remembered as warm.
	maxMarks = 4096

	// maxWarming is how many tracks are being warmed at a time, and maxWaiting how
	// many more may wait for that.
	maxWarming = 8
	maxWaiting = 256

	// warmRate is how many tracks are warmed in a second at the most, so that no list of
	// tracks takes from listeners what comes from upstreams: their heads are 16 MiB, and
	// covers come to that.
	warmRate = 32

	// warmTimeout bounds the warming of one track, the wait included.
	warmTimeout = time.Minute
)

// marks remember which streams are warm, or are being warmed, so that it is done
// once however often it is asked for; and they bound how much of that goes on.
type marks struct {
	// ctx is that of all work that belongs to no client. Close ends it.
	ctx    context.Context
	cancel context.CancelFunc
	work   sync.WaitGroup
	places chan struct{}
	budget *rate.Limiter

	mu      sync.Mutex
	began   *simplelru.LRU[string, *warmth] // by key, the latest first
	pending int                             // warming or waiting to
}

// warmth is one attempt to warm a track.
type warmth struct {
	began time.Time
	done  chan struct{} // closed when the track is warm, or can't be
	err   error         // why it can't be; set before done is closed
}

// newMarks returns marks without any track. They must be closed.
func newMarks() *marks {
	m := &marks{places: make(chan struct{}, maxWarming), budget: rate.NewLimiter(warmRate, maxWarming)}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.began, _ = simplelru.NewLRU[string, *warmth](maxMarks, nil) // fails on a size below 1 only
	return m
}

// Close ends the work under way and waits for it.
func (m *marks) Close() {
	m.mu.Lock()
	m.cancel() // under mu, so that no work starts after it
	m.mu.Unlock()
	m.work.Wait()
}

// Len returns the number of tracks that are warm, or are being warmed.
func (m *marks) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire()
	return m.began.Len()
}

// expire forgets the tracks that no longer are warm. They are the oldest ones,
// because a track's place in the order is never changed.
func (m *marks) expire() {
	for {
		_, w, ok := m.began.GetOldest()
		if !ok || time.Since(w.began) < markTTL {
			return
		}
		m.began.RemoveOldest()
	}
}

// verdict is what becomes of a wish to warm a track.
type verdict int

const (
	warmingBegins  verdict = iota
	warmAlready            // or being warmed
	warmingRefused         // too much else is, or the marks are closed, or it is not permitted
)

// warm marks the key and has work done in the background, unless it is marked.
// Work that fails leaves no mark. The permit, which may be nil, is asked if there is work to
// do, and refuses it with its error. The warmth is the attempt that counts; nil if that
// was refused.
func (m *marks) warm(key string, permit func() error, work func(context.Context) error) (verdict, *warmth, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.expire()
	if w, ok := m.began.Peek(key); ok {
		return warmAlready, w, nil
	}
	if m.pending == maxWarming+maxWaiting || m.ctx.Err() != nil {
		return warmingRefused, nil, nil
	}
	if permit != nil {
		if err := permit(); err != nil {
			return warmingRefused, nil, err
		}
	}
	w := &warmth{began: time.Now(), done: make(chan struct{})}
	m.began.Add(key, w)
	m.pending++
	m.work.Go(func() { m.do(key, w, work) })
	return warmingBegins, w, nil
}

// forget removes the marks of tracks that no longer are warm. Work under way goes on.
func (m *marks) forget(keys ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, key := range keys {
		m.began.Remove(key)
	}
}

// forgetAll removes all marks.
func (m *marks) forgetAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.began.Purge()
}

// do does the work when there is a place for it.
func (m *marks) do(key string, w *warmth, work func(context.Context) error) {
	err := m.inPlace(work)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pending--
	if current, ok := m.began.Peek(key); ok && current == w && err != nil {
		m.began.Remove(key)
	}
	w.err = err
	close(w.done)
}

func (m *marks) inPlace(work func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(m.ctx, warmTimeout)
	defer cancel()
	select {
	case m.places <- struct{}{}:
		defer func() { <-m.places }()
		if err := m.budget.Wait(ctx); err != nil {
			return err
		}
		return work(ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}
