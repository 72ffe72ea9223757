package voyo_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// coldMost is how many requests and bytes may leave the archive, for each that are needed.
const coldMost = 1.02

// What is asked of every node at once leaves the archive once.
func TestFleetColdTracks(t *testing.T) {
	songs := newSongs(0, 200, 192<<10)
	for _, topology := range topologies {
		t.Run(topology.name, func(t *testing.T) {
			f := newFleet(t, 4, songs...)
			f.start(t, func(int) string { return f.shielded(topology.shields, "", "") })
			f.archive.reset() // of what nodes ask when they start
			f.mustHearAtOnce(t, songs)
			sent := f.archive.sent.Load()
			if n := float64(totalSize(songs)); float64(sent) < n || float64(sent) > coldMost*n {
				t.Errorf("%d bytes left the archive as %d", totalSize(songs), sent)
			}
			f.archive.reset()
			for _, c := range f.nodes {
				if hits := c.mustHearAll(t, songs, 8); hits != len(songs) {
					t.Errorf("%s has %d of %d", c.url, hits, len(songs))
				}
			}
			f.archive.mustRest(t)
		})
	}
}

// Nodes that are asked for more than they may ask others for at once do not wait for each
// other, and take none of the others for one that fails.
func TestFleetMoreThanTurns(t *testing.T) {
	songs := make([]song, 500) // all of which fit into the memory; 64 may be asked for at once
	for i := range songs {
		songs[i] = newSong(sourceID(i), 15<<10)
	}
	for _, topology := range topologies {
		t.Run(topology.name, func(t *testing.T) {
			f := newFleet(t, 4, songs...)
			f.memory = "8MiB"
			f.start(t, func(int) string { return f.shielded(topology.shields, "", "") })
			f.archive.reset()
			f.archive.delay = 20 * time.Millisecond
			f.mustHearAtOnce(t, songs)
			for _, c := range f.nodes {
				if strings.Contains(c.log(t), "left out") {
					t.Errorf("%s has left out a shield", c.url)
				}
			}
		})
	}
}

// mustHearAtOnce has each node asked for all songs at once, which leave the archive with
// one request each, in an order of its own.
func (f *fleet) mustHearAtOnce(t *testing.T, songs []song) {
	t.Helper()
	group, ctx := errgroup.WithContext(t.Context())
	for i, c := range f.nodes {
		rnd := rand.New(rand.NewPCG(uint64(i), 0))
		for _, at := range rnd.Perm(len(songs)) {
			group.Go(func() error {
				_, err := c.hear(ctx, songs[at])
				return err
			})
		}
	}
	began := time.Now()
	must(t, group.Wait())
	requests := f.archive.requests.Load()
	t.Logf("%d tracks of %d bytes at %d nodes within %s: %d requests to the archive, %d bytes",
		len(songs), totalSize(songs), len(f.nodes), time.Since(began), requests, f.archive.sent.Load())
	if n := float64(len(songs)); float64(requests) < n || float64(requests) > coldMost*n {
		t.Errorf("%d tracks left the archive with %d requests", len(songs), requests)
	}
}
