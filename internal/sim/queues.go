package sim

// Rules make a policy of two queues and ghosts. What is new is in the small queue,
// so that it passes through there without a harm to the main one.
type Rules struct {
	Count  Counting
	Small  float64 // share of memory, at first: from there on it is the small queue that evicts
	Renew  bool    // a read of a slice in the small queue puts it in front again
	Need   float64 // uses that make a slice worth the main queue
	Eager  bool    // it moves there at once, not when its turn has come to be evicted
	Clock  bool    // the main queue is a CLOCK, not an LRU
	Demote bool    // what leaves the main queue goes through the small one again
	Ghosts float64 // how many evicted slices are remembered, as a multiple of those that fit into memory
	Direct bool    // whatever is remembered goes to the main queue, not only what has the uses
	Adapt  bool    // the small queue's share follows what comes back too soon; main's ghosts are kept, too
	Spare  bool    // what is on disk is taken into memory only if it goes to the main queue
	Earn   float64 // uses that let it, whatever was evicted too soon; 0: those of need, or that it was
}

// Chosen are the rules that bench/admission/README.md decides for, and that cache/admission.go
// has, with memory alone.
var Chosen = Rules{Small: 0.2, Renew: true, Need: 1.5, Clock: true, Ghosts: 2, Adapt: true, Count: ByBytes}

// Never is more uses than a slice can have.
const Never = 1e9

// AboveDisk returns the rules with a disk below, from which as many uses bring a slice.
func (rs Rules) AboveDisk(earn float64) Rules {
	rs.Spare, rs.Earn = true, earn
	return rs
}

// Promotion is how many that are in cache/admission.go.
const Promotion = 3

// maxUses bounds what a slice in a CLOCK can gather.
const maxUses = 3

// Queues is the policy that follows its rules.
type Queues struct {
	Rules
	Evicted func(slice uint32) // is told what leaves memory, whether it is remembered or not; may be nil

	limit       int64
	small, main *Queue
	ghosts      *Queue
	maxGhosts   int
	target      int64 // bytes of the small queue from which on it evicts
	written     int64
}

// Policy returns a policy for a number of bytes, and slices of at most a size.
func (rs Rules) Policy(limit, slice int64) *Queues {
	qs := NewQueues(3)
	return &Queues{
		Rules: rs, limit: limit, target: int64(rs.Small * float64(limit)), small: qs[0], main: qs[1],
		ghosts: qs[2], maxGhosts: int(rs.Ghosts * float64(limit) / float64(slice)),
	}
}

// Usage returns the bytes that memory holds, and that were written into it.
func (p *Queues) Usage() (held, written int64) { return p.small.Bytes + p.main.Bytes, p.written }

// Has reports whether a slice is in memory.
func (p *Queues) Has(slice uint32) bool {
	return p.main.Get(slice) != nil || p.small.Get(slice) != nil
}

// Drop takes a slice out of memory, as a purge does.
func (p *Queues) Drop(slice uint32) {
	for _, q := range []*Queue{p.small, p.main} {
		if e := q.Get(slice); e != nil {
			q.Remove(e)
		}
	}
}

// Read is Policy's.
func (p *Queues) Read(r Read, onDisk bool) bool {
	if e := p.main.Get(r.Slice); e != nil {
		e.Used += p.Count.Weight(r)
		if p.Clock {
			e.Used = min(e.Used, maxUses*e.Length)
		} else {
			p.main.Front(e)
		}
		return true
	}
	if e := p.small.Get(r.Slice); e != nil {
		e.Used += p.Count.Weight(r)
		switch {
		case p.Eager && p.worthy(e):
			p.small.Remove(e)
			p.promote(e)
			p.shrink()
		case p.Renew:
			p.small.Front(e)
		}
		return true
	}
	p.miss(r, onDisk)
	p.shrink()
	return false
}

func (p *Queues) worthy(e *Entry) bool { return float64(e.Used) >= p.Need*float64(e.Length) }

// miss takes a slice into memory, or only remembers it.
func (p *Queues) miss(r Read, onDisk bool) {
	e := p.ghosts.Get(r.Slice)
	known := e != nil
	if known {
		p.ghosts.Remove(e)
	} else {
		e = &Entry{ID: r.Slice, Length: int64(r.Length)}
	}
	admit := known && p.Direct || p.Adapt && p.regretted(e)
	e.Used += p.Count.Weight(r)
	if p.Earn > 0 && onDisk && float64(e.Used) < p.Earn*float64(e.Length) {
		e.from = 0
		p.remember(e)
		return
	}
	switch {
	case admit, p.worthy(e):
		p.promote(e)
	case p.Spare && onDisk:
		p.remember(e)
		return
	default:
		e.from = fromSmall
		p.small.Push(e)
	}
	p.written += e.Length
}

// regretted reports whether a slice that comes back should not have been evicted,
// and moves as much room to the queue that did it from the other one. The small
// queue was too short if the slice's first listener was not done with it.
func (p *Queues) regretted(e *Entry) bool {
	switch {
	case e.from == fromMain:
		p.target = max(p.limit/10, p.target-e.Length)
		return true
	case e.from == fromSmall && e.Used < e.Length:
		p.target = min(p.limit/10*9, p.target+e.Length)
		return true
	}
	return false
}

func (p *Queues) promote(e *Entry) {
	e.Used, e.from = 0, fromMain
	p.main.Push(e)
}

func (p *Queues) remember(e *Entry) {
	if p.maxGhosts == 0 {
		return
	}
	p.ghosts.Push(e)
	if p.ghosts.Len > p.maxGhosts {
		p.ghosts.Pop()
	}
}

// shrink evicts until the rest fits. Each turn takes a slice out of a queue for
// good, or for a use that it has had, so that a use pays for at most one more turn.
func (p *Queues) shrink() {
	for p.small.Bytes+p.main.Bytes > p.limit {
		if p.main.Bytes == 0 || p.small.Bytes > p.target {
			p.evictSmall()
		} else {
			p.evictMain()
		}
	}
	if !p.Demote { // there is nothing else that bounds the main queue
		return
	}
	for float64(p.main.Bytes) > (1-p.Rules.Small)*float64(p.limit) {
		p.evictMain()
	}
}

func (p *Queues) evictSmall() {
	e := p.small.Pop()
	if !p.Eager && p.worthy(e) {
		p.promote(e)
		return
	}
	p.remember(e)
	p.left(e)
}

// left tells of a slice that has left memory.
func (p *Queues) left(e *Entry) {
	if p.Evicted != nil {
		p.Evicted(e.ID)
	}
}

func (p *Queues) evictMain() {
	e := p.main.Pop()
	switch {
	case p.Clock && e.Used >= e.Length:
		e.Used -= e.Length
		p.main.Push(e)
	case p.Demote:
		e.Used = e.Length // it needs the same again
		p.small.Push(e)
	default:
		if p.Adapt {
			p.remember(e)
		}
		p.left(e)
	}
}
