package disk

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

const (
	temps = "tmp" // the directory for files that are being written

	// There is one at a time, so that they need no more names than these, and
	// nothing else is ever removed from the directory: it may be anyone's.
	newFile   = "new"
	probeFile = "probe"
)

func (s *Store) temp(name string) string { return filepath.Join(s.dir, temps, name) }

// prepare makes the directories that are missing, and locks the first of them. It
// reports whether that is another one than before.
func (s *Store) prepare() (moved bool, err error) {
	if err = os.MkdirAll(s.dir, 0o700); err != nil {
		return false, err
	}
	if moved, err = s.lockHome(); err != nil {
		return false, err
	}
	for k := range shards {
		if err = makeDir(filepath.Join(s.dir, shard(byte(k)))); err != nil {
			return moved, err
		}
	}
	if err = makeDir(filepath.Join(s.dir, temps)); err != nil {
		return moved, err
	}
	for _, name := range []string{newFile, probeFile} {
		if err = unlink(s.temp(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return moved, err
		}
	}
	return moved, nil
}

// makeDir makes a directory, if there is none.
func makeDir(path string) error {
	err := os.Mkdir(path, 0o700)
	if !errors.Is(err, fs.ErrExist) {
		return err
	}
	fi, err := os.Stat(path)
	if err == nil && !fi.IsDir() {
		err = &fs.PathError{Op: "mkdir", Path: path, Err: syscall.ENOTDIR}
	}
	return err
}

// lockHome locks the directory, if it isn't yet.
func (s *Store) lockHome() (moved bool, err error) {
	home, err := os.Open(s.dir)
	if err != nil {
		return false, err
	}
	if s.home != nil && sameFile(home, s.home) {
		return false, home.Close()
	}
	if err = lock(home); err != nil {
		home.Close()
		return false, fmt.Errorf("%s: %w", s.dir, err)
	}
	s.unlock()
	s.home = home
	return true, nil
}

func (s *Store) unlock() {
	if s.home != nil {
		s.home.Close()
		s.home = nil
	}
}

func sameFile(a, b *os.File) bool {
	fa, errA := a.Stat()
	fb, errB := b.Stat()
	return errA == nil && errB == nil && os.SameFile(fa, fb)
}

// tryWrite writes a file of a size, and removes it.
func (s *Store) tryWrite(size int) error {
	path := s.temp(probeFile)
	err := create(path, make([]byte, size))
	if e := unlink(path); err == nil {
		err = e
	}
	return err
}

// create writes a file. It is not synced: if the process dies the kernel still has
// it, and after a power failure the checksums tell what is not all there.
func create(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // it is in the configured directory
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}
