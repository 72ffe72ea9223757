package main

import "container/list"

// sieve is one queue with a hand, which evicts what has not been used since it
// last came by (Zhang et al., NSDI 2024). The hand is why it can't be built of
// simplelru's lists.
type sieve struct {
	count         counting
	limit         int64
	held, written int64
	order         *list.List // of *entry; new ones in front
	where         map[uint32]*list.Element
	hand          *list.Element
}

func newSieve(c counting) func(int64) policy {
	return func(limit int64) policy {
		return &sieve{count: c, limit: limit, order: list.New(), where: make(map[uint32]*list.Element)}
	}
}

func (p *sieve) usage() (held, written int64) { return p.held, p.written }

func (p *sieve) read(r read, _ bool) bool {
	if el, ok := p.where[r.slice]; ok {
		at(el).used += p.count.weight(r)
		return true
	}
	// The first use is what has brought the slice.
	e := &entry{id: r.slice, length: int64(r.length), used: p.count.weight(r) - int64(r.length)}
	p.where[e.id] = p.order.PushFront(e)
	p.held += e.length
	p.written += e.length
	for p.held > p.limit {
		p.evict()
	}
	return false
}

func at(el *list.Element) *entry { return el.Value.(*entry) }

func (p *sieve) evict() {
	el := p.hand
	for {
		if el == nil {
			el = p.order.Back()
		}
		e := at(el)
		if e.used <= e.length/2 {
			break
		}
		e.used = 0
		el = el.Prev()
	}
	p.hand = el.Prev()
	e := at(el)
	p.order.Remove(el)
	delete(p.where, e.id)
	p.held -= e.length
}
