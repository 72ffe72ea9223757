package disk

import (
	"path/filepath"
	"slices"
)

// What a file takes of the disk is counted in whole blocks, and an entry of its
// directory; and what there is without any file, in directories.
const (
	blockSize = 4096
	entrySize = 128
	layout    = (shards + 2) * blockSize
)

// file is a file on disk, as far as the store knows: a slice, or an object's meta
// data. There may be millions, so it is small: the list that it is in costs it two
// pointers, where simplelru's would cost two hundred bytes more. Guarded by
// Store.mu; what names it never changes once it is in the index.
type file struct {
	o          *Object
	prev, next *file // in the order of use; nil if it is not in there
	index      int64 // as in ident
	size       int64
	changed    int64 // the file's ctime, if verified, or else its mtime, in nanoseconds
	crc        uint32
	verified   bool
	touching   bool // its use is going to be noted on disk
	dead       bool // not in the index any more
}

func (f *file) ident() ident {
	return ident{id: f.o.id, version: f.o.version, index: f.index, size: f.size, crc: f.crc}
}

func (f *file) path() string {
	return filepath.Join(f.o.s.dir, shard(f.o.id[0]), f.ident().String())
}

func (f *file) cost() int64 { return cost(f.size) }

// cost returns how much a file of a size takes of the disk.
func cost(size int64) int64 {
	return (size+blockSize-1)/blockSize*blockSize + entrySize
}

// list is files in the order of their use, the last one first.
type list struct{ root file }

func (l *list) init() { l.root.prev, l.root.next = &l.root, &l.root }

func (l *list) oldest() *file {
	if l.root.prev == &l.root {
		return nil
	}
	return l.root.prev
}

func (l *list) insert(f, after *file) {
	f.prev, f.next = after, after.next
	f.prev.next, f.next.prev = f, f
}

// front makes f the one that was used last.
func (l *list) front(f *file) {
	l.remove(f)
	l.insert(f, &l.root)
}

// back makes f the one whose use is the longest ago, if it is not there yet.
func (l *list) back(f *file) {
	if f.next == nil {
		l.insert(f, l.root.prev)
	}
}

func (l *list) remove(f *file) {
	if f.next != nil {
		f.prev.next, f.next.prev = f.next, f.prev
		f.prev, f.next = nil, nil
	}
}

// find returns where the slice with an index is, or would be, among the object's,
// and whether it is there. The caller holds Store.mu.
func (o *Object) find(i int64) (int, bool) {
	return slices.BinarySearchFunc(o.slices, i, func(f *file, i int64) int {
		switch {
		case f.index < i:
			return -1
		case f.index > i:
			return 1
		}
		return 0
	})
}

// live returns the file that the index has under f's own name, if any. The caller
// holds Store.mu.
func (f *file) live() *file {
	if m := f.o.meta; f.index < 0 {
		if m != nil && m.index == f.index {
			return m
		}
		return nil
	}
	if at, ok := f.o.find(f.index); ok && f.o.slices[at].ident() == f.ident() {
		return f.o.slices[at]
	}
	return nil
}

// attach adds a file to its object. It reports false if another is in its place.
// The caller holds s.mu.
func (s *Store) attach(f *file) bool {
	o := f.o
	if f.index < 0 {
		if o.meta != nil {
			return false
		}
		o.meta = f
		s.stats.Objects++
		return true
	}
	at, there := o.find(f.index)
	if there {
		return false
	}
	o.slices = slices.Insert(o.slices, at, f)
	s.stats.Slices++
	if o.meta != nil {
		s.used.remove(o.meta) // see drop
	}
	return true
}

// detach takes a file out of the index. The caller holds s.mu, and takes it out of
// its object.
func (s *Store) detach(f *file) {
	f.dead = true
	s.used.remove(f)
	if f.index < 0 {
		s.stats.Objects--
	} else {
		s.stats.Slices--
	}
	s.discard(f)
}

// discard has a file that is not in the index unlinked, which counts until then.
// The caller holds s.mu.
func (s *Store) discard(f *file) {
	f.dead = true
	if s.closed {
		return // another may own the directory by now
	}
	s.trash = append(s.trash, f)
	s.poke()
}

// drop takes a slice out of the index. The caller holds s.mu.
func (s *Store) drop(f *file) {
	if at, ok := f.o.find(f.index); ok {
		f.o.slices = slices.Delete(f.o.slices, at, at+1)
	}
	s.detach(f)
}

// remove takes an object out of the index. What it has on disk goes too, its meta
// data first, so that a crash leaves nothing that could be loaded; its slices when
// nobody holds them any more. The caller holds s.mu.
func (s *Store) remove(o *Object) {
	if o.gone {
		return
	}
	o.gone = true
	o.pending = nil
	delete(s.objects, o.id)
	s.idle.Remove(o.id)
	if o.meta != nil {
		s.detach(o.meta)
		o.meta = nil
	}
	if o.holds > 0 {
		s.held[o] = struct{}{}
		return
	}
	s.clear(o)
}

// clear takes the slices of an object that was removed out of the index. The caller
// holds s.mu.
func (s *Store) clear(o *Object) {
	delete(s.held, o)
	for _, f := range o.slices {
		s.detach(f)
	}
	o.slices = nil
}

// lose takes a file out of the index that is not what it should be, and with it
// what is of no use without. The caller holds s.mu.
func (s *Store) lose(f *file) {
	o := f.o
	switch {
	case f.dead:
	case f.index < 0 || o.whole() || o.gone:
		s.remove(o)
		if !f.dead { // somebody holds the others
			s.drop(f)
		}
	default:
		s.drop(f)
		if len(o.slices) == 0 && o.jobs == 0 {
			// The slice may be put again. Until then there is only the meta data to
			// evict, in its turn.
			s.used.front(o.meta)
		}
	}
}

// evictOldest evicts what was not used for the longest time, and reports whether
// there was anything. The caller holds s.mu.
func (s *Store) evictOldest() bool {
	f := s.used.oldest()
	if f == nil {
		return false
	}
	o := f.o
	if f.index < 0 || o.whole() || len(o.slices) == 1 && o.jobs == 0 {
		s.stats.Evicted += int64(len(o.slices))
		s.remove(o)
		s.clear(o)
		return true
	}
	s.stats.Evicted++
	s.drop(f)
	return true
}

// settle looks after an object that has just lost or not got something, once
// nothing is queued for it: it is idle if it has nothing on disk. The caller holds
// s.mu.
func (s *Store) settle(o *Object) {
	if o.gone || o.jobs > 0 || len(o.slices) > 0 {
		return
	}
	if o.pending == nil {
		s.remove(o) // its meta data is on disk only, and all slices were evicted
		return
	}
	if o.meta != nil {
		s.detach(o.meta)
		o.meta = nil
	}
	for s.idle.Len() >= maxIdle {
		if _, oldest, ok := s.idle.RemoveOldest(); ok {
			s.remove(oldest)
		}
	}
	s.idle.Add(o.id, o)
}
