package disk

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// mount returns a file system of its own, of so many KiB.
func mount(t *testing.T, kib int) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dk", kib)); err != nil {
		t.Fatalf("the test must be run as root, where file systems may be mounted: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// occupy fills the disk.
func occupy(t *testing.T, dir string) (path string) {
	t.Helper()
	path = filepath.Join(dir, "full")
	f, err := os.Create(path)
	must(t, err)
	defer f.Close()
	for n := 1 << 20; n > 0; n /= 2 {
		for err = error(nil); err == nil; {
			_, err = f.Write(make([]byte, n))
		}
		if !isFull(err) {
			t.Fatal(err)
		}
	}
	return path
}

// A full disk is got out of the way of: what is there is read, nothing is written,
// until there is room again.
func TestFullDisk(t *testing.T) {
	dir := mount(t, 8<<10)
	s, l := openTest(t, filepath.Join(dir, "cache"), noLimit)
	o := fill(s, "x", false, 4, 100_000)
	full := occupy(t, dir)
	for i := range int64(3) {
		o.Put(Slice{10 + i, make([]byte, 100_000)})
		s.Flush()
	}
	l.wait("degraded", 1)
	if err := s.Err(); !errors.Is(err, syscall.ENOSPC) {
		t.Error(err)
	}
	fill(s, "whole", true, 3, 100_000)
	if st := s.Stats(); st.Skipped != 6 || st.Slices != 4 {
		t.Errorf("%+v", st)
	}
	for i := range int64(4) {
		wantSlice(t, o, i, content(o.id, "", i, 100_000))
	}
	if o.Next(4) != -1 {
		t.Error("something was written")
	}
	s.check(t)
	must(t, os.Remove(full))
	l.wait("recovered", 1)
	if s.Err() != nil || l.count("degraded") != 1 || l.count("") != 2 {
		t.Error(s.Err(), l.lines)
	}
	o.Put(Slice{10, content(o.id, "", 10, 100_000)})
	s.check(t)
	wantSlice(t, o, 10, content(o.id, "", 10, 100_000))
	occupyTwice(t, s, l, dir)
}

// A disk that fills up in the middle of an object that is of use as a whole only.
func occupyTwice(t *testing.T, s *Store, l *log, dir string) {
	t.Helper()
	full := occupy(t, dir)
	must(t, os.Truncate(full, fileSize(t, full)-250_000))
	o := fill(s, "whole", true, 3, 100_000)
	l.wait("degraded", 2)
	wantGone(t, s, o.id)
	s.check(t)
	o = s.Create(NewID("", "removed while degraded"), nil, false)
	o.Remove()
	wantLoad(t, s, NewID("test", "x"), "x").Remove()
	s.check(t)
	must(t, os.Remove(full))
	l.wait("recovered", 2)
}

func fileSize(t *testing.T, path string) int64 {
	t.Helper()
	fi, err := os.Stat(path)
	must(t, err)
	return fi.Size()
}

// A store is opened on a full disk, too, with what is there or without.
func TestOpenOnFullDisk(t *testing.T) {
	for _, what := range []string{"nothing", "a directory", "a cache"} {
		t.Run(what, func(t *testing.T) {
			dir := mount(t, 4<<10)
			home := filepath.Join(dir, "cache")
			switch what {
			case "a directory":
				must(t, os.Mkdir(home, 0o700))
			case "a cache":
				s, _ := openTest(t, home, noLimit)
				fill(s, "x", false, 1, 100_000)
				s.Close()
			}
			full := occupy(t, dir)
			use := inodes(t, dir)
			s, l := openTest(t, home, noLimit)
			s.Flush()
			if what == "a cache" {
				wantSlice(t, wantLoad(t, s, NewID("test", "x"), "x"), 0, content(NewID("test", "x"), "", 0, 100_000))
			}
			fill(s, "y", false, 1, 100_000)
			l.wait("degraded", 1)
			use()
			must(t, os.Remove(full))
			l.wait("recovered", 1)
			fill(s, "y", false, 1, 100_000)
			wantSlice(t, wantLoad(t, s, NewID("test", "y"), "y"), 0, content(NewID("test", "y"), "", 0, 100_000))
			s.check(t)
		})
	}
}

// inodes uses up what files a small file system can have, until the function that
// it returns is called.
func inodes(t *testing.T, dir string) (free func()) {
	t.Helper()
	must(t, unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "nr_inodes=600"))
	many := filepath.Join(dir, "many")
	must(t, os.Mkdir(many, 0o700))
	for i := 0; ; i++ {
		f, err := os.Create(filepath.Join(many, fmt.Sprint(i)))
		if isFull(err) {
			break
		}
		must(t, err)
		f.Close()
	}
	return func() { must(t, os.RemoveAll(many)) }
}

// A disk that is read-only for a while, as after an error, is read.
func TestReadOnlyDisk(t *testing.T) {
	dir := mount(t, 8<<10)
	home := filepath.Join(dir, "cache")
	s, l := openTest(t, home, noLimit)
	o := fill(s, "x", false, 4, 10_000)
	removed := fill(s, "removed", false, 2, 10_000)
	must(t, unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	before := s.Stats().Bytes
	removed.Remove() // it can't be unlinked, so it counts
	wantGone(t, s, removed.id)
	o.Put(Slice{10, make([]byte, 10_000)})
	s.Flush()
	l.wait("degraded", 1)
	if st := s.Stats(); !errors.Is(s.Err(), syscall.EROFS) || st.Bytes != before {
		t.Errorf("%v, %+v", s.Err(), st)
	}
	s.SetLimit(layout)
	s.Flush()
	s.SetLimit(noLimit)
	left := 0
	for i := range int64(4) {
		if b, err := read(t, o, i); err == nil && len(b) == 10_000 {
			left++
		}
	}
	if left < 2 {
		t.Error("all was evicted, in vain")
	}
	if _, err := Open(filepath.Join(dir, "other"), noLimit, Events{}); !errors.Is(err, syscall.EROFS) {
		t.Error(err)
	}
	if n := s.Stats().Bytes; n != before {
		t.Errorf("%d bytes, before %d", n, before)
	}
	must(t, unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, ""))
	l.wait("recovered", 1)
	for len(stuckFiles(s)) > 0 {
		time.Sleep(time.Millisecond)
	}
	s.check(t)
	o.Put(Slice{11, []byte("x")})
	s.check(t)
	wantSlice(t, o, 11, []byte("x"))
}

func stuckFiles(s *Store) []*file {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stuck
}

// A read-only directory is no place for a cache.
func TestOpenReadOnly(t *testing.T) {
	dir := mount(t, 8<<10)
	s, _ := openTest(t, dir, noLimit)
	s.Close()
	must(t, unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	if _, err := Open(dir, noLimit, Events{}); !errors.Is(err, syscall.EROFS) {
		t.Error(err)
	}
}

// The directory never takes more than the limit, whatever is written. A file system
// of its own says what it takes at one moment, where a walk would not.
func TestHardLimit(t *testing.T) {
	dir := mount(t, 64<<10)
	const limit = layout + 2<<20
	s, _ := openTest(t, dir, limit)
	s.Flush()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			var st unix.Statfs_t
			if err := unix.Statfs(dir, &st); err != nil {
				t.Error(err)
			}
			if n := int64(st.Blocks-st.Bfree)*st.Bsize + layout; n > limit {
				t.Errorf("%d bytes on the disk, %d too many", n, n-limit)
				return
			}
			select {
			case <-stop:
				return
			default:
			}
		}
	})
	rnd := rand.New(rand.NewPCG(1, 2))
	data := make([]byte, 1<<20)
	put := 0
	for i := range 40 {
		o := s.Create(NewID("", fmt.Sprint(i)), data[:rnd.IntN(9000)], i%4 == 0)
		if o.whole() {
			o.Put(Slice{0, data[:rnd.IntN(len(data))]}, Slice{1, data[:rnd.IntN(len(data))]})
			s.Flush()
		}
		for j := range 8 {
			n := rnd.IntN(300_000)
			o.Put(Slice{int64(j), data[:n]})
			put += n
			s.Flush()
		}
	}
	if put < 10*limit {
		t.Errorf("only %d bytes were put", put)
	}
	s.check(t)
	close(stop)
	wg.Wait()
	if st := s.Stats(); st.Bytes < limit-2<<20 || st.Evicted == 0 || st.Slices == 0 {
		t.Errorf("%+v", st)
	}
}

// What could not be written in full leaves nothing behind.
func TestFullDiskLeavesNothing(t *testing.T) {
	dir := mount(t, 4<<10)
	tune := quick
	tune.backoff = time.Hour
	s, l := openTuned(t, filepath.Join(dir, "cache"), noLimit, tune)
	fill(s, "x", false, 1, 10)
	full := occupy(t, dir)
	must(t, os.Truncate(full, fileSize(t, full)-100_000))
	fill(s, "y", false, 1, 200_000)
	l.wait("degraded", 1)
	s.check(t)
}
