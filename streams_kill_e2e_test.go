package voyo_test

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
)

// An edge that is killed in the middle of a hundred fills serves no wrong byte
// afterwards, and has at once what it had committed.
func TestStreamsKill(t *testing.T) {
	const (
		clients = 100
		kills   = 2
	)
	for seed := range uint64(3) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 0))
			songs := make([]song, clients)
			for i := range songs {
				songs[i] = newSong(sourceID(i), 1<<20+rnd.Int64N(2<<20))
			}
			a := newArchive(t, songs...)
			dir := t.TempDir()
			c := startChild(t, fmt.Sprintf(`voyo {
				%s
				stream {
					memory 16MiB
					slice 64KiB
					disk %s 1GiB
				}
				transport http {
					max_conns_per_host 200
				}
			}`, template(a.URL), dir))
			committed := int64(0)
			for range kills {
				a.reset()
				a.rate.Store(1 << 20)
				missing := totalSize(songs) - committed
				some := a.reached(missing/5 + rnd.Int64N(missing*3/5))
				var listeners errgroup.Group
				for _, s := range songs {
					listeners.Go(func() error {
						_, err := c.hear(t.Context(), s)
						if errors.Is(err, errWrongBytes) {
							return err
						}
						return nil // the others are cut off
					})
				}
				await(t, "some of it has been sent", some)
				c.kill(t)
				if err := listeners.Wait(); err != nil {
					t.Fatal(err)
				}
				files, bytes := storedSlices(t, dir)
				t.Logf("killed after %d of %d bytes, with %d slices (%d bytes) committed", a.sent.Load(), missing, files, bytes)
				if bytes <= committed {
					t.Fatalf("%d bytes are committed, after %d", bytes, committed)
				}
				committed = bytes
				c.start(t)
			}
			a.reset()
			a.rate.Store(0)
			c.mustHearAll(t, songs, 16)
			missing := totalSize(songs) - committed
			refetched := a.sent.Load() - missing
			t.Logf("%d bytes of the committed ones were fetched again, %.2f%%", refetched, 100*float64(refetched)/float64(committed))
			if refetched > committed/100 {
				t.Errorf("%d bytes were fetched, but only %d were missing", a.sent.Load(), missing)
			}
		})
	}
}

// storedSlices returns how many slices of streams are in an edge's directory, and
// their bytes. A slice's file is named <object>-<version>-<index>-<size>-<checksum>.
func storedSlices(t *testing.T, dir string) (n int, bytes int64) {
	t.Helper()
	sizes := make(map[string]int64) // by object and index: of several versions one counts
	for _, path := range sliceFiles(t, filepath.Join(dir, "stream")) {
		parts := strings.Split(filepath.Base(path), "-")
		size, err := strconv.ParseInt(parts[3], 16, 64)
		if err != nil {
			t.Fatal(err)
		}
		sizes[parts[0]+"-"+parts[2]] = size
	}
	for _, size := range sizes {
		bytes += size
	}
	return len(sizes), bytes
}

// sliceFiles returns the paths of all slices in a store's directory.
func sliceFiles(t *testing.T, dir string) (paths []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && strings.Count(d.Name(), "-") == 4 {
			paths = append(paths, path)
		}
		if errors.Is(err, fs.ErrNotExist) { // evicted meanwhile
			return nil
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return paths
}
