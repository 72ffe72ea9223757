package disk

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// rewrite changes a file in its place, in a way that its times show.
func rewrite(t *testing.T, path string, change func([]byte) []byte) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, err := ctime(path)
	if err != nil {
		t.Fatal(err)
	}
	for after := before; after == before; { // the clock of a file system is slow
		if err = os.WriteFile(path, change(slices.Clone(b)), 0o600); err != nil {
			t.Fatal(err)
		}
		if after, err = ctime(path); err != nil {
			t.Fatal(err)
		}
	}
}

func flip(t *testing.T, path string) {
	t.Helper()
	rewrite(t, path, func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
}

// damages are what may become of a slice's file. other is another one's.
var damages = map[string]func(t *testing.T, path, other string){
	"flipped":   func(t *testing.T, path, _ string) { flip(t, path) },
	"truncated": func(t *testing.T, path, _ string) { rewrite(t, path, func(b []byte) []byte { return b[:len(b)-1] }) },
	"grown":     func(t *testing.T, path, _ string) { rewrite(t, path, func(b []byte) []byte { return append(b, 0) }) },
	"emptied":   func(t *testing.T, path, _ string) { rewrite(t, path, func([]byte) []byte { return nil }) },
	"swapped": func(t *testing.T, path, other string) {
		must(t, os.Rename(path, path+"x"), os.Rename(other, path), os.Rename(path+"x", other))
	},
	"removed":   func(t *testing.T, path, _ string) { must(t, os.Remove(path)) },
	"directory": func(t *testing.T, path, _ string) { must(t, os.Remove(path), os.Mkdir(path, 0o700)) },
	"symlink": func(t *testing.T, path, other string) {
		must(t, os.Remove(path), os.Symlink(other, path))
	},
	"link to itself": func(t *testing.T, path, _ string) { must(t, os.Rename(path, path+"x"), os.Symlink(path+"x", path)) },
	"pipe":           func(t *testing.T, path, _ string) { must(t, os.Remove(path), syscall.Mkfifo(path, 0o600)) },
	"shard is a file": func(t *testing.T, path, _ string) {
		shard := filepath.Dir(path)
		must(t, os.RemoveAll(shard), os.WriteFile(shard, nil, 0o600))
	},
}

func must(t *testing.T, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// Whatever has become of a slice's file, before or after it was first opened, with
// or without a restart: no wrong byte is read, and it can be put again.
func TestDamage(t *testing.T) {
	for name, damage := range damages {
		for _, when := range []string{"written", "opened", "restarted", "restarted and opened"} {
			t.Run(name+" "+when, func(t *testing.T) {
				dir := memDir(t)
				s, l := openTest(t, dir, noLimit)
				o := fill(s, "x", false, 2, 5000)
				if strings.HasPrefix(when, "restarted") {
					s.Close()
					s, l = openTest(t, dir, noLimit)
					o = wantLoad(t, s, o.id, "x")
					s.Flush()
				}
				if strings.HasSuffix(when, "opened") {
					wantSlice(t, o, 0, content(o.id, "", 0, 5000))
					wantSlice(t, o, 1, content(o.id, "", 1, 5000))
				}
				damage(t, pathOf(o, 0), pathOf(o, 1))
				_, err := o.Open(0)
				gone := name == "removed" || name == "shard is a file"
				if !errors.Is(err, ErrDamaged) && !gone || gone && !errors.Is(err, ErrNotStored) {
					t.Errorf("%v", err)
				}
				if o.Has(0) {
					t.Error("it is still there")
				}
				if got := l.count("damaged"); got != 1 && !gone || got != 0 && gone {
					t.Error(l.lines)
				}
				if b, err := read(t, o, 1); err == nil && !bytes.Equal(b, content(o.id, "", 1, 5000)) {
					t.Error("wrong bytes")
				}
				if name == "shard is a file" {
					return
				}
				s.Flush()
				o.Put(Slice{0, content(o.id, "", 0, 5000)})
				s.Flush()
				if name == "directory" {
					if o.Has(0) || s.Err() != nil {
						t.Error("a directory is in its place")
					}
					return
				}
				wantSlice(t, o, 0, content(o.id, "", 0, 5000))
				if name != "link to itself" { // it has left a foreign file
					s.check(t)
				}
			})
		}
	}
}

// The last slice of an object that is damaged can be put again.
func TestDamageOfTheLastSlice(t *testing.T) {
	dir := memDir(t)
	s, _ := openTest(t, dir, noLimit)
	o := fill(s, "x", false, 1, 5000)
	flip(t, pathOf(o, 0))
	if _, err := o.Open(0); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
	s.check(t)
	o.Put(Slice{0, []byte("again")})
	s.check(t)
	wantSlice(t, o, 0, []byte("again"))
	flip(t, pathOf(o, 0))
	if _, err := o.Open(0); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
	o.SetMeta([]byte("y"))
	s.check(t)
	// If it is not, what is left of it is evicted in its turn.
	fill(s, "y", false, 1, 10)
	s.SetLimit(s.Stats().Bytes - 1)
	s.check(t)
	wantGone(t, s, o.id)
	if st := s.Stats(); st.Objects > 1 || st.Damaged != 2 {
		t.Errorf("%+v", st)
	}
}

func TestDamageOfAWhole(t *testing.T) {
	s, _ := openTest(t, memDir(t), noLimit)
	o := fill(s, "x", true, 3, 5000)
	flip(t, pathOf(o, 1))
	if _, err := o.Open(1); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
	wantGone(t, s, o.id)
	s.check(t)
}

func TestDamageOfMetaData(t *testing.T) {
	for name, damage := range damages {
		t.Run(name, func(t *testing.T) {
			s, l := openTest(t, memDir(t), noLimit)
			o := fill(s, "x", false, 1, 10)
			other := fill(s, "y", false, 1, 10)
			damage(t, metaPathOf(o), metaPathOf(other))
			_, _, err := s.Load(o.id)
			gone := name == "removed" || name == "shard is a file"
			if !errors.Is(err, ErrDamaged) && !gone || gone && !errors.Is(err, ErrNotStored) {
				t.Error(err)
			}
			wantGone(t, s, o.id)
			if got := l.count("damaged"); got != 1 && !gone {
				t.Error(l.lines)
			}
			s.Flush()
			if _, meta, err := s.Load(other.id); err == nil && string(meta) != "y" {
				t.Errorf("loaded %q", meta)
			}
		})
	}
}

// A file that is opened stays readable, whatever becomes of the object, and takes
// its room until it is closed for the last time.
func TestOpenFileStays(t *testing.T) {
	s, _ := openTest(t, memDir(t), noLimit)
	o := fill(s, "x", false, 1, 5000)
	f, err := o.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	again, err := o.Open(0)
	if err != nil {
		t.Fatal(err)
	}
	o.Remove()
	s.Flush()
	again.Close()
	if got := s.Stats().Bytes; got != layout+cost(5000) {
		t.Errorf("%d bytes are counted while a file is open, not %d", got, layout+cost(5000))
	}
	b := make([]byte, 6000)
	if n, _ := f.Read(b); !bytes.Equal(b[:n], content(o.id, "", 0, 5000)) {
		t.Error("wrong bytes")
	}
	f.Close()
	s.check(t)
}

// Files that are not the store's are left alone, not counted, and told of once for
// each directory.
func TestForeignFiles(t *testing.T) {
	dir := memDir(t)
	s, _ := openTest(t, dir, noLimit)
	o := fill(s, "x", false, 1, 10)
	before := s.Stats().Bytes
	path := pathOf(o, 0)
	s.Close()
	name := ident{id: idIn(0x22, ""), version: 1, index: 1, size: 1}.String()
	meta := ident{id: idIn(0x22, ""), version: 1, index: metaIndex(0)}.String()
	files := []string{
		"notes.txt", "tmp/notes.txt", "11/notes.txt", "11/" + filepath.Base(path) + "~", "11/" + strings.ToUpper(filepath.Base(path)),
		"11/" + name, // in a wrong directory
		"zz/file",
	}
	for _, f := range files {
		f = filepath.Join(dir, f)
		_ = os.Mkdir(filepath.Dir(f), 0o700)
		must(t, os.WriteFile(f, []byte("mine"), 0o600))
	}
	must(t, os.Mkdir(filepath.Join(dir, "22", name), 0o700), os.Symlink(path, filepath.Join(dir, "22", meta)))

	s, l := openTest(t, dir, noLimit)
	s.Flush()
	if st := s.Stats(); st.Bytes != before || st.Slices != 1 || st.Damaged != 0 {
		t.Errorf("%+v, before %d bytes", st, before)
	}
	if l.count("damaged: 11: ") != 1 || l.count("damaged: 22: 2 files") != 1 || l.count("damaged") != 2 {
		t.Error(l.lines)
	}
	s.SetLimit(0)
	s.Close()
	for _, f := range files {
		if b, err := os.ReadFile(filepath.Join(dir, f)); err != nil || string(b) != "mine" {
			t.Error(f, err)
		}
	}
	for _, f := range []string{name, meta} {
		if _, err := os.Lstat(filepath.Join(dir, "22", f)); err != nil {
			t.Error(err)
		}
	}
	if st := s.Stats(); st.Slices != 0 || st.Bytes != layout {
		t.Errorf("%+v", st)
	}
}

// A process that has run out of descriptors does not lose what it has stored.
func TestOutOfDescriptors(t *testing.T) {
	s, l := openTest(t, memDir(t), noLimit)
	o := fill(s, "x", false, 1, 10)
	f := o.slices[0]
	for _, err := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM} {
		if got := s.failed(f, fmt.Errorf("open: %w", err)); !errors.Is(got, err) || errors.Is(got, ErrDamaged) {
			t.Error(got)
		}
	}
	wantSlice(t, o, 0, content(o.id, "", 0, 10))
	if got := s.failed(f, syscall.EIO); !errors.Is(got, syscall.EIO) || o.Has(0) || l.count("damaged") != 1 {
		t.Error(got, l.lines)
	}
	s.check(t)
}
