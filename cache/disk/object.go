package disk

import (
	"cmp"
	"slices"
)

// Object is a version of what an ID names. Once it is removed, replaced or evicted
// it has nothing, unless it is held, and what is put into it is ignored. Guarded by
// Store.mu.
type Object struct {
	s       *Store
	id      ID
	version uint64
	slices  []*file // by index
	meta    *file   // nil if it is not on disk
	pending []byte  // meta data, until it is on disk together with a slice
	jobs    int32   // queued, or under way
	needs   int32   // how many slices it needs to be of use: 0 for any, -1 if not known yet
	holds   int32   // for whose sake its slices stay when it is removed
	dirty   bool    // pending is newer than what is on disk
	gone    bool
}

func (o *Object) whole() bool { return o.needs != 0 }

// Version returns the object's version: later ones are greater.
func (o *Object) Version() uint64 { return o.version }

// SetMeta replaces the meta data, sooner or later.
func (o *Object) SetMeta(meta []byte) {
	s := o.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.gone || len(meta) > maxMeta {
		return
	}
	queued := o.dirty
	o.pending = append([]byte{}, meta...)
	if o.meta == nil && o.jobs == 0 {
		return // it goes with the first slice
	}
	o.dirty = true
	if !queued && !s.enqueue(job{o: o, size: int64(len(meta)) + jobSize}) {
		o.dirty = false
		o.clean()
	}
}

// clean forgets meta data that is on disk, or won't get there. The caller holds
// Store.mu.
func (o *Object) clean() {
	if !o.dirty && o.meta != nil && len(o.slices) > 0 {
		o.pending = nil
	}
}

// Slice is a part of an object.
type Slice struct {
	Index int64
	Data  []byte // must not change any more
}

// valid reports whether the slice can be written at all.
func (sl Slice) valid() bool { return sl.Index >= 0 && len(sl.Data) <= maxSlice }

// Put has slices written in the background. It does not wait: what the disk is too
// slow for, or has no room for, is skipped. A slice that is there already stays as
// it is.
func (o *Object) Put(parts ...Slice) {
	s := o.s
	s.mu.Lock()
	defer s.mu.Unlock()
	if o.gone {
		return
	}
	if o.whole() {
		o.putWhole(parts)
		return
	}
	for _, p := range parts {
		if _, there := o.find(p.Index); !there && p.valid() {
			s.enqueue(newJob(o, []Slice{p}))
		}
	}
}

// putWhole queues all slices of an object that is of no use without one of them.
// The caller holds Store.mu.
func (o *Object) putWhole(parts []Slice) {
	if o.meta != nil || o.jobs > 0 || len(parts) == 0 {
		return
	}
	if slices.ContainsFunc(parts, func(p Slice) bool { return !p.valid() }) {
		return
	}
	parts = slices.Clone(parts)
	slices.SortStableFunc(parts, func(a, b Slice) int { return cmp.Compare(a.Index, b.Index) })
	parts = slices.CompactFunc(parts, func(a, b Slice) bool { return a.Index == b.Index })
	o.needs = int32(len(parts)) //nolint:gosec // no memory could hold more
	o.s.enqueue(newJob(o, parts))
}

// Has reports whether a slice is there.
func (o *Object) Has(i int64) bool {
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	_, there := o.find(i)
	return there
}

// Next returns the least index from i on whose slice is there; -1 if there is none.
func (o *Object) Next(i int64) int64 {
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	at, _ := o.find(i)
	if at == len(o.slices) {
		return -1
	}
	return o.slices[at].index
}

// Open opens a slice's file, which holds the slice and nothing else, at its
// beginning; and counts as a use of it. It does I/O, and has verified the file's
// bytes: when it is opened for the first time, and when it has changed since. What
// is not right is removed, and the error wraps ErrDamaged; if it is gone,
// ErrNotStored. The file must be closed: until then it takes room, also when the
// slice is evicted.
func (o *Object) Open(i int64) (*File, error) { return o.s.openSlice(o, i) }

// Touch counts as a use of a slice that is made of a copy elsewhere, and reports
// whether the slice is there.
func (o *Object) Touch(i int64) bool {
	s := o.s
	s.mu.Lock()
	defer s.mu.Unlock()
	at, there := o.find(i)
	if there {
		s.touch(o.slices[at])
	}
	return there
}

// Remove removes the object: at once for whoever looks, soon on the disk.
func (o *Object) Remove() {
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	o.s.remove(o)
}

// Hold keeps the slices that the object has, for somebody who is in the middle of them,
// also if it is removed or replaced: no longer than Release is called, and as long as
// they need not make room.
func (o *Object) Hold() {
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	o.holds++
}

// Release ends a Hold.
func (o *Object) Release() {
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	o.holds--
	if o.gone && o.holds == 0 {
		o.s.clear(o)
	}
}

// Removed reports whether the object was removed, replaced or evicted.
func (o *Object) Removed() bool {
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	return o.gone
}
