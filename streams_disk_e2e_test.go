package voyo_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// A disk that fails while the edge runs: it steps aside, says so, serves on, and
// writes again when it can.
func TestStreamsFailingDisk(t *testing.T) {
	const size = 1 << 20
	for _, c := range []struct {
		name, reason string
		fail, heal   func(t *testing.T, dir string)
	}{
		{"full", "no space left on device", fillUp, func(t *testing.T, dir string) {
			must(t, os.Remove(filepath.Join(dir, "ballast")))
		}},
		{"read-only", "read-only file system", func(t *testing.T, dir string) { remount(t, dir, unix.MS_RDONLY) }, func(t *testing.T, dir string) {
			remount(t, dir, 0)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			songs := newSongs(0, 60, size)
			a := newArchive(t, songs...)
			disk := mountMemory(t, 64<<20)
			e := startEdge(t, fmt.Sprintf("voyo {\n%s\nstream {\nmemory 2MiB\nslice 64KiB\ndisk %s 256MiB\n}\n}", template(a.URL), disk))
			early, during, late := songs[:20], songs[20:40], songs[40:]
			e.store(t, early)
			if got := e.condition(t); got.Status != "healthy" {
				t.Fatalf("before anything has failed: %+v", got)
			}

			c.fail(t, disk)
			e.mustHearAll(t, during, 2)
			eventually(t, "the edge is degraded", func() bool { return e.condition(t).Status == "degraded" })
			if got := e.condition(t); got.code != 503 || len(got.Reasons) != 1 || got.Reasons[0] != "stream disk: "+c.reason {
				t.Errorf("degraded: %+v", got)
			}
			e.mustHearAll(t, during, 2)
			a.reset()
			if hits := e.mustHearAll(t, early, 2); hits != len(early) {
				t.Errorf("%d hits of %d out of what is on the disk", hits, len(early))
			}
			a.mustRest(t)

			c.heal(t, disk)
			eventually(t, "the edge is healthy", func() bool { return e.condition(t).Status == "healthy" })
			files, _ := storedSlices(t, disk)
			e.mustHearAll(t, late, 1)
			eventually(t, "slices are written again", func() bool {
				now, _ := storedSlices(t, disk)
				return now > files
			})
			log := e.logged(t)
			if n := strings.Count(log, "disk failed"); n != 1 || !strings.Contains(log, c.reason) {
				t.Errorf("the failure is logged %d times", n)
			}
			if n := strings.Count(log, "disk works again"); n != 1 {
				t.Errorf("the recovery is logged %d times", n)
			}
		})
	}
}

// An edge comes up with a disk that is full, and serves.
func TestStreamsFullDiskAtStart(t *testing.T) {
	songs := newSongs(0, 10, 1<<20)
	a := newArchive(t, songs...)
	disk := mountMemory(t, 8<<20)
	fillUp(t, disk)
	e := startEdge(t, fmt.Sprintf("voyo {\n%s\nstream {\nmemory 2MiB\nslice 64KiB\ndisk %s 256MiB\n}\n}", template(a.URL), disk))
	e.mustHearAll(t, songs, 2)
	eventually(t, "the edge is degraded", func() bool { return e.condition(t).Status == "degraded" })
	must(t, os.Remove(filepath.Join(disk, "ballast")))
	eventually(t, "the edge is healthy", func() bool { return e.condition(t).Status == "healthy" })
	eventually(t, "slices are written", func() bool {
		e.mustHearAll(t, songs, 2)
		n, _ := storedSlices(t, disk)
		return n > 0
	})
}

// condition is what /health says of the disks.
type condition struct {
	Status  string
	Reasons []string
	Cache   struct {
		StreamDisk, ThumbnailDisk *struct{ Slices int }
	}
	code int
}

func (n node) condition(t *testing.T) (c condition) {
	t.Helper()
	a := n.get(t, "/health")
	if err := json.Unmarshal(a.body, &c); err != nil {
		t.Fatalf("/health: %v: %s", err, a)
	}
	c.code = a.status
	return c
}

// diskHas reports whether all slices of the songs, of 64 KiB, have been written, and
// their covers, if those are kept on disk.
func (n node) diskHas(t *testing.T, songs []song) bool {
	t.Helper()
	slices := 0
	for _, s := range songs {
		slices += int((s.size + 64<<10 - 1) / (64 << 10))
	}
	kept := n.condition(t).Cache
	return kept.StreamDisk.Slices >= slices && (kept.ThumbnailDisk == nil || kept.ThumbnailDisk.Slices >= len(songs))
}

// fillUp takes all that is free of a file system.
func fillUp(t *testing.T, dir string) {
	t.Helper()
	ballast, err := os.Create(filepath.Join(dir, "ballast"))
	must(t, err)
	defer ballast.Close()
	for piece := 1 << 20; piece > 0; piece /= 16 {
		for zeros := make([]byte, piece); err == nil; {
			_, err = ballast.Write(zeros)
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
		err = nil
	}
	if _, free, err := takenBytes(dir); err != nil || free != 0 {
		t.Fatalf("%d bytes are still free, %v", free, err)
	}
}

// remount changes a file system's flags, once nothing is open for writing.
func remount(t *testing.T, dir string, flags uintptr) {
	t.Helper()
	eventually(t, "the file system is remounted", func() bool {
		err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT|flags, "")
		if err != nil && !errors.Is(err, unix.EBUSY) {
			t.Fatal(err)
		}
		return err == nil
	})
}

// mountMemory mounts a file system of so many bytes in memory. It needs root, which
// the tests have where they run for good.
func mountMemory(t *testing.T, size int64) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Fatalf("mount: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return dir
}

// takenBytes returns how many bytes of a file system are taken, and how many are
// free.
func takenBytes(dir string) (taken, free int64, err error) {
	var fs unix.Statfs_t
	if err := unix.Statfs(dir, &fs); err != nil {
		return 0, 0, err
	}
	return int64(fs.Blocks-fs.Bfree) * fs.Bsize, int64(fs.Bavail) * fs.Bsize, nil
}

// watchUsage looks all the time at how much of a file system is taken.
func watchUsage(t *testing.T, dir string) (most *atomic.Int64, stop func()) {
	t.Helper()
	most = new(atomic.Int64)
	done := make(chan struct{})
	var group errgroup.Group
	group.Go(func() error {
		often := time.NewTicker(200 * time.Microsecond)
		defer often.Stop()
		for {
			taken, _, err := takenBytes(dir)
			if err != nil {
				return err
			}
			most.Store(max(most.Load(), taken))
			select {
			case <-often.C:
			case <-done:
				return nil
			}
		}
	})
	stop = sync.OnceFunc(func() {
		close(done)
		if err := group.Wait(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(stop)
	return most, stop
}
