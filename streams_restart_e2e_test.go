package voyo_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// diskSite configures an edge that keeps everything on a disk, and little in memory.
func diskSite(a *archive, dir, slice string) string {
	return fmt.Sprintf(`voyo {
		%s
		art {
			disk %s 64MiB
		}
		stream {
			memory 8MiB
			slice %s
			disk %[2]s 64MiB
		}
	}`, template(a.URL), dir, slice)
}

// coverPath is where an edge has a song's cover.
func (s song) coverPath() string { return "/cdn/art/" + s.id }

// store has the node fetch all songs and their covers until they are on its disk.
// It skips what comes faster than the disk can write.
func (n node) store(t *testing.T, songs []song) {
	t.Helper()
	eventually(t, "the disk has it all", func() bool {
		n.mustHearAll(t, songs, 2)
		for _, s := range songs {
			n.mustGet(t, s.coverPath(), coverOf(s.id))
		}
		return n.diskHas(t, songs)
	})
}

// mustHaveAll fails the test unless the node has all songs and their covers.
func (n node) mustHaveAll(t *testing.T, songs []song) {
	t.Helper()
	for _, s := range songs {
		if !n.mustGet(t, s.coverPath(), coverOf(s.id)) {
			t.Errorf("the cover of %s is not cached", s.id)
		}
		if !n.mustHear(t, s) {
			t.Errorf("track %s is not cached", s.id)
		}
	}
}

// What is on disk outlives a restart, and is there from the first request on.
func TestStreamsRestart(t *testing.T) {
	songs := newSongs(0, 20, 1<<20)
	a := newArchive(t, songs...)
	dir := t.TempDir()
	c := startChild(t, diskSite(a, dir, "64KiB"))
	c.store(t, songs)
	for _, again := range []struct{ name, slice string }{
		{"as it was", "64KiB"},
		{"larger slices", "256KiB"},
		{"smaller slices", "16KiB"},
	} {
		t.Run(again.name, func(t *testing.T) {
			c.stop(t)
			c.configure(t, diskSite(a, dir, again.slice))
			c.start(t)
			a.reset()
			s := songs[len(songs)-1]
			h, err := c.hearRange(t.Context(), s, 300_000, 700_000)
			if err != nil || !h.hit() {
				t.Errorf("the first request: %q, %v", h.header.Get("Cache-Status"), err)
			}
			c.mustHaveAll(t, songs)
			a.mustRest(t)
		})
	}
}

// Two nodes do not share a directory.
func TestStreamsDirectoryInUse(t *testing.T) {
	songs := newSongs(0, 2, 1<<20)
	a := newArchive(t, songs...)
	dir := t.TempDir()
	c := startChild(t, diskSite(a, dir, "64KiB"))
	c.store(t, songs)
	second := newChild(t, diskSite(a, dir, "64KiB"))
	if said := second.mustNotStart(t); !strings.Contains(said, dir) || !strings.Contains(said, "in use") {
		t.Errorf("it should have said what is wrong with %s:\n%s", dir, said)
	}
	// the first one is none the worse
	a.reset()
	if hits := c.mustHearAll(t, songs, 1); hits != len(songs) {
		t.Errorf("%d hits of %d", hits, len(songs))
	}
	a.mustRest(t)
	c.stop(t)
	second.start(t)
	if hits := second.mustHearAll(t, songs, 1); hits != len(songs) {
		t.Errorf("%d hits of %d by the next one", hits, len(songs))
	}
	a.mustRest(t)
}

// What was done to the files shows in no byte that is served: what is not as it
// was is fetched again.
func TestStreamsDamagedFiles(t *testing.T) {
	for _, c := range []struct {
		name   string
		damage func(t *testing.T, path string)
		stuck  bool // nothing can be written in its place
	}{
		{name: "first byte", damage: func(t *testing.T, path string) { flip(t, path, 0) }},
		{name: "last byte", damage: func(t *testing.T, path string) { flip(t, path, -1) }},
		{name: "cut short", damage: func(t *testing.T, path string) { resize(t, path, -1) }},
		{name: "emptied", damage: func(t *testing.T, path string) { must(t, os.Truncate(path, 0)) }},
		{name: "longer", damage: func(t *testing.T, path string) { resize(t, path, 1) }},
		{name: "removed", damage: func(t *testing.T, path string) { must(t, os.Remove(path)) }},
		{name: "a directory", damage: func(t *testing.T, path string) { must(t, os.Remove(path)); must(t, os.Mkdir(path, 0o700)) }, stuck: true},
		{name: "a dangling link", damage: func(t *testing.T, path string) { must(t, os.Remove(path)); must(t, os.Symlink("nowhere", path)) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			songs := newSongs(0, 10, 1<<20)
			a := newArchive(t, songs...)
			dir := t.TempDir()
			site := diskSite(a, dir, "64KiB")
			e := startEdge(t, site)
			hearAll := func() {
				t.Helper()
				e.mustHearAll(t, songs, 2)
				for _, s := range songs {
					e.mustGet(t, s.coverPath(), coverOf(s.id))
				}
			}
			damageAll := func() {
				t.Helper()
				files := sliceFiles(t, dir)
				for _, path := range files {
					c.damage(t, path)
				}
				t.Logf("%d files damaged", len(files))
				a.reset()
			}
			e.store(t, songs)
			damageAll() // while it runs, with some in memory
			hearAll()
			if a.sent.Load() == 0 {
				t.Error("nothing was fetched again after damage while it ran")
			}
			if !c.stuck {
				e.store(t, songs)
			}
			e.stop(t)
			damageAll()
			must(t, e.load(t, site))
			hearAll()
			// a slice that is read again while it is being fetched again may come twice
			if n, all := a.sent.Load(), totalSize(songs); n < all || n > all+all/100 {
				t.Errorf("%d bytes were fetched again after damage while it was stopped, of %d", n, totalSize(songs))
			}
			if c.stuck {
				return
			}
			e.store(t, songs)
			e.stop(t)
			must(t, e.load(t, site))
			a.reset()
			e.mustHaveAll(t, songs)
			a.mustRest(t)
		})
	}
}

// Slices that have changed places are as wrong as any others.
func TestStreamsSwappedFiles(t *testing.T) {
	songs := newSongs(0, 10, 1<<20)
	a := newArchive(t, songs...)
	dir := t.TempDir()
	e := startEdge(t, diskSite(a, dir, "64KiB"))
	e.store(t, songs)
	e.stop(t)
	files := sliceFiles(t, filepath.Join(dir, "stream"))
	for i := 0; i+1 < len(files); i += 2 {
		aside := files[i] + ".aside"
		must(t, os.Rename(files[i], aside))
		must(t, os.Rename(files[i+1], files[i]))
		must(t, os.Rename(aside, files[i+1]))
	}
	must(t, e.load(t, diskSite(a, dir, "64KiB")))
	a.reset()
	e.mustHearAll(t, songs, 2)
	if n := a.sent.Load(); n < totalSize(songs)*9/10 {
		t.Errorf("only %d bytes of %d were fetched again", n, totalSize(songs))
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// flip changes a byte of a file; a negative offset is one from the end.
func flip(t *testing.T, path string, at int) {
	t.Helper()
	b, err := os.ReadFile(path)
	must(t, err)
	if at < 0 {
		at += len(b)
	}
	b[at]++ // doing it again does not undo it
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt(b[at:at+1], int64(at))
	must(t, err)
	must(t, f.Close())
}

func resize(t *testing.T, path string, by int64) {
	t.Helper()
	info, err := os.Stat(path)
	must(t, err)
	must(t, os.Truncate(path, info.Size()+by))
}
