package main

// rules make a policy of two queues and ghosts. What is new is in the small queue,
// so that it passes through there without a harm to the main one.
type rules struct {
	count  counting
	small  float64 // share of memory, at first: from there on it is the small queue that evicts
	renew  bool    // a read of a slice in the small queue puts it in front again
	need   float64 // uses that make a slice worth the main queue
	eager  bool    // it moves there at once, not when its turn has come to be evicted
	clock  bool    // the main queue is a CLOCK, not an LRU
	demote bool    // what leaves the main queue goes through the small one again
	ghosts float64 // how many evicted slices are remembered, as a multiple of those that fit into memory
	direct bool    // whatever is remembered goes to the main queue, not only what has the uses
	adapt  bool    // the small queue's share follows what comes back too soon; main's ghosts are kept, too
	spare  bool    // what is on disk is taken into memory only if it goes to the main queue
	earn   float64 // uses that let it, whatever was evicted too soon; 0: those of need, or that it was
}

// maxUses bounds what a slice in a CLOCK can gather.
const maxUses = 3

// queues is the policy that follows its rules.
type queues struct {
	rules
	limit       int64
	small, main *queue
	ghosts      *queue
	maxGhosts   int
	target      int64 // bytes of the small queue from which on it evicts
	written     int64
}

func (rs rules) policy(limit int64) policy {
	return &queues{
		rules: rs, limit: limit, target: int64(rs.small * float64(limit)), small: newQueue(), main: newQueue(),
		ghosts: newQueue(), maxGhosts: int(rs.ghosts * float64(limit) / sliceSize),
	}
}

func (p *queues) usage() (held, written int64) { return p.small.bytes + p.main.bytes, p.written }

func (p *queues) read(r read, onDisk bool) bool {
	if e, ok := p.main.lru.Peek(r.slice); ok {
		e.used += p.count.weight(r)
		if p.clock {
			e.used = min(e.used, maxUses*e.length)
		} else {
			p.main.lru.Get(r.slice)
		}
		return true
	}
	if e, ok := p.small.lru.Peek(r.slice); ok {
		e.used += p.count.weight(r)
		switch {
		case p.eager && p.worthy(e):
			p.small.remove(e)
			p.promote(e)
			p.shrink()
		case p.renew:
			p.small.lru.Get(r.slice)
		}
		return true
	}
	p.miss(r, onDisk)
	p.shrink()
	return false
}

func (p *queues) worthy(e *entry) bool { return float64(e.used) >= p.need*float64(e.length) }

// miss takes a slice into memory, or only remembers it.
func (p *queues) miss(r read, onDisk bool) {
	e, known := p.ghosts.lru.Peek(r.slice)
	if known {
		p.ghosts.remove(e)
	} else {
		e = &entry{id: r.slice, length: int64(r.length)}
	}
	admit := known && p.direct || p.adapt && p.regretted(e)
	e.used += p.count.weight(r)
	if p.earn > 0 && onDisk && float64(e.used) < p.earn*float64(e.length) {
		e.from = 0
		p.remember(e)
		return
	}
	switch {
	case admit, p.worthy(e):
		p.promote(e)
	case p.spare && onDisk:
		p.remember(e)
		return
	default:
		e.from = fromSmall
		p.small.push(e)
	}
	p.written += e.length
}

// regretted reports whether a slice that comes back should not have been evicted,
// and moves as much room to the queue that did it from the other one. The small
// queue was too short if the slice's first listener was not done with it.
func (p *queues) regretted(e *entry) bool {
	switch {
	case e.from == fromMain:
		p.target = max(p.limit/10, p.target-e.length)
		return true
	case e.from == fromSmall && e.used < e.length:
		p.target = min(p.limit/10*9, p.target+e.length)
		return true
	}
	return false
}

func (p *queues) promote(e *entry) {
	e.used, e.from = 0, fromMain
	p.main.push(e)
}

func (p *queues) remember(e *entry) {
	if p.maxGhosts == 0 {
		return
	}
	p.ghosts.push(e)
	if p.ghosts.lru.Len() > p.maxGhosts {
		p.ghosts.pop()
	}
}

// shrink evicts until the rest fits. Each turn takes a slice out of a queue for
// good, or for a use that it has had, so that a use pays for at most one more turn.
func (p *queues) shrink() {
	for p.small.bytes+p.main.bytes > p.limit {
		if p.main.bytes == 0 || p.small.bytes > p.target {
			p.evictSmall()
		} else {
			p.evictMain()
		}
	}
	if !p.demote { // there is nothing else that bounds the main queue
		return
	}
	for float64(p.main.bytes) > (1-p.rules.small)*float64(p.limit) {
		p.evictMain()
	}
}

func (p *queues) evictSmall() {
	e := p.small.pop()
	if !p.eager && p.worthy(e) {
		p.promote(e)
		return
	}
	p.remember(e)
}

func (p *queues) evictMain() {
	e := p.main.pop()
	switch {
	case p.clock && e.used >= e.length:
		e.used -= e.length
		p.main.push(e)
	case p.demote:
		e.used = e.length // it needs the same again
		p.small.push(e)
	case p.adapt:
		p.remember(e)
	}
}
