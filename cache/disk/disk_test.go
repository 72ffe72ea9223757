package disk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if what := os.Getenv(childEnv); what != "" {
		os.Exit(child(what))
	}
	goleak.VerifyTestMain(m)
}

// quick is the tuning of tests that do not want to wait.
var quick = tuning{backoff: time.Millisecond, touch: time.Hour, grace: 5 * time.Second}

// log is the events of a store, as text.
type log struct {
	mu    sync.Mutex
	cond  *sync.Cond
	lines []string
}

func newLog() *log {
	l := &log{}
	l.cond = sync.NewCond(&l.mu)
	return l
}

func (l *log) addf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
	l.cond.Broadcast()
}

func (l *log) events() Events {
	return Events{
		Degraded:  func(err error) { l.addf("degraded: %v", err) },
		Recovered: func() { l.addf("recovered") },
		Damaged:   func(name string, err error) { l.addf("damaged: %s: %v", filepath.Base(name), err) },
	}
}

// count returns how many lines have a prefix.
func (l *log) count(prefix string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.countLocked(prefix)
}

func (l *log) countLocked(prefix string) (n int) {
	for _, line := range l.lines {
		if strings.HasPrefix(line, prefix) {
			n++
		}
	}
	return n
}

// wait waits until n lines have a prefix.
func (l *log) wait(prefix string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for l.countLocked(prefix) < n {
		l.cond.Wait()
	}
}

// memDir returns a directory in memory, where there is one, for tests that need
// many: on a disk the shards alone take longer than the test.
func memDir(t testing.TB) string {
	t.Helper()
	const mem = "/dev/shm"
	if _, err := os.Stat(mem); err != nil {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(mem, "voyo-disk-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

const noLimit = 1 << 40

func openTest(t *testing.T, dir string, limit int64) (*Store, *log) {
	t.Helper()
	return openTuned(t, dir, limit, quick)
}

func openTuned(t *testing.T, dir string, limit int64, tune tuning) (*Store, *log) {
	t.Helper()
	l := newLog()
	s, err := open(dir, limit, l.events(), tune)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, l
}

// content returns the only right bytes of a slice.
func content(id ID, version string, i int64, n int) []byte {
	var seed [32]byte
	copy(seed[:16], id[:])
	copy(seed[16:24], version)
	binary.BigEndian.PutUint64(seed[24:], uint64(i))
	b := make([]byte, n)
	_, _ = rand.NewChaCha8(seed).Read(b)
	return b
}

func read(t *testing.T, o *Object, i int64) ([]byte, error) {
	t.Helper()
	f, err := o.Open(i)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		t.Error(err)
	}
	return b, nil
}

func wantSlice(t *testing.T, o *Object, i int64, want []byte) {
	t.Helper()
	if !o.Has(i) {
		t.Errorf("slice %d is not there", i)
	}
	if got, err := read(t, o, i); err != nil || !bytes.Equal(got, want) {
		t.Errorf("slice %d: %d bytes, %v; want %d", i, len(got), err, len(want))
	}
}

func wantLoad(t *testing.T, s *Store, id ID, meta string) *Object {
	t.Helper()
	if !s.Known(id) {
		t.Errorf("object %x is not known", id)
	}
	o, got, err := s.Load(id)
	if err != nil || string(got) != meta {
		t.Fatalf("loaded %q, %v; want %q", got, err, meta)
	}
	return o
}

func wantGone(t *testing.T, s *Store, id ID) {
	t.Helper()
	if _, _, err := s.Load(id); !errors.Is(err, ErrNotStored) {
		t.Errorf("object %x: %v; want it not to be there", id, err)
	}
	if s.Known(id) {
		t.Errorf("object %x is known", id)
	}
}

// onDisk returns what the files in a directory take, and how many are in it.
func onDisk(dir string) (n int64, files int) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			n += blockSize
		} else if err == nil {
			if fi, e := d.Info(); e == nil { // else it has just gone
				n += cost(fi.Size())
				files++
			}
		}
		return nil
	})
	return n, files
}

// check compares the figures with the index, and with the disk.
func (s *Store) check(t *testing.T) {
	t.Helper()
	s.Flush()
	st := s.Stats()
	n, files := onDisk(s.dir)
	// While the disk has failed, what the worker probes it with comes and goes.
	for range 1000 {
		if s.Err() == nil || st.Bytes == n && st.Slices+st.Objects == files {
			break
		}
		s.Flush()
		st = s.Stats()
		n, files = onDisk(s.dir)
	}
	if st.Bytes != n || st.Slices+st.Objects != files {
		t.Errorf("%+v; on disk are %d bytes in %d files", st, n, files)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	objects, parts := 0, 0
	for id, o := range s.objects {
		if o.gone || o.id != id {
			t.Errorf("object %x is in the index", id)
		}
		if o.meta != nil {
			objects++
		}
		if idle := s.idle.Contains(id); idle != (o.meta == nil && len(o.slices) == 0) {
			t.Errorf("object %x is idle: %v", id, idle)
		}
		parts += len(o.slices)
	}
	for o := range s.held {
		if !o.gone || o.holds == 0 {
			t.Errorf("object %x is held by nobody", o.id)
		}
		parts += len(o.slices)
	}
	used := 0
	for f := s.used.root.next; f != &s.used.root; f = f.next {
		if f.dead || f.live() != f || f.next.prev != f || f.index < 0 && len(f.o.slices) > 0 {
			t.Errorf("%s is in the list", f.ident())
		}
		used++
	}
	if objects != st.Objects || parts != st.Slices || used < parts || used > parts+objects || s.queued != 0 || len(s.stuck)+len(s.trash) != 0 {
		t.Errorf("%+v; counted %d objects, %d slices, %d used, %d bytes queued", st, objects, parts, used, s.queued)
	}
}

func TestRoundTrip(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b")
	s, l := openTest(t, dir, noLimit)
	id := NewID("tracks", "1")
	wantGone(t, s, id)
	o := s.Create(id, []byte("meta"), false)
	if o.Has(0) || o.Next(0) != -1 {
		t.Error("a new object has a slice")
	}
	for _, i := range []int64{3, 0, 1 << 59} {
		o.Put(Slice{i, content(id, "", i, 5000+int(i%7))})
	}
	o.Put(Slice{0, []byte("stays as it is")})
	s.Flush()
	test := func(s *Store, o *Object) {
		t.Helper()
		for _, i := range []int64{3, 0, 1 << 59} {
			wantSlice(t, o, i, content(id, "", i, 5000+int(i%7)))
		}
		for i, want := range map[int64]int64{-1: 0, 0: 0, 1: 3, 3: 3, 4: 1 << 59, 1<<59 + 1: -1} {
			if got := o.Next(i); got != want {
				t.Errorf("after %d comes %d, want %d", i, got, want)
			}
		}
		if _, err := o.Open(1); !errors.Is(err, ErrNotStored) {
			t.Error(err)
		}
		s.check(t)
	}
	test(s, o)
	if wantLoad(t, s, id, "meta") != o {
		t.Error("another object was loaded")
	}
	o.SetMeta([]byte("newer"))
	wantLoad(t, s, id, "newer")
	s.Flush()
	wantLoad(t, s, id, "newer")
	s.Close()
	test2 := s.Stats()
	if test2.Written != 3 || test2.Skipped != 0 || test2.Slices != 3 || test2.Objects != 1 {
		t.Errorf("%+v", test2)
	}

	s, _ = openTest(t, dir, noLimit)
	test(s, wantLoad(t, s, id, "newer"))
	o = wantLoad(t, s, id, "newer")
	o.Put(Slice{4, []byte("four")})
	s.Flush()
	wantSlice(t, o, 4, []byte("four"))
	o.Remove()
	wantGone(t, s, id)
	if o.Has(0) || o.Next(0) != -1 {
		t.Error("a removed object has a slice")
	}
	o.Put(Slice{5, []byte("five")})
	o.SetMeta([]byte("more"))
	s.check(t)
	if st := s.Stats(); st.Bytes != layout || st.Slices != 0 || st.Objects != 0 {
		t.Errorf("%+v", st)
	}
	if len(l.lines) > 0 {
		t.Error(l.lines)
	}
}
