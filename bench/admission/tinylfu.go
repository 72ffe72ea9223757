package main

// tinyLFU is W-TinyLFU (Einziger et al., 2017): an LRU window of 1%, in front of
// an SLRU that takes what leaves the window only if a sketch has seen it more
// often than what it would evict for it.
type tinyLFU struct {
	count                        counting
	limit                        int64
	window, probation, protected *queue
	seen                         *sketch
	written                      int64
}

func newTinyLFU(c counting) func(int64) policy {
	return func(limit int64) policy {
		return &tinyLFU{
			count: c, limit: limit, seen: newSketch(int(limit / sliceSize)),
			window: newQueue(), probation: newQueue(), protected: newQueue(),
		}
	}
}

func (p *tinyLFU) usage() (held, written int64) {
	return p.window.bytes + p.probation.bytes + p.protected.bytes, p.written
}

func (p *tinyLFU) read(r read, _ bool) bool {
	for _, q := range []*queue{p.window, p.probation, p.protected} {
		if e, ok := q.lru.Get(r.slice); ok {
			if p.use(e, r) && q == p.probation {
				p.protect(e)
			}
			return true
		}
	}
	e := &entry{id: r.slice, length: int64(r.length)}
	p.seen.add(e.id)
	e.used = p.count.weight(r) - e.length // the use is counted already
	p.window.push(e)
	p.written += e.length
	for p.window.bytes > max(p.limit/100, sliceSize) {
		p.admit(p.window.pop())
	}
	return false
}

// use counts a read, and reports whether that makes a use full.
func (p *tinyLFU) use(e *entry, r read) bool {
	e.used += p.count.weight(r)
	if e.used < e.length {
		return false
	}
	e.used -= e.length
	p.seen.add(e.id)
	return true
}

func (p *tinyLFU) protect(e *entry) {
	p.probation.remove(e)
	p.protected.push(e)
	for p.protected.bytes > p.limit/100*79 {
		p.probation.push(p.protected.pop())
	}
}

// admit lets a slice in from the window, if it is worth more than what goes for it.
func (p *tinyLFU) admit(e *entry) {
	room := p.limit - max(p.limit/100, sliceSize) - e.length
	for p.probation.bytes+p.protected.bytes > room {
		victims := p.probation
		if victims.bytes == 0 {
			victims = p.protected
		}
		_, v, ok := victims.lru.GetOldest()
		if !ok || p.seen.of(e.id) <= p.seen.of(v.id) {
			return
		}
		victims.pop()
	}
	p.probation.push(e)
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
	return &s.rows[row][mix(uint64(id)<<2|uint64(row))&s.mask] //nolint:gosec // row is below 4
}

// mix is splitmix64's.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
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
