package main

import (
	"container/list"

	"github.com/voyo-music/caddy-voyo/internal/sim"
)

// sieve is one queue with a hand, which evicts what has not been used since it
// last came by (Zhang et al., NSDI 2024). The hand is why it can't be built of
// simplelru's lists.
type sieve struct {
	count         sim.Counting
	limit         int64
	held, written int64
	order         *list.List // of *sim.Entry; new ones in front
	where         map[uint32]*list.Element
	hand          *list.Element
}

func newSieve(c sim.Counting) func(int64) sim.Policy {
	return func(limit int64) sim.Policy {
		return &sieve{count: c, limit: limit, order: list.New(), where: make(map[uint32]*list.Element)}
	}
}

func (p *sieve) Usage() (held, written int64) { return p.held, p.written }

func (p *sieve) Read(r sim.Read, _ bool) bool {
	if el, ok := p.where[r.Slice]; ok {
		at(el).Used += p.count.Weight(r)
		return true
	}
	// The first use is what has brought the slice.
	e := &sim.Entry{ID: r.Slice, Length: int64(r.Length), Used: p.count.Weight(r) - int64(r.Length)}
	p.where[e.ID] = p.order.PushFront(e)
	p.held += e.Length
	p.written += e.Length
	for p.held > p.limit {
		p.evict()
	}
	return false
}

func at(el *list.Element) *sim.Entry { return el.Value.(*sim.Entry) }

func (p *sieve) evict() {
	el := p.hand
	for {
		if el == nil {
			el = p.order.Back()
		}
		e := at(el)
		if e.Used <= e.Length/2 {
			break
		}
		e.Used = 0
		el = el.Prev()
	}
	p.hand = el.Prev()
	e := at(el)
	p.order.Remove(el)
	delete(p.where, e.ID)
	p.held -= e.Length
}
