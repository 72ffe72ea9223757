package disk

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestPurge removes objects: when it returns there is no file of them, whatever was
// known, written or under way.
func TestPurge(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, 10<<20, Events{})
	if err != nil {
		t.Fatal(err)
	}
	ids := []ID{NewID("n", "a"), NewID("n", "b")}
	put := func(id ID) *Object {
		o := s.Create(id, []byte("meta"), false)
		o.Put(Slice{0, []byte("one")}, Slice{1, []byte("two")})
		return o
	}
	count := func(id ID) (n int) {
		t.Helper()
		files, err := filepath.Glob(filepath.Join(dir, shard(id[0]), "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if id2, ok := parse(filepath.Base(f)); ok && id2.id == id {
				n++
			}
		}
		return n
	}
	for s.Stats().Loading {
		s.Flush()
	}
	for range 2 { // what is being written, and what is found at the start
		for _, id := range ids {
			put(id)
		}
		if err := s.Purge(ids[0]); err != nil {
			t.Fatal(err)
		}
		s.Flush()
		if count(ids[0]) != 0 || count(ids[1]) != 3 {
			t.Errorf("%d and %d files", count(ids[0]), count(ids[1]))
		}
		put(ids[0])
		s.Flush()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if s, err = Open(dir, 10<<20, Events{}); err != nil {
			t.Fatal(err)
		}
		if err := s.Purge(ids[0]); err != nil { // it may not be listed yet
			t.Fatal(err)
		}
		if count(ids[0]) != 0 || count(ids[1]) != 3 {
			t.Errorf("after a restart: %d and %d files", count(ids[0]), count(ids[1]))
		}
		if _, _, err := s.Load(ids[1]); err != nil {
			t.Error(err)
		}
		for s.Stats().Loading {
			s.Flush()
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestNote keeps notes by ID, apart from objects.
func TestNote(t *testing.T) {
	dir := t.TempDir()
	s, err := Open(dir, 10<<20, Events{})
	if err != nil {
		t.Fatal(err)
	}
	a, b := NewID("a", ""), NewID("b", "")
	check := func(id ID, want string) {
		t.Helper()
		if got, err := s.Note(id); err != nil || string(got) != want {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	check(a, "")
	for _, text := range []string{"one", "two"} {
		if err := s.SetNote(a, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.SetNote(a, bytes.Repeat([]byte("x"), maxNote+1)); err == nil {
		t.Error("a note that is too large was taken")
	}
	check(a, "two")
	check(b, "")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	damaged := 0
	if s, err = Open(dir, 10<<20, Events{Damaged: func(string, error) { damaged++ }}); err != nil {
		t.Fatal(err)
	}
	for s.Stats().Loading {
		s.Flush()
	}
	check(a, "two")
	if err := s.Close(); err != nil || damaged != 0 {
		t.Errorf("%v; %d files count as damaged", err, damaged)
	}
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if strings.HasSuffix(f.Name(), ".new") {
			t.Errorf("%s is left", f.Name())
		}
	}
}
