package cache

import (
	"math"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// memory is the order in which complete slices leave the memory. Those that were
// used once, as by a scan, go before those that are used again and again: it has
// two queues, and a memory of its own for what has left them. bench/admission has
// the simulation that this was chosen by, with its alternatives.
//
// A use of a slice is as many bytes as it has, whoever they are served to: the four
// ranges in which one listener reads it are one use. Guarded by Cache.mu.
type memory struct {
	limit  int64 // bytes
	small  *list
	main   *list
	ghosts *simplelru.LRU[ghostKey, ghost]
	bytes  int64 // in small
	target int64 // how many there should be: as many as let a listener read what he has brought
}

// queue is where a slice is, or has been last.
type queue uint8

const (
	nowhere queue = iota
	small         // what was used once, the last used first; new slices come here
	main          // what was used more often, the last that came or was spared first
)

const (
	// admission is how many uses bring a slice from small to main, and promotion how
	// many bring it from the disk: that costs a read, and there is no hurry.
	admission = 1.5
	promotion = 3

	// maxUses is how many uses are counted: as often is a slice spared in main.
	maxUses = 3

	// The share of small: at first, and the least and the most that it may become.
	firstShare, minShare, maxShare = 0.2, 0.1, 0.9

	// ghostsPerSlice bounds the ghosts, by the slices that fit into memory.
	ghostsPerSlice = 2
)

// ghostKey names a slice that is not in memory, without holding on to its object.
type ghostKey struct {
	key string
	i   int
}

// ghost is what is remembered of such a slice.
type ghost struct {
	uses float64
	from queue
}

func newMemory() *memory {
	return &memory{
		small:  newList(),
		main:   newList(),
		ghosts: newLRU[ghostKey, ghost](math.MaxInt, nil),
	}
}

func (m *memory) setLimits(l Limits) {
	if m.limit == 0 {
		m.target = int64(firstShare * float64(l.Memory))
	}
	m.limit = l.Memory
	m.aim(m.target)
	m.ghosts.Resize(int(max(ghostsPerSlice*l.Memory/l.Slice, 1)))
}

// aim sets how much of the memory small should have.
func (m *memory) aim(target int64) {
	least, most := minShare*float64(m.limit), maxShare*float64(m.limit)
	m.target = min(max(target, int64(least)), int64(most))
}

func (m *memory) len() int { return m.small.n + m.main.n }

// add takes in a slice that has become complete. promoted says that it comes from
// the disk, because of its uses there.
func (m *memory) add(s *slice, promoted bool) {
	if promoted || m.returns(s) {
		m.put(s, main)
		return
	}
	m.put(s, small)
}

// returns takes a slice's ghost, if there is one, and reports whether the slice
// belongs into main.
func (m *memory) returns(s *slice) bool {
	key := ghostKey{s.o.key, s.i}
	g, ok := m.ghosts.Peek(key)
	if !ok {
		return false
	}
	m.ghosts.Remove(key)
	s.used += int64(g.uses * float64(len(s.data)))
	return m.learn(g, int64(len(s.data))) || s.uses() >= admission
}

// learn sets the share of small by what has come back of n bytes, and reports
// whether it should have stayed.
func (m *memory) learn(g ghost, n int64) bool {
	switch {
	case g.from == main:
		m.aim(m.target - n)
	case g.from == small && g.uses < 1: // before its listener was done with it
		m.aim(m.target + n)
	default:
		return false
	}
	return true
}

func (m *memory) put(s *slice, to queue) {
	s.queue = to
	if to == main {
		s.used = 0
		m.main.push(s)
		return
	}
	m.small.push(s)
	m.bytes += s.counted
}

// use counts n bytes that are served out of a slice.
func (m *memory) use(s *slice, n int64) {
	s.used = min(s.used+n, maxUses*int64(len(s.data)))
	if s.queue == small {
		m.small.front(s)
	}
}

// worth counts n bytes that are served from the disk out of a slice of a length,
// and reports whether it is worth some memory by now.
func (m *memory) worth(k sliceKey, n, length int64) bool {
	if length > m.limit {
		return false // it would leave at once, and be missed
	}
	key := ghostKey{k.o.key, k.i}
	g, _ := m.ghosts.Peek(key)
	m.learn(g, length)
	g = ghost{uses: g.uses + float64(n)/float64(length)}
	if g.uses >= promotion {
		m.ghosts.Remove(key)
		return true
	}
	m.ghosts.Add(key, g)
	return false
}

// remove lets go of a slice, if it is there.
func (m *memory) remove(s *slice) {
	switch s.queue {
	case small:
		m.small.remove(s)
		m.bytes -= s.counted
	case main:
		m.main.remove(s)
	}
	s.queue = nowhere
}

// evict lets go of the slice that is wanted the least, and remembers it; nil if there is
// none.
func (m *memory) evict() *slice {
	for {
		from := m.main
		if m.bytes > m.target || m.main.n == 0 {
			from = m.small
		}
		s := from.oldest()
		if s == nil {
			return nil
		}
		was := s.queue
		m.remove(s)
		switch {
		case was == small && s.uses() >= admission:
			m.put(s, main)
		case was == main && s.uses() >= 1:
			used := s.used - int64(len(s.data))
			m.put(s, main)
			s.used = used
		default:
			m.ghosts.Add(ghostKey{s.o.key, s.i}, ghost{s.uses(), was})
			return s
		}
	}
}
