package disk

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/voyo-music/caddy-voyo/internal/contain"
)

// What is not a directory, or has something else where one should be, is refused.
func TestOpenNotADirectory(t *testing.T) {
	dir := memDir(t)
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, nil, 0o600))
	for _, path := range []string{file, filepath.Join(file, "cache")} {
		_, err := Open(path, noLimit, Events{})
		if !errors.Is(err, syscall.ENOTDIR) || !strings.Contains(err.Error(), file) {
			t.Error(err)
		}
	}
	must(t, os.WriteFile(filepath.Join(dir, "7f"), nil, 0o600))
	if _, err := Open(dir, noLimit, Events{}); !errors.Is(err, syscall.ENOTDIR) || !strings.Contains(err.Error(), "7f") {
		t.Error(err)
	}
	fds := descriptors(t)
	for range 10 {
		_, _ = Open(dir, noLimit, Events{})
	}
	if n := descriptors(t); n > fds {
		t.Errorf("%d descriptors, before %d", n, fds)
	}
}

// descriptors returns how many files this process has open.
func descriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/dev/fd")
	must(t, err)
	return len(entries)
}

// Permissions of directories that are there are kept, others are the owner's only,
// also where the process leaves it to files to be careful.
func TestPermissions(t *testing.T) {
	before := syscall.Umask(0)
	defer syscall.Umask(before)
	dir := filepath.Join(memDir(t), "cache")
	must(t, os.Mkdir(dir, 0o700), os.Chmod(dir, 0o755))
	s, _ := openTest(t, dir, noLimit)
	fill(s, "x", false, 3, 10)
	must(t, s.SetNote(NewID("", "note"), []byte("note")))
	s.Flush()
	made, _ := openTest(t, filepath.Join(memDir(t), "above", "below"), noLimit)
	for _, root := range []string{dir, filepath.Dir(made.dir)} {
		files := 0
		must(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			fi, err := entry.Info()
			if err != nil {
				return err
			}
			want := fs.FileMode(0o700)
			switch {
			case path == dir:
				want = 0o755
			case !entry.IsDir():
				files++
				want = 0o600
			}
			if fi.Mode().Perm() != want {
				t.Errorf("%s: %v", path, fi.Mode())
			}
			return nil
		}))
		if root == dir && files < 4 {
			t.Errorf("only %d files are there", files)
		}
	}
}

// A directory that is removed is made again, and locked.
func TestDirectoryRemoved(t *testing.T) {
	dir := filepath.Join(memDir(t), "cache")
	s, l := openTest(t, dir, noLimit)
	o := fill(s, "x", false, 2, 10_000)
	fds := descriptors(t)
	must(t, os.RemoveAll(dir))
	if _, err := o.Open(0); !errors.Is(err, ErrNotStored) {
		t.Error(err)
	}
	fill(s, "y", false, 1, 10)
	l.wait("recovered", 1)
	if o.Has(1) {
		t.Error("it is still there")
	}
	y := fill(s, "y", false, 1, 10)
	wantSlice(t, y, 0, content(y.id, "", 0, 10))
	s.check(t)
	if n := descriptors(t); n != fds {
		t.Errorf("%d descriptors, before %d", n, fds)
	}
	if _, err := Open(dir, noLimit, Events{}); !errors.Is(err, ErrInUse) {
		t.Error(err)
	}
	// A part of it is made again, too.
	must(t, os.RemoveAll(filepath.Join(dir, temps)), os.RemoveAll(filepath.Dir(pathOf(y, 0))))
	fill(s, "z", false, 1, 10)
	l.wait("recovered", 2)
	z := fill(s, "z", false, 1, 10)
	wantSlice(t, z, 0, content(z.id, "", 0, 10))
	if _, err := y.Open(0); !errors.Is(err, ErrNotStored) {
		t.Error(err)
	}
	y.Remove()
	s.check(t)
}

// Another directory in the place of the one that was opened is listed anew.
func TestDirectoryReplaced(t *testing.T) {
	base := memDir(t)
	dir, other := filepath.Join(base, "a"), filepath.Join(base, "b")
	s, _ := openTest(t, other, noLimit)
	fill(s, "other", false, 3, 10)
	s.Close()
	s, l := openTest(t, dir, noLimit)
	o := fill(s, "x", false, 1, 10)
	must(t, os.RemoveAll(filepath.Join(other, temps)), os.RemoveAll(dir), os.Rename(other, dir))
	fill(s, "y", false, 1, 10)
	l.wait("recovered", 1)
	wantLoad(t, s, NewID("test", "other"), "other")
	if o.Has(0) {
		t.Error("it is still there")
	}
	s.check(t)
}

// A panic in the background, for instance in what is told of an event, is told of,
// and survived.
func TestPanic(t *testing.T) {
	dir := memDir(t)
	s, _ := openTest(t, dir, noLimit)
	fill(s, "x", false, 1, 10)
	s.Close()
	must(t, os.WriteFile(filepath.Join(dir, "07", "foreign"), nil, 0o600))
	l := newLog()
	events := l.events()
	events.Damaged = func(string, error) { panic("secret") }
	events.Degraded = func(err error) {
		if p, ok := errors.AsType[*contain.PanicError](err); !ok || p.Value != "secret" {
			t.Error(err)
		}
		l.addf("degraded")
	}
	s, err := open(dir, noLimit, events, quick)
	must(t, err)
	defer s.Close()
	l.wait("recovered", 1)
	if l.count("degraded") != 1 {
		t.Error(l.lines)
	}
	wantLoad(t, s, NewID("test", "x"), "x")
	fill(s, "y", false, 1, 10)
	wantLoad(t, s, NewID("test", "y"), "y")
}

// Nothing is left of a store that was closed.
func TestNothingLeft(t *testing.T) {
	dir := memDir(t)
	fds := descriptors(t)
	for range 5 {
		s, _ := openTest(t, dir, noLimit)
		o := fill(s, "x", false, 2, 10)
		wantSlice(t, o, 0, content(o.id, "", 0, 10))
		wantLoad(t, s, o.id, "x")
		flip(t, pathOf(o, 0))
		_, _ = o.Open(0)
		s.Close()
	}
	if n := descriptors(t); n > fds {
		t.Errorf("%d descriptors, before %d", n, fds)
	}
}

// A file that could not be unlinked, and was written again under its own name since,
// stays.
func TestWrittenAgain(t *testing.T) {
	s, _ := openTest(t, memDir(t), noLimit)
	o := fill(s, "x", false, 1, 10)
	s.mu.Lock()
	for _, f := range []*file{o.slices[0], o.meta} {
		again := *f
		s.bytes += again.cost()
		s.discard(&again)
	}
	s.mu.Unlock()
	s.check(t)
	wantSlice(t, wantLoad(t, s, o.id, "x"), 0, content(o.id, "", 0, 10))
}
