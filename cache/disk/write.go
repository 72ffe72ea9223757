package disk

import (
	"errors"
	"fmt"
	"os"
)

const (
	queueLimit = 16 << 20 // bytes of what is queued to be written
	jobSize    = 256      // what a job weighs besides its data
)

// job is something to be written: slices of an object, or, if there are none, its
// meta data. Or it is a mark that Flush waits for.
type job struct {
	o      *Object
	slices []Slice
	size   int64 // bytes
	passed chan struct{}
}

func newJob(o *Object, parts []Slice) job {
	j := job{o: o, slices: parts}
	for _, p := range parts {
		j.size += int64(len(p.Data)) + jobSize
	}
	return j
}

// enqueue queues a job, unless the disk is too slow or has failed. The caller holds
// s.mu.
func (s *Store) enqueue(j job) bool {
	if !s.closing.IsZero() {
		return false
	}
	limit := int64(queueLimit)
	if len(j.slices) == 0 {
		limit *= 2 // meta data is small, and keeps what is there right
	}
	if s.err != nil || s.queued > 0 && s.queued+j.size > limit {
		s.stats.Skipped += int64(len(j.slices))
		return false
	}
	s.queue = append(s.queue, j)
	s.queued += j.size
	j.o.jobs++
	s.idle.Remove(j.o.id)
	s.poke()
	return true
}

// draft is a file to be written.
type draft struct {
	*file
	data []byte
}

// perform does a job.
func (s *Store) perform(j job) error {
	if j.passed != nil {
		close(j.passed)
		return nil
	}
	defer s.finish(j)
	drafts := s.drafts(j)
	if len(drafts) == 0 {
		return nil
	}
	n := int64(0)
	for _, d := range drafts {
		n += d.cost()
	}
	if ok, err := s.reserve(n); !ok {
		s.skip(j)
		return err
	}
	whole := j.o.whole()
	for i, d := range drafts {
		if err := s.write(d); err != nil {
			s.giveUp(j, drafts, i)
			if errors.Is(err, errInTheWay) {
				s.damaged(d.path(), err)
				return nil
			}
			return err
		}
		if !whole {
			s.commit(d)
		}
	}
	if whole {
		s.commit(drafts...)
	}
	return nil
}

// drafts returns the files that a job comes to, in the order in which they are to
// be written: of an object that is of use as a whole only the meta data comes last,
// else it comes first.
func (s *Store) drafts(j job) (ds []draft) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := j.o
	switch {
	case o.gone:
		return nil
	case len(j.slices) == 0 && (s.err != nil || o.meta == nil):
		o.dirty = false
		return nil
	case s.err != nil, s.loading:
		s.stats.Skipped += int64(len(j.slices))
		return nil
	case len(j.slices) == 0 && o.dirty:
		return []draft{o.metaDraft()}
	}
	for _, p := range j.slices {
		if _, there := o.find(p.Index); !there {
			f := &file{o: o, index: p.Index, size: int64(len(p.Data))}
			ds = append(ds, draft{f, p.Data})
		}
	}
	switch {
	case len(ds) == 0 || o.meta != nil:
		return ds
	case o.whole():
		return append(ds, o.metaDraft())
	}
	return append([]draft{o.metaDraft()}, ds...)
}

// metaDraft returns the object's meta file, to be written. The caller holds
// Store.mu.
func (o *Object) metaDraft() draft {
	o.dirty = false
	f := &file{o: o, index: metaIndex(int(o.needs))}
	data := f.ident().encodeMeta(o.pending)
	f.size = int64(len(data))
	return draft{f, data}
}

// errInTheWay says that there is something that is not the store's where a file of
// it should be.
var errInTheWay = errors.New("in the way of a file")

// write writes a file to where it belongs.
func (s *Store) write(d draft) error {
	if d.index >= 0 {
		d.crc = d.ident().checksum(d.data)
	}
	path, temp := d.path(), s.temp(newFile)
	err := create(temp, d.data)
	if err == nil {
		err = os.Rename(temp, path)
		if err != nil && irregular(path) {
			err = fmt.Errorf("%w: %w", errInTheWay, err)
		}
	}
	if err != nil {
		_ = unlink(temp) // if it can't be, nothing is written before it can
		return err
	}
	d.changed, err = ctime(path)
	d.verified = err == nil
	return nil
}

// commit puts files that were written into the index, or removes them if their
// object is gone by now.
func (s *Store) commit(ds ...draft) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.backoff = s.tune.backoff
	for _, d := range ds {
		s.place(d.file)
	}
}

// place puts one file into the index. The caller holds s.mu.
func (s *Store) place(f *file) {
	o := f.o
	if o.gone {
		s.discard(f)
		return
	}
	if old := o.meta; f.index < 0 && old != nil { // f has its name
		s.bytes -= old.cost()
		old.dead = true
		o.meta = f
		if old.next != nil {
			s.used.remove(old)
			s.used.front(f)
		}
	} else {
		s.attach(f)
	}
	if f.index >= 0 {
		s.stats.Written++
		s.used.front(f)
	}
}

// giveUp removes what a job has written of what is of no use without the rest:
// drafts[done:] could not be written.
func (s *Store) giveUp(j job, drafts []draft, done int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Skipped += int64(len(j.slices))
	for i, d := range drafts {
		switch {
		case i >= done:
			s.bytes -= d.cost()
			d.dead = true
		case j.o.whole():
			s.discard(d.file)
		}
	}
}

// finish counts off a job that was done, or was not.
func (s *Store) finish(j job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queued -= j.size
	j.o.jobs--
	if j.o.gone {
		return
	}
	j.o.clean()
	s.settle(j.o)
}

// skip counts what could not be written.
func (s *Store) skip(j job) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stats.Skipped += int64(len(j.slices))
}

// reserve counts n bytes that are going to be written, and makes room for them
// before. It reports false if there can't be enough.
func (s *Store) reserve(n int64) (bool, error) {
	for {
		if done, ok := s.tryReserve(n); done {
			return ok, nil
		}
		if ok, err := s.evict(); !ok || err != nil {
			return false, err
		}
	}
}

// tryReserve reports whether it is decided if there is room for n bytes, and how.
func (s *Store) tryReserve(n int64) (done, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case layout+n > s.limit:
		return true, false
	case s.bytes+n <= s.limit:
		s.bytes += n
		return true, true
	}
	return false, false
}

func (s *Store) release(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes -= n
}

// evict evicts what was not used for the longest time, and reports whether there
// was anything. If it can't be unlinked, nor could what would be evicted next, the
// error says so.
func (s *Store) evict() (bool, error) {
	s.mu.Lock()
	ok := s.evictOldest()
	s.mu.Unlock()
	err := s.emptyTrash()
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.noEvict = true
	}
	return ok, err
}
