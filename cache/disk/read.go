package disk

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"time"
)

// File is a slice's file, open for reading.
type File struct {
	*os.File
	s *Store
	f *file
}

// Close closes the file.
func (f *File) Close() error {
	err := f.File.Close()
	f.s.letGo(f.f)
	return err
}

// Unreadable says that the file could not be read to its end, because of err: the
// slice is removed.
func (f *File) Unreadable(err error) { _ = f.s.failed(f.f, err) }

// openings are those of a slice's file that are open. An unlinked one takes its room
// until the last is closed.
type openings struct {
	n        int
	unlinked bool
}

// letGo counts off an opening.
func (s *Store) letGo(f *file) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.open[f]
	switch {
	case !ok: // it is in a directory that was removed
	case o.n > 1:
		o.n--
		s.open[f] = o
	default:
		delete(s.open, f)
		if o.unlinked {
			s.bytes -= f.cost()
		}
	}
}

// openSlice is Object.Open.
func (s *Store) openSlice(o *Object, i int64) (*File, error) {
	f, was := s.snapshot(o, i)
	if f == nil {
		return nil, fmt.Errorf("slice %d of object %x: %w", i, o.id[:], ErrNotStored)
	}
	file, changed, err := openRegular(f.path(), f.size)
	if err != nil {
		return nil, s.failed(f, err)
	}
	// A file's ctime can't be set, and follows from every change of its bytes, its
	// name and its times.
	if !was.verified || was.changed != changed {
		if err = verify(file, f.ident()); err != nil {
			file.Close()
			return nil, s.failed(f, err)
		}
	}
	if !s.use(f, changed) {
		file.Close()
		return nil, fmt.Errorf("slice %d of object %x: %w", i, o.id[:], ErrNotStored)
	}
	return &File{file, s, f}, nil
}

// snapshot returns the file of a slice, and what it is like at this moment; nil if
// there is none.
func (s *Store) snapshot(o *Object, i int64) (*file, file) {
	s.mu.Lock()
	defer s.mu.Unlock()
	at, there := o.find(i)
	if !there {
		return nil, file{}
	}
	return o.slices[at], *o.slices[at]
}

// use counts as a use of a slice whose file, which is open, was verified when it had
// a ctime. It reports false if the slice is not there any more.
func (s *Store) use(f *file, changed int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.dead {
		return false
	}
	f.verified, f.changed = true, changed
	s.open[f] = openings{n: s.open[f].n + 1}
	s.touch(f)
	return true
}

// touch makes a slice the one that was used last, also for the next process, if its
// file does not say so yet. The caller holds s.mu.
func (s *Store) touch(f *file) {
	s.used.front(f)
	if since := time.Since(time.Unix(0, f.changed)); since >= 0 && since < s.tune.touch {
		return // below zero it was changed when the clock was ahead
	}
	if !f.touching && s.closing.IsZero() && s.err == nil {
		f.touching = true
		s.touched = append(s.touched, f)
		s.poke()
	}
}

// failed deals with a file that could not be read, and returns what is to be said
// about it.
func (s *Store) failed(f *file, err error) error {
	if isTemporary(err) {
		return err
	}
	gone := isGone(err)
	s.mu.Lock()
	dead := f.dead // who was first has told
	s.lose(f)
	if !dead && !gone {
		s.stats.Damaged++
	}
	s.mu.Unlock()
	if gone || dead {
		return fmt.Errorf("%s: %w", f.ident(), ErrNotStored)
	}
	s.damaged(f.path(), err)
	return fmt.Errorf("%s: %w", f.ident(), err)
}

// isTemporary reports whether an error is not the file's fault, but that of a process
// that has too much of something.
func isTemporary(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) || errors.Is(err, syscall.ENOMEM)
}

// isGone reports whether an error says that there is no such file.
func isGone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)
}

// damaged tells of a file that is not what it should be.
func (s *Store) damaged(path string, err error) {
	s.tell.Lock()
	defer s.tell.Unlock()
	if s.events.Damaged != nil {
		s.events.Damaged(path, err)
	}
}

// buffers are for reading through files. A slice is verified once, so that there
// are few.
var buffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// verify reads a slice's file, without moving where the next Read begins.
func verify(r io.ReaderAt, n ident) error {
	buf := buffers.Get().(*[64 << 10]byte)
	defer buffers.Put(buf)
	crc := n.seed()
	for off := int64(0); off < n.size; {
		k, err := r.ReadAt(buf[:min(n.size-off, int64(len(buf)))], off)
		crc = crc32.Update(crc, castagnoli, buf[:k])
		off += int64(k)
		switch {
		case err == io.EOF && off < n.size:
			return fmt.Errorf("%w: too short", ErrDamaged)
		case err != nil && err != io.EOF:
			return err
		}
	}
	if crc != n.crc {
		return fmt.Errorf("%w: wrong checksum", ErrDamaged)
	}
	return nil
}

// readMeta returns what a meta file holds.
func (s *Store) readMeta(f *file) ([]byte, error) {
	file, _, err := openRegular(f.path(), -1)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, metaHeader+maxMeta+1))
	if err != nil {
		return nil, err
	}
	return f.ident().decodeMeta(b)
}
