package main

import "github.com/voyo-music/caddy-voyo/internal/sim"

// lru evicts what was not read for the longest time.
type lru struct {
	*sim.Queue

	limit, written int64
}

func newLRU(limit int64) sim.Policy { return &lru{Queue: sim.NewQueues(1)[0], limit: limit} }

func (p *lru) Read(r sim.Read, _ bool) bool {
	if e := p.Get(r.Slice); e != nil {
		p.Front(e)
		return true
	}
	p.Push(&sim.Entry{ID: r.Slice, Length: int64(r.Length)})
	p.written += int64(r.Length)
	for p.Bytes > p.limit {
		p.Pop()
	}
	return false
}

func (p *lru) Usage() (held, written int64) { return p.Bytes, p.written }
