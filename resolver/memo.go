package resolver

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// The bounds of a Memo, besides its number of entries.
const (
	// NegativeTTL is how long it is remembered that a resolver does not have an asset.
	NegativeTTL = time.Minute

	// LookupTimeout is how long one lookup may take, the wait for a place included.
	LookupTimeout = 15 * time.Second

	// MaxLookups is how many lookups of one resolver may be under way at a time.
	// Those that ignore the timeout count until they return, so that a resolver
	// that hangs holds a bounded number of goroutines.
	MaxLookups = 256

	// expiryMargin is how long before its expiry an answer is forgotten: the
	// fetch that it is wanted for has yet to begin, and clocks differ.
	expiryMargin = 30 * time.Second
)

var errClosed = errors.New("memo is closed")

// Memo remembers what resolvers answered, asset by asset. However many ask for
// the same at a time, a resolver is asked once, with a context that belongs to
// none of them. All methods are safe for concurrent use and none of them waits
// for a resolver, except Resolve, which returns as soon as its caller leaves.
//
// Nothing runs in the background but the lookups under way. Memory is bounded
// by the number of entries; what has expired gives way when it is asked for
// again or when its place is needed.
type Memo struct {
	// ctx is what lookups run under; Close ends it.
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu      sync.Mutex
	entries *simplelru.LRU[memoKey, entry]
	tracks  map[ID]int // by track, the entries that hold a stream's location
	flights map[memoKey]*flight
	gates   map[string]*gate // by resolver, those with lookups under way
	stats   MemoStats        // but UnderWay, which is counted when asked for
}

// MemoStats are a Memo's figures since it was made.
type MemoStats struct {
	Hits     int64 // answers out of the memo, ErrNotFound included
	Lookups  int64 // times that a resolver was asked
	Panics   int64 // lookups that panicked
	UnderWay int   // lookups waiting or running now, overdue ones included
}

// memoKey has the asset and not its cache key, so that a hit allocates nothing.
type memoKey struct {
	resolver string
	asset    Asset
}

// entry is a remembered answer; a nil answer stands for ErrNotFound.
type entry struct {
	ans   *Answer
	asked time.Time // when the lookup began
}

// NewMemo returns a Memo of at most that many entries, but at least one.
func NewMemo(entries int) *Memo {
	m := &Memo{
		tracks:  make(map[ID]int),
		flights: make(map[memoKey]*flight),
		gates:   make(map[string]*gate),
	}
	m.ctx, m.cancel = context.WithCancelCause(context.Background())
	m.entries, _ = simplelru.NewLRU(max(entries, 1), m.uncount) // fails on a size below 1 only
	return m
}

// Close makes the lookups under way fail, and all later ones. It does not wait
// for resolvers that ignore their context.
func (m *Memo) Close() {
	m.cancel(errClosed)
}

// Resolve returns what r knows about the asset: what is remembered under that
// name, if it is younger than ttl and has not expired, or else what a lookup
// finds, which is then remembered. remembered says which. A ttl of 0 or less
// remembers nothing.
//
// The name stands for the resolver: those with equal names share answers. Only
// an answer with targets and ErrNotFound (for NegativeTTL, or ttl if that is
// less) are remembered. An error is the resolver's own, a *contain.PanicError, ctx's if
// the caller left first, or wraps context.DeadlineExceeded after LookupTimeout.
func (m *Memo) Resolve(
	ctx context.Context, name string, r Resolver, a Asset, ttl time.Duration,
) (ans *Answer, remembered bool, err error) {
	if err := cmp.Or(ctx.Err(), context.Cause(m.ctx)); err != nil {
		return nil, false, err
	}
	key := memoKey{name, a}
	m.mu.Lock()
	if e, ok := m.recall(key, ttl); ok {
		m.mu.Unlock()
		if e.ans == nil {
			return nil, true, ErrNotFound
		}
		return e.ans, true, nil
	}
	f := m.join(key, r, ttl)
	m.mu.Unlock()

	select {
	case <-f.done:
		return f.ans, false, f.err
	case <-ctx.Done():
		m.leave(f)
		return nil, false, ctx.Err()
	}
}

// Forget forgets an answer that turned out to be wrong, if that very answer is
// still what is remembered: when several clients find out at a time, only the
// first forgets, and the next lookup's answer stays. A nil answer stands for
// ErrNotFound.
func (m *Memo) Forget(name string, a Asset, ans *Answer) {
	key := memoKey{name, a}
	m.mu.Lock()
	defer m.mu.Unlock()
	if e, ok := m.entries.Peek(key); ok && e.ans == ans {
		m.entries.Remove(key)
	}
}

// ForgetTracks forgets all answers about the tracks, and returns how many those were.
// Lookups under way are for those who wait for them already, and are not remembered.
// It takes as long as the memo is large.
func (m *Memo) ForgetTracks(ids ...ID) int {
	wanted := make(map[ID]bool, len(ids))
	for _, id := range ids {
		wanted[id] = true
	}
	return m.forgetIf(func(key memoKey) bool { return wanted[key.asset.ID] })
}

// ForgetAll is ForgetTracks for all tracks.
func (m *Memo) ForgetAll() int {
	return m.forgetIf(func(memoKey) bool { return true })
}

func (m *Memo) forgetIf(forget func(memoKey) bool) (forgotten int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, key := range m.entries.Keys() {
		if forget(key) {
			m.entries.Remove(key)
			forgotten++
		}
	}
	for key, f := range m.flights {
		if forget(key) {
			f.outdated = true
			delete(m.flights, key)
		}
	}
	return forgotten
}

// Peek returns what Resolve would answer without a lookup, and for how long, if there
// is such a thing. A nil answer stands for ErrNotFound. It does not count as a use.
func (m *Memo) Peek(name string, a Asset, ttl time.Duration) (ans *Answer, left time.Duration, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	e, ok := m.entries.Peek(memoKey{name, a})
	if !ok {
		return nil, 0, false
	}
	left = e.left(ttl)
	return e.ans, left, left > 0
}

// Len returns the number of remembered answers, expired ones that nobody has
// asked for since included.
func (m *Memo) Len() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.entries.Len()
}

// Tracks returns the number of tracks with at least one remembered location of
// a stream, counted like Len.
func (m *Memo) Tracks() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.tracks)
}

// Stats returns the figures at this moment.
func (m *Memo) Stats() MemoStats {
	m.mu.Lock()
	defer m.mu.Unlock()
	stats := m.stats
	for _, g := range m.gates {
		stats.UnderWay += g.flights
	}
	return stats
}

// recall returns what is remembered. The caller holds m.mu.
func (m *Memo) recall(key memoKey, ttl time.Duration) (entry, bool) {
	e, ok := m.entries.Get(key)
	if !ok {
		return entry{}, false
	}
	if !e.fresh(ttl) {
		m.entries.Remove(key)
		return entry{}, false
	}
	m.stats.Hits++
	return e, true
}

// remember keeps an entry where there is none, as there is only one flight for a
// key, and that only while there is no entry. The caller holds m.mu.
func (m *Memo) remember(key memoKey, e entry) {
	m.entries.Add(key, e)
	if e.locates(key) {
		m.tracks[key.asset.ID]++
	}
}

// uncount is told of each entry that goes.
func (m *Memo) uncount(key memoKey, e entry) {
	if !e.locates(key) {
		return
	}
	id := key.asset.ID
	m.tracks[id]--
	if m.tracks[id] == 0 {
		delete(m.tracks, id)
	}
}

// locates reports whether the entry holds a stream's location.
func (e entry) locates(key memoKey) bool {
	return e.ans != nil && key.asset.Kind == Stream
}

// fresh reports whether the entry may still be answered with.
func (e entry) fresh(ttl time.Duration) bool { return e.left(ttl) > 0 }

// left returns for how long the entry may still be answered with. It is judged by
// its age, so that a shorter ttl counts for what is remembered already.
func (e entry) left(ttl time.Duration) time.Duration {
	now := time.Now()
	age := now.Sub(e.asked)
	if e.ans == nil {
		return min(ttl, NegativeTTL) - age
	}
	left := ttl - age
	if !e.ans.Expires.IsZero() {
		left = min(left, e.ans.Expires.Add(-expiryMargin).Sub(now))
	}
	return left
}
