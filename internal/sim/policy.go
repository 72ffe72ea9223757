// Package sim has what simulations of the edge's caches share: how popular tracks are, and
// who gets into memory.
package sim

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

	from       origin
	in         *Queue // nil: none
	prev, next *Entry
}

// origin is the queue that a slice is or was in.
type origin uint8

const (
	fromNone origin = iota // it never was in memory
	fromSmall
	fromMain
)

// index is where the slices are that are in some queues.
type index map[uint32]*Entry

// Queue is a list of slices, and their bytes. Its links are in the entries: what simulates
// many nodes moves a hundred million of them.
type Queue struct {
	Bytes int64
	Len   int

	index index
	root  Entry
}

// NewQueues returns some empty queues without a bound. A slice is in one of them at the most.
func NewQueues(n int) []*Queue {
	qs, shared := make([]*Queue, n), make(index)
	for i := range qs {
		q := &Queue{index: shared}
		q.root.prev, q.root.next = &q.root, &q.root
		qs[i] = q
	}
	return qs
}

// Get returns a slice's entry; nil if it is not in the queue.
func (q *Queue) Get(slice uint32) *Entry {
	if e := q.index[slice]; e != nil && e.in == q {
		return e
	}
	return nil
}

// Push puts an entry, which is in no queue, in front.
func (q *Queue) Push(e *Entry) {
	q.index[e.ID] = e
	q.Len++
	q.Bytes += e.Length
	e.in = q
	q.link(e)
}

func (q *Queue) link(e *Entry) {
	e.prev, e.next = &q.root, q.root.next
	e.prev.next, e.next.prev = e, e
}

// Front puts an entry that is in the queue in front again.
func (q *Queue) Front(e *Entry) {
	e.prev.next, e.next.prev = e.next, e.prev
	q.link(e)
}

// Oldest returns the entry at the end; nil if there is none.
func (q *Queue) Oldest() *Entry {
	if q.Len == 0 {
		return nil
	}
	return q.root.prev
}

// Pop takes the entry from the end; nil if there is none.
func (q *Queue) Pop() *Entry {
	e := q.Oldest()
	if e != nil {
		q.Remove(e)
	}
	return e
}

// Remove takes out an entry that is in the queue.
func (q *Queue) Remove(e *Entry) {
	delete(q.index, e.ID)
	q.Len--
	q.Bytes -= e.Length
	e.prev.next, e.next.prev = e.next, e.prev
	e.in, e.prev, e.next = nil, nil, nil
}
