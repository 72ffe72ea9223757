package voyo

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/voyo-music/caddy-voyo/cache"
	"github.com/voyo-music/caddy-voyo/internal/fleet"
	"github.com/voyo-music/caddy-voyo/resolver"
)

// memoEntries bounds the memo. An entry with a presigned URL takes about 1 KiB.
const memoEntries = 20_000

// states holds each state that some handler uses, by what it is a state of.
var states = caddy.NewUsagePool()

// state is what outlives a reload. Handlers that would fetch the same things
// share one, be it side by side or one after the other. It belongs to no
// configuration, so it holds nothing that was made for one, such as a logger.
type state struct {
	name    string // of the key, and of what is on a disk
	art     *cache.Cache
	streams *cache.Cache
	pages   *cache.Cache // of the origin
	memo    *resolver.Memo
	warming *marks
	started time.Time

	activeStreams atomic.Int64
	prefetches    atomic.Int64
	panics        atomic.Int64 // contained in the background

	pulses    pulses
	lookups   sharedLookups // of /exists, by track
	takedowns takedowns
	following atomic.Pointer[following] // nil if it is in no fleet

	fitting sync.Mutex // held while disks and fleet change; before mu

	// position is up to where the fleet's log was applied when the state last let go of
	// it; nil if nothing is kept yet. Guarded by fitting.
	position *fleet.Position

	mu       sync.Mutex
	leases   []*lease // the longest held first
	disks    disks    // in use
	requests int      // being answered
	ended    bool     // no handler is left
}

// Destruct ends the state, when the last handler is gone. Requests may outlive
// their handler: Caddy does not wait for them when it loads another
// configuration. The last one of them closes the state then.
func (s *state) Destruct() error {
	s.mu.Lock()
	s.ended = true
	idle := s.requests == 0
	s.mu.Unlock()
	if idle {
		s.close()
	}
	return nil
}

// enter keeps the state open for a request, until leave is called.
func (s *state) enter() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests++
}

func (s *state) leave() {
	s.mu.Lock()
	s.requests--
	last := s.ended && s.requests == 0
	s.mu.Unlock()
	if last {
		s.close()
	}
}

// close stops what runs in the background.
func (s *state) close() {
	s.warming.Close()
	s.memo.Close()
	s.art.Close()
	s.streams.Close()
	s.pages.Close()
	living.dropState(s)
}

// lease is one handler's hold on a state, and the limits and disks which that
// handler's configuration states.
//
// Those in effect are the ones of the lease that was held the longest. While a
// new configuration is loaded and may still fail, that is the old one's; so a
// failed reload changes nothing, and a successful one applies its limits and disks
// as the old configuration is cleaned up.
type lease struct {
	key    [sha256.Size]byte
	state  *state
	limits limits
	disks  disks     // none until the configuration starts
	fleet  *fleetLog // likewise; nil also if the handler is in no fleet

	limiter *limiter // of the handler's rates; nil until it has asked for one
}

// limits are those of all the caches of a state.
type limits struct {
	art, streams, pages cache.Limits
}

// acquireState returns a hold on the state for the key, which is made if there
// is none. It must be released exactly once.
func acquireState(key [sha256.Size]byte, l limits) *lease {
	// the constructor can't fail, so neither can this
	value, _, _ := states.LoadOrNew(key, func() (caddy.Destructor, error) {
		s := &state{
			name:    hex.EncodeToString(key[:]),
			art:     cache.New(l.art),
			streams: cache.New(l.streams),
			pages:   cache.New(l.pages),
			memo:    resolver.NewMemo(memoEntries),
			warming: newMarks(),
			started: time.Now(),
		}
		for _, c := range []*cache.Cache{s.art, s.streams} {
			c.SetGate(s.awaitFleet)
		}
		living.addState(s)
		return s, nil
	})
	held := &lease{key: key, state: value.(*state), limits: l}
	held.state.attach(held)
	return held
}

// room is what the caches of a state may take.
type room struct {
	limits limits
	places places
}

// with returns the room of caches that two handlers share: the most that either gives them.
// Caddy sets up servers in another order each time, so that it can't be the first one's.
func (r room) with(other room) (_ room, err error) {
	r.limits.art = mostOf(r.limits.art, other.limits.art)
	r.limits.streams = mostOf(r.limits.streams, other.limits.streams)
	r.limits.pages = mostOf(r.limits.pages, other.limits.pages)
	for _, p := range []struct{ own, other *place }{
		{&r.places.art, &other.places.art},
		{&r.places.streams, &other.places.streams},
	} {
		switch {
		case *p.own == place{}:
			*p.own = *p.other
		case *p.other != place{} && p.own.path != p.other.path:
			err = fmt.Errorf("%s: handlers that share a cache have two disks for it: %s and %s", p.own.kind, p.own.dir, p.other.dir)
		}
	}
	return r, err
}

// mostOf returns limits in which what either of two may keep fits, be it of slices.
func mostOf(a, b cache.Limits) cache.Limits {
	return cache.Limits{Entries: max(a.Entries, b.Entries), Memory: max(a.Memory, b.Memory), Slice: min(a.Slice, b.Slice)}
}

// open opens the disks and joins the fleet, when the configuration starts, and has the room
// that all its handlers give. What was opened when something else can't be is given back by
// release.
func (l *lease) open(r room, m member) error {
	opened, err := openDisks(r.places)
	if err == nil {
		l.fleet, err = joinFleet(m)
	}
	l.state.equip(l, opened, r.limits)
	return err
}

// release ends the hold. The last one ends the state. By the time that a disk is
// closed, or a fleet left, the caches have let go of it.
func (l *lease) release() error {
	l.state.detach(l)
	err := errors.Join(l.disks.release(), l.fleet.release())
	_, stateErr := states.Delete(l.key)
	return errors.Join(err, stateErr)
}

// limit returns what holds clients to the rates: the limiter of a lease that has the same
// ones, if there is one, so that a reload does not forgive anything.
func (l *lease) limit(r rates) *limiter {
	s := l.state
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, other := range s.leases {
		if other.limiter != nil && other.limiter.rates == r {
			l.limiter = other.limiter
			return l.limiter
		}
	}
	l.limiter = newLimiter(r)
	return l.limiter
}

func (s *state) attach(l *lease) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leases = append(s.leases, l)
	if len(s.leases) == 1 {
		s.setLimits(l.limits)
	}
}

func (s *state) equip(l *lease, d disks, most limits) {
	s.fitting.Lock()
	defer s.fitting.Unlock()
	s.mu.Lock()
	l.disks, l.limits = d, most
	first := s.leases[0] == l
	if first {
		s.setLimits(most)
	}
	s.mu.Unlock()
	if first {
		s.fit(d, l.fleet)
	}
}

func (s *state) detach(l *lease) {
	s.fitting.Lock()
	defer s.fitting.Unlock()
	s.mu.Lock()
	i := slices.Index(s.leases, l)
	s.leases = slices.Delete(s.leases, i, i+1)
	next := new(lease) // a request may outlive its handler, but not use a disk that may be closed
	if len(s.leases) > 0 {
		next = s.leases[0]
		s.setLimits(next.limits)
	}
	s.mu.Unlock()
	if i == 0 {
		s.fit(next.disks, next.fleet)
	}
}

func (s *state) setLimits(l limits) {
	s.art.SetLimits(l.art)
	s.streams.SetLimits(l.streams)
	s.pages.SetLimits(l.pages)
}

// setDisks leaves a cache alone that goes on with the same store. The caller holds
// s.fitting.
func (s *state) setDisks(d disks) {
	last := s.disksInUse()
	if next := d.art.disk(); next != last.art.disk() {
		s.art.SetDisk(next, s.name+"/"+artDisk)
	}
	if next := d.streams.disk(); next != last.streams.disk() {
		s.streams.SetDisk(next, s.name+"/"+streamDisk)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.disks = d
}

// disksInUse returns the disks that the caches use. They may be closed soon.
func (s *state) disksInUse() disks {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.disks
}

// stateKey names the state of handlers that would fetch the same things. It is
// a hash, because what identifies a resolver may have secrets in it. What is on disks
// is named after it, so it has the origin's URL only if there is one, as it had not
// before there were any.
func stateKey(module caddy.ModuleID, resolvers, upstreams []string, origin string) [sha256.Size]byte {
	upstreams = slices.Clone(upstreams)
	slices.Sort(upstreams)
	parts := []any{module, resolvers, slices.Compact(upstreams)}
	if origin != "" {
		parts = append(parts, origin)
	}
	what, _ := json.Marshal(parts) // strings can't fail to be marshaled
	return sha256.Sum256(what)
}
