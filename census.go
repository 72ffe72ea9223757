package voyo

import (
	"sync"

	"github.com/voyo-music/caddy-voyo/cache"
	"github.com/voyo-music/caddy-voyo/cache/disk"
)

// living are the states and stores that there are: those that handlers hold, and
// those that are about to end, which still answer requests.
var living = census{states: make(map[*state]struct{}), stores: make(map[*store]struct{})}

// census adds up what states and stores tell of themselves. What those have counted
// that are gone stays in the sums: a counter never goes back.
type census struct {
	mu     sync.Mutex
	states map[*state]struct{}
	stores map[*store]struct{}
	gone   totals
}

// totals are the sums, which are of some kind or of the process.
type totals struct {
	kinds                             map[string]*figures
	activeStreams, prefetches, panics int64
}

// figures are the sums of a kind.
type figures struct {
	cache       cache.Stats
	disk        disk.Stats
	disksFailed int
}

func (c *census) addState(s *state) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.states[s] = struct{}{}
	if len(c.states) == 1 {
		collecting.start()
	}
}

// dropState keeps what a state has counted, which has been closed.
func (c *census) dropState(s *state) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, ok := c.states[s]; !ok {
		return
	}
	delete(c.states, s)
	if len(c.states) == 0 {
		collecting.stop()
	}
	c.gone.prefetches += s.prefetches.Load()
	c.gone.panics += s.panics.Load()
	for kind, stats := range s.stats() {
		sum := &c.gone.of(kind).cache
		sum.Sent += stats.Sent
		sum.FromDisk += stats.FromDisk
		sum.Evicted += stats.Evicted
	}
}

func (c *census) addStore(s *store) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stores[s] = struct{}{}
}

// dropStore keeps what a store has counted, which has been closed.
func (c *census) dropStore(s *store) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.stores, s)
	stats, sum := s.Stats(), &c.gone.of(s.kind).disk
	sum.Evicted += stats.Evicted
	sum.Written += stats.Written
	sum.Skipped += stats.Skipped
}

// figures returns the sums of this moment.
func (c *census) figures() totals {
	c.mu.Lock()
	defer c.mu.Unlock()
	sum := totals{prefetches: c.gone.prefetches, panics: c.gone.panics}
	for _, kind := range kinds {
		*sum.of(kind) = *c.gone.of(kind)
	}
	for s := range c.states {
		sum.activeStreams += s.activeStreams.Load()
		sum.prefetches += s.prefetches.Load()
		sum.panics += s.panics.Load()
		for kind, stats := range s.stats() {
			sum.of(kind).addCache(stats)
		}
	}
	for s := range c.stores {
		sum.of(s.kind).addDisk(s)
	}
	return sum
}

// followings returns what the states follow that are in a fleet.
func (c *census) followings() (list []*following) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.states {
		if f := s.following.Load(); f != nil {
			list = append(list, f)
		}
	}
	return list
}

// takedowns returns how many tracks are taken down.
func (c *census) takedowns() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.states {
		n = max(n, s.takedowns.count())
	}
	return n
}

// bodies returns how many bytes of bodies are in memory.
func (c *census) bodies() (n int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.states {
		for _, stats := range s.stats() {
			n += stats.Bytes
		}
	}
	return n
}

// of returns the figures of a kind.
func (t *totals) of(kind string) *figures {
	if t.kinds == nil {
		t.kinds = make(map[string]*figures)
	}
	f, ok := t.kinds[kind]
	if !ok {
		f = new(figures)
		t.kinds[kind] = f
	}
	return f
}

func (f *figures) addCache(s cache.Stats) {
	f.cache.Entries += s.Entries
	f.cache.Bytes += s.Bytes
	f.cache.Fills += s.Fills
	f.cache.Queued += s.Queued
	f.cache.Waiting += s.Waiting
	f.cache.Sent += s.Sent
	f.cache.FromDisk += s.FromDisk
	f.cache.Evicted += s.Evicted
	f.cache.Limits.Entries += s.Limits.Entries
	f.cache.Limits.Memory += s.Limits.Memory
}

func (f *figures) addDisk(s *store) {
	stats := s.Stats()
	f.disk.Bytes += stats.Bytes
	f.disk.Limit += stats.Limit
	f.disk.Objects += stats.Objects
	f.disk.Evicted += stats.Evicted
	f.disk.Written += stats.Written
	f.disk.Skipped += stats.Skipped
	if s.Err() != nil {
		f.disksFailed++
	}
}

// stats returns the figures of a state's caches, by kind.
func (s *state) stats() map[string]cache.Stats {
	return map[string]cache.Stats{kindStream: s.streams.Stats(), kindArt: s.art.Stats(), kindPage: s.pages.Stats()}
}
