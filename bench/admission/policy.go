package main

import (
	"math"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// policy decides what memory holds.
type policy interface {
	// read reports whether the slice was in memory. Where it was not, the policy
	// may take it; it has to if the slice is not on disk, as then a fill writes
	// it into memory.
	read(r read, onDisk bool) bool
	// usage returns the bytes that memory holds, and that were written into it.
	usage() (held, written int64)
}

// counting says how much of a use a read is.
type counting bool

const (
	byBytes counting = true  // as much as it reads of the slice
	byReads counting = false // each is a whole one
)

func (c counting) String() string {
	if c == byBytes {
		return "bytes"
	}
	return "reads"
}

func (c counting) weight(r read) int64 {
	if c == byBytes {
		return int64(r.n)
	}
	return int64(r.length)
}

// entry is a slice in memory, or the memory of one.
type entry struct {
	id     uint32
	length int64
	used   int64 // weights of its reads, less what its policy has taken off
	from   origin
}

// origin is the queue that a slice is or was in.
type origin uint8

const (
	fromNone origin = iota // it never was in memory
	fromSmall
	fromMain
)

// queue is a list of slices, and their bytes.
type queue struct {
	lru   *simplelru.LRU[uint32, *entry]
	bytes int64
}

func newQueue() *queue {
	l, err := simplelru.NewLRU[uint32, *entry](math.MaxInt, nil)
	if err != nil {
		panic(err) // the size is positive
	}
	return &queue{lru: l}
}

// push puts an entry in front.
func (q *queue) push(e *entry) {
	q.lru.Add(e.id, e)
	q.bytes += e.length
}

// pop takes the entry from the end; nil if there is none.
func (q *queue) pop() *entry {
	_, e, ok := q.lru.RemoveOldest()
	if !ok {
		return nil
	}
	q.bytes -= e.length
	return e
}

func (q *queue) remove(e *entry) {
	q.lru.Remove(e.id)
	q.bytes -= e.length
}

// lru evicts what was not read for the longest time: what store does today.
type lru struct {
	queue
	limit, written int64
}

func newLRU(limit int64) policy { return &lru{queue: *newQueue(), limit: limit} }

func (p *lru) read(r read, _ bool) bool {
	if _, ok := p.lru.Get(r.slice); ok {
		return true
	}
	p.push(&entry{id: r.slice, length: int64(r.length)})
	p.written += int64(r.length)
	for p.bytes > p.limit {
		p.pop()
	}
	return false
}

func (p *lru) usage() (held, written int64) { return p.bytes, p.written }
