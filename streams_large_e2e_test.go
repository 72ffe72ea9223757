package voyo_test

import (
	"flag"
	"fmt"
	"testing"
	"time"
)

// -streams.full has the tests let as much flow as the specification says: 10 GiB
// through a disk of 1 GiB.
var fullFlow = flag.Bool("streams.full", false, "let 10 GiB flow through a disk of 1 GiB, not 2 GiB through 256 MiB")

// A track of any length streams through an edge without it growing with the track.
func TestStreamsLargeObject(t *testing.T) {
	const (
		size  = 2 << 30
		limit = 256 << 20
		most  = 400 << 20
	)
	s := newSong(songID, size)
	for _, c := range []struct{ name, disk string }{
		{"memory only", ""},
		{"with a disk", fmt.Sprintf("disk %s 64MiB", t.TempDir())},
	} {
		t.Run(c.name, func(t *testing.T) {
			a := newArchive(t, s)
			edge := startChild(t, "voyo {\n"+template(a.URL)+"\nstream {\nmemory 64MiB\n"+c.disk+"\n}\n}", fmt.Sprintf("GOMEMLIMIT=%d", limit))
			began := time.Now()
			if edge.mustHear(t, s) {
				t.Error("it was cached before")
			}
			if n := a.sent.Load(); n != size {
				t.Errorf("the upstream sent %d bytes, for %q", n, a.askedRanges())
			}
			peak := edge.peakBytes(t)
			t.Logf("peak resident memory: %d MiB, at %d MB/s", peak>>20, int64(size/time.Since(began).Seconds())/1e6)
			if peak > most {
				t.Errorf("%d MiB were resident", peak>>20)
			}
			// what is kept of it is right
			for _, at := range []int64{0, 100_000_000, size - 1_000_000} {
				if _, err := edge.hearRange(t.Context(), s, at, at+1_000_000); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// A disk's limit is one, however much flows through.
func TestStreamsDiskLimit(t *testing.T) {
	const (
		slice = 256 << 10
		size  = 4 << 20
	)
	limit, flow := int64(256<<20), int64(2<<30)
	if *fullFlow {
		limit, flow = 1<<30, 10<<30
	}
	songs := newSongs(0, int(flow/size)*101/100+1, size)
	a := newArchive(t, songs...)
	// A file system of its own knows at each moment what is taken, while the files of
	// a directory come and go as one adds them up.
	disk := mountMemory(t, 2*limit)
	c := startChild(t, fmt.Sprintf("voyo {\n%s\nstream {\nmemory 16MiB\ndisk %s %d\n}\n}", template(a.URL), disk, limit))
	most, stop := watchUsage(t, disk)
	began := time.Now()
	c.mustHearAll(t, songs, 4)
	took := time.Since(began)
	stop()
	if n := a.sent.Load(); n < flow {
		t.Errorf("%d bytes have flowed", n)
	}
	got := most.Load()
	t.Logf("%d MiB flowed at %d MB/s; at most %.1f MiB of %d MiB were taken", a.sent.Load()>>20, int64(float64(a.sent.Load())/took.Seconds())/1e6, float64(got)/(1<<20), limit>>20)
	if got > limit+slice {
		t.Errorf("%d bytes were taken, %d more than may be", got, got-limit)
	}
	if got < limit*3/4 {
		t.Errorf("only %d bytes of %d were used", got, limit)
	}
	// what is there is right, and comes in one piece with what is not
	c.mustHearAll(t, songs[len(songs)-40:], 4)
	if n, _, err := takenBytes(disk); err != nil || n > limit+slice {
		t.Errorf("%d bytes are taken in the end, %v", n, err)
	}
}

// A file that a slow client is being sent from takes its part of the disk until the
// client has it, whether it is evicted meanwhile or not.
func TestStreamsDiskLimitWithReaders(t *testing.T) {
	const (
		slice = 4 << 20 // far more than the kernel holds of what is on its way
		limit = 200 << 20
	)
	held, flow := newSongs(0, 40, slice), newSongs(100, 120, slice)
	a := newArchive(t, append(held, flow...)...)
	disk := mountMemory(t, 4*limit)
	e := startEdge(t, fmt.Sprintf("voyo {\n%s\nstream {\nmemory 32MiB\nslice 4MiB\ndisk %s %d\n}\n}", template(a.URL), disk, limit))
	eventually(t, "the disk has it all", func() bool {
		e.mustHearAll(t, held, 1)
		return e.condition(t).Cache.StreamDisk.Slices >= len(held)
	})
	transport := narrowTransport(t)
	var readers []*slowReader
	for _, s := range held {
		r := &slowReader{song: s}
		must(t, r.ask(t.Context(), transport, e.url))
		must(t, r.read(1000))
		readers = append(readers, r)
	}
	most, stop := watchUsage(t, disk)
	e.mustHearAll(t, flow, 2)
	stop()
	if got := most.Load(); got > limit+slice {
		t.Errorf("%d MiB were taken, of %d MiB", got>>20, limit>>20)
	}
	for _, r := range readers {
		must(t, r.finish())
	}
}
