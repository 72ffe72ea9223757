package disk

import (
	"cmp"
	"time"

	"github.com/voyo-music/caddy-voyo/internal/contain"
)

const (
	// maxBackoff is how often the time doubles after which what has failed is tried
	// again: with a second at first, half a minute at last.
	maxBackoff = 30

	// probeSize is what must be written before the disk counts as well again.
	probeSize = 256 << 10
)

// poke wakes the worker.
func (s *Store) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// run does all that is to be done in the background, one thing at a time, until the
// store is closed. err is why nothing can be written yet.
func (s *Store) run(err error) {
	defer close(s.done)
	for more := true; more; {
		if err != nil {
			_ = contain.Do(func() error { s.degrade(err); return nil }) // an event's panic: there is no one else to tell
		}
		err = contain.Do(func() (err error) { more, err = s.step(); return err })
	}
	s.unlock()
}

// step does one thing, or waits until there is something to do. It reports false
// when there is nothing more to come.
func (s *Store) step() (more bool, err error) {
	task, wait := s.next()
	switch {
	case task != nil:
		return true, task()
	case wait < 0:
		return false, nil
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-s.wake:
	case <-timer.C:
	}
	return true, nil
}

// next returns what is to be done next, or how long to wait for it; below zero: for
// ever. What makes room goes before what takes it.
func (s *Store) next() (task func() error, wait time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	switch {
	case len(s.trash) > 0:
		return func() error { _ = s.emptyTrash(); return nil }, 0 // what fails is tried again
	case !s.due.IsZero() && !now.Before(s.due):
		return s.retry, 0
	case s.loading && !s.hurried() && s.due.IsZero():
		return s.load, 0
	case !s.loading && s.bytes > s.limit && !s.noEvict && s.used.oldest() != nil:
		return s.shrink, 0
	case len(s.touched) > 0:
		f := s.touched[0]
		s.touched = s.touched[1:]
		return func() error { return s.noteUse(f) }, 0
	case len(s.queue) > 0:
		j := s.queue[0]
		s.queue[0] = job{}
		s.queue = s.queue[1:]
		return func() error { return s.perform(j) }, 0
	case !s.closing.IsZero():
		s.closed = true
		return nil, -1
	case s.due.IsZero():
		return nil, time.Hour
	}
	return nil, s.due.Sub(now)
}

// hurried reports whether Close has waited for the listing long enough. The caller
// holds s.mu.
func (s *Store) hurried() bool {
	return !s.closing.IsZero() && time.Since(s.closing) > s.tune.grace
}

// degrade stops the writing, because of err, until a retry succeeds.
func (s *Store) degrade(err error) {
	s.mu.Lock()
	first := s.err == nil
	s.err = err
	s.schedule()
	s.mu.Unlock()
	if first && s.events.Degraded != nil {
		s.tell.Lock()
		defer s.tell.Unlock()
		s.events.Degraded(err)
	}
}

// schedule has what has failed tried again. The caller holds s.mu.
func (s *Store) schedule() {
	if s.due.IsZero() {
		s.due = time.Now().Add(s.backoff)
		s.backoff = min(2*s.backoff, maxBackoff*s.tune.backoff)
	}
}

// retry tries again to unlink what could not be, and to write if that has failed.
func (s *Store) retry() error {
	s.mu.Lock()
	s.due, s.noEvict = time.Time{}, false
	s.trash, s.stuck = append(s.trash, s.stuck...), nil
	degraded := s.err != nil
	s.mu.Unlock()
	_ = s.emptyTrash() // what fails is scheduled again
	if !degraded {
		return nil
	}
	if err := s.probe(); err != nil {
		return err
	}
	s.mu.Lock()
	s.err = nil
	s.mu.Unlock()
	if s.events.Recovered != nil {
		s.tell.Lock()
		defer s.tell.Unlock()
		s.events.Recovered()
	}
	return nil
}

// probe finds out whether the disk can be written again.
func (s *Store) probe() error {
	moved, err := s.prepare()
	if moved {
		s.mu.Lock()
		s.reset() // what was in the directory is not in this one
		s.mu.Unlock()
		_ = s.load()
	}
	if err != nil {
		return err
	}
	if err = s.tryWrite(0); err != nil {
		return err // before anything is evicted
	}
	n := cost(probeSize)
	switch ok, err := s.reserve(n); {
	case err != nil:
		return err
	case !ok:
		return nil // as large a slice is not going to be written, either
	}
	defer s.release(n)
	return s.tryWrite(probeSize)
}

// emptyTrash unlinks what is not in the index any more, and returns the first
// error.
func (s *Store) emptyTrash() (err error) {
	for f := s.popTrash(); f != nil; f = s.popTrash() {
		err = cmp.Or(err, s.unlinkFile(f))
	}
	return err
}

func (s *Store) popTrash() *file {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.trash) == 0 {
		s.trash = nil
		return nil
	}
	f := s.trash[0]
	s.trash[0] = nil
	s.trash = s.trash[1:]
	return f
}

// unlinkFile unlinks a file. If that fails it counts until it is tried again, and if
// it is open until it is closed.
func (s *Store) unlinkFile(f *file) error {
	path := f.path()
	var err error
	if !s.twin(f) {
		err = unlink(path)
	}
	if isGone(err) {
		err = nil
	}
	if err != nil && irregular(path) {
		err = nil // it is not the store's any more
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.stuck = append(s.stuck, f)
		s.schedule()
		return err
	}
	if o, ok := s.open[f]; ok {
		o.unlinked = true
		s.open[f] = o
		return nil
	}
	s.bytes -= f.cost()
	return nil
}

// twin reports whether a file that is to be unlinked was written anew under the
// same name, because it could not be unlinked before.
func (s *Store) twin(f *file) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return f.live() != nil
}

// shrink evicts something.
func (s *Store) shrink() error {
	_, err := s.evict()
	return err
}

// noteUse sets the mtime of a slice's file, by which the next process knows when it
// was used. If that fails it is not tried again: what is wrong will show elsewhere.
func (s *Store) noteUse(f *file) error {
	before, dead := s.forNote(f)
	path := f.path()
	if now, err := ctime(path); dead || err != nil || now != before {
		return nil // it is verified when it is opened next
	}
	if touch(path, time.Now()) != nil {
		return nil
	}
	after, err := ctime(path)
	if err != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.changed == before {
		f.changed, f.touching = after, false
	}
	return nil
}

func (s *Store) forNote(f *file) (changed int64, dead bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return f.changed, f.dead
}
