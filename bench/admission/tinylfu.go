package main

import "github.com/voyo-music/caddy-voyo/internal/sim"

// tinyLFU is W-TinyLFU (Einziger et al., 2017): an LRU window of 1%, in front of
// an SLRU that takes what leaves the window only if a sketch has seen it more
// often than what it would evict for it.
type tinyLFU struct {
	count                        sim.Counting
	limit                        int64
	window, probation, protected *sim.Queue
	seen                         *sketch
	written                      int64
}

func newTinyLFU(c sim.Counting) func(int64) sim.Policy {
	return func(limit int64) sim.Policy {
		qs := sim.NewQueues(3)
		return &tinyLFU{
			count: c, limit: limit, seen: newSketch(int(limit / sliceSize)),
			window: qs[0], probation: qs[1], protected: qs[2],
		}
	}
}

func (p *tinyLFU) Usage() (held, written int64) {
	return p.window.Bytes + p.probation.Bytes + p.protected.Bytes, p.written
}

func (p *tinyLFU) Read(r sim.Read, _ bool) bool {
	for _, q := range []*sim.Queue{p.window, p.probation, p.protected} {
		if e := q.Get(r.Slice); e != nil {
			q.Front(e)
			if p.use(e, r) && q == p.probation {
				p.protect(e)
			}
			return true
		}
	}
	e := &sim.Entry{ID: r.Slice, Length: int64(r.Length)}
	p.seen.add(e.ID)
	e.Used = p.count.Weight(r) - e.Length // the use is counted already
	p.window.Push(e)
	p.written += e.Length
	for p.window.Bytes > max(p.limit/100, sliceSize) {
		p.admit(p.window.Pop())
	}
	return false
}

// use counts a read, and reports whether that makes a use full.
func (p *tinyLFU) use(e *sim.Entry, r sim.Read) bool {
	e.Used += p.count.Weight(r)
	if e.Used < e.Length {
		return false
	}
	e.Used -= e.Length
	p.seen.add(e.ID)
	return true
}

func (p *tinyLFU) protect(e *sim.Entry) {
	p.probation.Remove(e)
	p.protected.Push(e)
	for p.protected.Bytes > p.limit/100*79 {
		p.probation.Push(p.protected.Pop())
	}
}

// admit lets a slice in from the window, if it is worth more than what goes for it.
func (p *tinyLFU) admit(e *sim.Entry) {
	room := p.limit - max(p.limit/100, sliceSize) - e.Length
	for p.probation.Bytes+p.protected.Bytes > room {
		victims := p.probation
		if victims.Bytes == 0 {
			victims = p.protected
		}
		v := victims.Oldest()
		if v == nil || p.seen.of(e.ID) <= p.seen.of(v.ID) {
			return
		}
		victims.Pop()
	}
	p.probation.Push(e)
}

// sketch counts roughly how often each ID was added, in a count-min sketch of
// counters up to 15 that are halved now and then.
type sketch struct {
	rows  [4][]uint8
	mask  uint64
	added int
	reset int
}

func newSketch(entries int) *sketch {
	n := 64
	for n < 2*entries {
		n *= 2
	}
	s := &sketch{mask: uint64(n - 1), reset: 10 * max(entries, 64)} //nolint:gosec // n is positive
	for i := range s.rows {
		s.rows[i] = make([]uint8, n)
	}
	return s
}

func (s *sketch) counter(row int, id uint32) *uint8 {
	return &s.rows[row][sim.Mix(uint64(id)<<2|uint64(row))&s.mask] //nolint:gosec // row is below 4
}

func (s *sketch) add(id uint32) {
	for row := range s.rows {
		if c := s.counter(row, id); *c < 15 {
			*c++
		}
	}
	if s.added++; s.added < s.reset {
		return
	}
	s.added = 0
	for _, row := range s.rows {
		for i := range row {
			row[i] /= 2
		}
	}
}

func (s *sketch) of(id uint32) uint8 {
	least := uint8(15)
	for row := range s.rows {
		least = min(least, *s.counter(row, id))
	}
	return least
}
