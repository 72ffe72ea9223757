package cache

import (
	"math"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/voyo-music/caddy-voyo/cache/disk"
)

// store is what the cache keeps, and what bounds it: objects by number, their
// slices by bytes. Each eviction is O(1) in what stays. Guarded by Cache.mu.
type store struct {
	limits  Limits
	objects *simplelru.LRU[string, *object]
	memory  *memory // complete slices, of objects in the store
	marks   *simplelru.LRU[string, mark]

	resources *resources // of gateways
	purges    *purges

	bytes   int64 // of bodies: complete slices, and what fills have allocated
	evicted int64 // as in Stats

	promoting map[sliceKey]bool // being read from the disk

	disk      *disk.Store // nil: there is none
	namespace string      // of its objects
}

// sliceKey names a slice that need not be in memory.
type sliceKey struct {
	o *object
	i int
}

// mark is what is known of a key that has no object.
type mark struct {
	until    time.Time
	err      error // what its Fetch last said; nil: its answers can't be kept
	tooLarge bool  // because of what only their end showed
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
	s := &store{promoting: make(map[sliceKey]bool)}
	s.objects = newLRU(math.MaxInt, s.dropped)
	s.memory = newMemory()
	s.marks = newLRU[string, mark](maxMarks, nil)
	s.resources = newResources(math.MaxInt)
	s.purges = newPurges()
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
	s.memory.setLimits(l)
	entries := l.Entries
	if entries <= 0 {
		entries = int(max(l.Memory/bytesPerEntry, minEntries))
	}
	s.limits.Entries = entries
	s.evicted += int64(s.objects.Resize(entries))
	s.resources.known.Resize(entries + maxExchanges + maxQueue) // those that are only flying hardly push one out that has objects
	s.shrink()
}

// get returns the object that a key names, and counts as a use of it.
func (s *store) get(key string) *object {
	o, ok := s.objects.Get(key)
	if ok && !s.valid(o) {
		s.void(o)
		return nil
	}
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

// put makes o the object of its key, in the place of another version. One that was
// purged or invalidated before it came is of use to its present readers alone.
func (s *store) put(req Request, fl *flight, o *object) {
	if fl.outdated || !s.valid(o) || req.Policy.Gateway && !s.claimVariant(req, o) {
		o.void, o.gone = true, true
		return
	}
	s.marks.Remove(o.key)
	if old, ok := s.objects.Peek(o.key); ok {
		s.void(old)
	}
	s.disown(o.key)
	s.add(o)
}

// add takes in an object, which may have another make room.
func (s *store) add(o *object) {
	if s.objects.Add(o.key, o) {
		s.evicted++
	}
}

// void makes o the object of no key any more, in memory and on disk. Its present
// readers keep the slices that it has in memory.
func (s *store) void(o *object) {
	o.void = true
	if o.disk != nil {
		o.disk.Remove()
	}
	s.forget(o)
}

// forget takes o out of memory, if it is there. What is on disk stays.
func (s *store) forget(o *object) {
	if cur, ok := s.objects.Peek(o.key); ok && cur == o {
		s.objects.Remove(o.key)
	}
}

// dropped lets go of an object that left the store. Its present readers keep the
// slices that they can't have from elsewhere.
func (s *store) dropped(_ string, o *object) {
	o.gone = true
	for sl := range o.slices.all() {
		s.memory.remove(sl)
		s.count(sl, 0)
		if sl.complete && !o.void && !o.whole() {
			o.slices.remove(sl.i)
		}
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

// keep marks a slice as complete, and gives it to the memory and to the disk.
func (s *store) keep(o *object, i int, sl *slice) {
	sl.complete, sl.by = true, nil // which would hold on to the fill's window
	if !o.whole() {
		s.save(o, disk.Slice{Index: int64(i), Data: sl.data})
	}
	if o.gone {
		if !o.whole() {
			o.slices.remove(i) // its readers have the fill's window
		}
		return
	}
	s.count(sl, int64(cap(sl.data)))
	s.memory.add(sl, s.promoting[sliceKey{o, i}])
	o.kept++
	s.shrink()
}

// drop forgets a slice that will not become complete.
func (s *store) drop(o *object, i int) {
	if sl := o.slices.at(i); sl != nil && !sl.complete {
		o.slices.remove(i)
		s.count(sl, 0)
	}
}

// use counts n bytes that are served of an object, out of the slice in memory that
// holds the byte at off.
func (s *store) use(o *object, off, n int64) {
	i, _, _ := o.bounds(off)
	sl := o.slices.at(i)
	s.memory.use(sl, n)
	if !sl.complete {
		return
	}
	if sl.served += n; sl.served >= int64(len(sl.data)) {
		sl.served = 0
		s.confirm(o, i, sl)
	}
}

// confirm tells the disk that a slice in memory is wanted, which it would not know:
// it keeps it for longer, or writes it if it was too slow for that or has evicted it.
func (s *store) confirm(o *object, i int, sl *slice) {
	if s.disk == nil {
		return
	}
	there := o.disk != nil && o.disk.Touch(int64(i))
	if !there && !o.whole() {
		s.save(o, disk.Slice{Index: int64(i), Data: sl.data})
	}
}

// useDisk counts n bytes that are served of an object, out of a slice of a length that
// is on disk. It reports whether that is worth being in memory.
func (s *store) useDisk(o *object, i int, n, length int64) bool {
	return s.memory.worth(sliceKey{o, i}, n, length)
}

// claim reports whether the caller is to bring a slice from the disk into memory,
// by promote, because nobody else is about to.
func (s *store) claim(o *object, i int) bool {
	k := sliceKey{o, i}
	if o.gone || s.promoting[k] {
		return false
	}
	s.promoting[k] = true
	return true
}

// shrink evicts the slices that are wanted the least, until the rest is within the
// limit. What fills are still writing can't be evicted.
func (s *store) shrink() {
	for s.bytes > s.limits.Memory {
		sl := s.memory.evict()
		if sl == nil {
			return
		}
		s.evicted++
		o := sl.o
		if o.whole() && !o.onDisk(sl.i) {
			s.forget(o) // a part of it is of no use to anyone
			continue
		}
		o.slices.remove(sl.i)
		o.kept--
		s.count(sl, 0)
		s.confirm(o, sl.i, sl)
		s.forgetEmpty(o)
	}
}

// forgetEmpty forgets an object of which nothing is there, nor will be.
func (s *store) forgetEmpty(o *object) {
	if o.kept == 0 && len(o.fills) == 0 && o.size != 0 && (o.disk == nil || o.disk.Next(0) < 0) {
		s.forget(o)
	}
}
