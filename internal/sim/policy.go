// Package sim has what simulations of the edge's caches share: how popular tracks are, and
// who gets into memory.
package sim

import (
	"math"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Read is what memory is asked for: some bytes of one slice.
type Read struct {
	Slice  uint32 // its number in the catalogue
	Length int32  // of the slice
	N      int32  // bytes read of it; 0 where it is brought for somebody who may come
}

// Policy decides what memory holds.
type Policy interface {
	// Read reports whether the slice was in memory. Where it was not, the policy
	// may take it; it has to if the slice is not on disk, as then a fill writes
	// it into memory.
	Read(r Read, onDisk bool) bool
	// Usage returns the bytes that memory holds, and that were written into it.
	Usage() (held, written int64)
}

// Counting says how much of a use a read is.
type Counting bool

// The ways to count.
const (
	ByBytes Counting = true  // as much as it reads of the slice
	ByReads Counting = false // each is a whole one
)

func (c Counting) String() string {
	if c == ByBytes {
		return "bytes"
	}
	return "reads"
}

// Weight returns what a read counts for.
func (c Counting) Weight(r Read) int64 {
	if c == ByBytes {
		return int64(r.N)
	}
	return int64(r.Length)
}

// Entry is a slice in memory, or the memory of one.
type Entry struct {
	ID     uint32
	Length int64
	Used   int64 // weights of its reads, less what its policy has taken off
	from   origin
}

// origin is the queue that a slice is or was in.
type origin uint8

const (
	fromNone origin = iota // it never was in memory
	fromSmall
	fromMain
)

// Queue is a list of slices, and their bytes.
type Queue struct {
	LRU   *simplelru.LRU[uint32, *Entry]
	Bytes int64
}

// NewQueue returns an empty queue without a bound.
func NewQueue() *Queue {
	l, err := simplelru.NewLRU[uint32, *Entry](math.MaxInt, nil)
	if err != nil {
		panic(err) // the size is positive
	}
	return &Queue{LRU: l}
}

// Push puts an entry in front.
func (q *Queue) Push(e *Entry) {
	q.LRU.Add(e.ID, e)
	q.Bytes += e.Length
}

// Pop takes the entry from the end; nil if there is none.
func (q *Queue) Pop() *Entry {
	_, e, ok := q.LRU.RemoveOldest()
	if !ok {
		return nil
	}
	q.Bytes -= e.Length
	return e
}

// Remove takes out an entry that is in the queue.
func (q *Queue) Remove(e *Entry) {
	q.LRU.Remove(e.ID)
	q.Bytes -= e.Length
}
