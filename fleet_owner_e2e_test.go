package voyo_test

import (
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// Who listens to a track gets every byte of it, although the node that has it fetched ends
// in the middle, or nobody hears of it any more. What is asked for afterwards is served too.
func TestFleetOwnerDies(t *testing.T) {
	t.Parallel()
	const (
		owner = 0
		rate  = 1 << 20
	)
	ends := []struct {
		name string
		end  func(*testing.T, *member)
	}{
		{"killed", func(t *testing.T, c *member) { c.kill(t) }},
		{"cut off", func(t *testing.T, c *member) { must(t, c.host.Cut(t.Context())) }},
	}
	for _, topology := range topologies {
		for _, e := range ends {
			t.Run(topology.name+", "+e.name, func(t *testing.T) {
				t.Parallel() // one of them waits until what stalls is given up
				songs := newSongs(0, 24, 2<<20)
				playing, later := songs[:12], songs[12:]
				f := newFleet(t, 4, songs...)
				f.start(t, func(int) string { return f.shielded(topology.shields, "", "") })
				f.archive.rate.Store(rate)

				var listeners []*slowReader
				for _, c := range f.nodes[owner+1:] {
					for _, s := range playing {
						l := &slowReader{song: s}
						must(t, l.ask(t.Context(), c.transport(), c.url))
						listeners = append(listeners, l)
					}
				}
				for _, l := range listeners {
					must(t, l.read(256<<10))
				}
				owned := 0
				for _, s := range playing {
					if f.archive.asker(s) == f.nodes[owner].bind {
						owned++
					}
				}
				if owned == 0 {
					t.Fatal("the node has fetched nothing")
				}
				ended := time.Now()
				e.end(t, f.nodes[owner])
				f.archive.rate.Store(0)
				var group errgroup.Group
				for _, l := range listeners {
					group.Go(l.finish)
				}
				must(t, group.Wait())
				t.Logf("%d listeners had every byte of %d tracks, %d of them the node's, %s after its end",
					len(listeners), len(playing), owned, time.Since(ended).Round(time.Millisecond))
				for _, c := range f.nodes[owner+1:] {
					began := time.Now()
					c.mustHearAll(t, later, 8)
					t.Logf("%d more tracks at %s: %s", len(later), c.url, time.Since(began).Round(time.Millisecond))
				}
				if c := f.nodes[owner]; c.cmd != nil {
					c.kill(t) // it would wait for those who do not hear it
				}
			})
		}
	}
}
