package voyo_test

import (
	"testing"

	"golang.org/x/sync/errgroup"
)

// What is asked of every node at once leaves the archive once.
func TestFleetColdTracks(t *testing.T) {
	const most = 1.02 // requests and bytes of the archive, for each that are needed
	songs := newSongs(0, 200, 192<<10)
	for _, topology := range topologies {
		t.Run(topology.name, func(t *testing.T) {
			f := newFleet(t, 4, songs...)
			f.start(t, func(int) string { return f.shielded(topology.shields, "", "") })
			f.archive.reset() // of what nodes ask when they start
			group, ctx := errgroup.WithContext(t.Context())
			for _, s := range songs {
				for _, c := range f.nodes {
					group.Go(func() error {
						_, err := c.hear(ctx, s)
						return err
					})
				}
			}
			must(t, group.Wait())
			requests, sent := f.archive.requests.Load(), f.archive.sent.Load()
			t.Logf("%d tracks of %d bytes at %d nodes: %d requests to the archive, %d bytes",
				len(songs), totalSize(songs), len(f.nodes), requests, sent)
			if n := float64(len(songs)); float64(requests) < n || float64(requests) > most*n {
				t.Errorf("%d tracks left the archive with %d requests", len(songs), requests)
			}
			if n := float64(totalSize(songs)); float64(sent) < n || float64(sent) > most*n {
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
