package cache

import (
	"math"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// store is what the cache keeps, and what bounds it: objects by number, their
// slices by bytes, both in the order of their last use. Each eviction is O(1) in
// what stays. Guarded by Cache.mu.
type store struct {
	limits  Limits
	objects *simplelru.LRU[string, *object]
	slices  *simplelru.LRU[sliceKey, *slice] // complete ones, of objects in the store
	marks   *simplelru.LRU[string, mark]
	bytes   int64 // of bodies: complete slices, and what fills have allocated
}

type sliceKey struct {
	o *object
	i int
}

// mark is what is known of a key that has no object.
type mark struct {
	until time.Time
	err   error // what its Fetch last said; nil: its answers can't be kept
}

// Where Limits.Entries is 0, there is an entry for so many bytes of memory, but
// some in any case: an object has a header, too, even if it has no body.
const (
	bytesPerEntry = 16 << 10
	minEntries    = 100
)

// maxMarks bounds the marks, which weigh some hundred bytes each.
const maxMarks = 10_000

func newStore(l Limits) *store {
	s := &store{}
	s.objects = newLRU(math.MaxInt, s.dropped)
	s.slices = newLRU[sliceKey, *slice](math.MaxInt, nil)
	s.marks = newLRU[string, mark](maxMarks, nil)
	s.setLimits(l)
	return s
}

func newLRU[K comparable, V any](size int, evicted simplelru.EvictCallback[K, V]) *simplelru.LRU[K, V] {
	l, err := simplelru.NewLRU(size, evicted)
	if err != nil {
		panic(err) // the sizes above are positive
	}
	return l
}

func (s *store) setLimits(l Limits) {
	if l.Slice <= 0 {
		l.Slice = DefaultSlice
	}
	s.limits = l
	entries := l.Entries
	if entries <= 0 {
		entries = int(max(l.Memory/bytesPerEntry, minEntries))
	}
	s.objects.Resize(entries)
	s.shrink()
}

// get returns the object that a key names, and counts as a use of it.
func (s *store) get(key string) *object {
	o, _ := s.objects.Get(key)
	return o
}

// mark returns what is known of a key that has no object.
func (s *store) mark(key string, now time.Time) (mark, bool) {
	m, ok := s.marks.Peek(key)
	if ok && !now.Before(m.until) {
		s.marks.Remove(key)
		ok = false
	}
	return m, ok
}

// put makes o the object of its key, in the place of another version.
func (s *store) put(o *object) {
	s.marks.Remove(o.key)
	s.objects.Remove(o.key)
	s.objects.Add(o.key, o)
}

// remove takes o out of the store, if it is there.
func (s *store) remove(o *object) {
	if cur, ok := s.objects.Peek(o.key); ok && cur == o {
		s.objects.Remove(o.key)
	}
}

// dropped lets go of an object that left the store. Its present readers keep the
// slices that it has.
func (s *store) dropped(_ string, o *object) {
	o.gone = true
	for i, sl := range o.slices {
		s.slices.Remove(sliceKey{o, i})
		s.count(sl, 0)
	}
}

// count makes n the bytes that are counted for a slice.
func (s *store) count(sl *slice, n int64) {
	s.bytes += n - sl.counted
	sl.counted = n
}

// grow counts n bytes for a slice that a fill is writing, and makes room.
func (s *store) grow(o *object, sl *slice, n int64) {
	if o.gone {
		return
	}
	s.count(sl, n)
	s.shrink()
}

// keep marks a slice as complete, and as the one that was used last.
func (s *store) keep(o *object, i int, sl *slice) {
	sl.complete = true
	if o.gone {
		if o.resumable() && !o.late {
			delete(o.slices, i) // its readers have the fill's window
		}
		return
	}
	s.count(sl, int64(cap(sl.data)))
	s.slices.Add(sliceKey{o, i}, sl)
	o.kept++
	s.shrink()
}

// drop forgets a slice that will not become complete.
func (s *store) drop(o *object, i int) {
	if sl := o.slices[i]; sl != nil && !sl.complete {
		delete(o.slices, i)
		s.count(sl, 0)
	}
}

// touch counts as a use of the slice that holds the byte at off.
func (s *store) touch(o *object, off int64) {
	i, _, _ := o.bounds(off)
	s.slices.Get(sliceKey{o, i})
}

// shrink evicts the slices whose last use is longest ago, until the rest is
// within the limit. What fills are still writing can't be evicted.
func (s *store) shrink() {
	for s.bytes > s.limits.Memory {
		k, sl, ok := s.slices.RemoveOldest()
		if !ok {
			return
		}
		if !k.o.resumable() || k.o.late {
			s.remove(k.o) // a part of it is of no use to anyone
			continue
		}
		delete(k.o.slices, k.i)
		k.o.kept--
		s.count(sl, 0)
		s.removeEmpty(k.o)
	}
}

// removeEmpty removes an object of which nothing is there, nor will be.
func (s *store) removeEmpty(o *object) {
	if o.kept == 0 && len(o.fills) == 0 && o.size != 0 {
		s.remove(o)
	}
}
