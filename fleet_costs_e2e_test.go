package voyo_test

import (
	"slices"
	"testing"
	"time"
)

// What another tier costs is reported: how much later a track's first byte comes if a
// shield has it than if the node itself has, and the processors' time for a GiB that passes
// through one node or two. These depend on the machine, so there is nothing to fail.
func TestFleetCosts(t *testing.T) {
	const tracks, size = 32, 4 << 20 // both nodes have them in memory
	songs := newSongs(0, tracks, size)
	f := newFleet(t, 2, songs...)
	shield, edge := f.nodes[0], f.nodes[1]
	f.start(t, func(int) string { return f.shielded(1, "", "") })
	shield.mustHearAll(t, songs, 2)
	f.archive.reset()
	processors := func() (seconds float64) {
		for _, c := range f.nodes {
			seconds += c.series(t)["process_cpu_seconds_total"]
		}
		return seconds
	}
	for _, from := range []string{"a shield", "the node itself"} {
		before := processors()
		var late []time.Duration
		for _, s := range songs {
			asked := time.Now()
			first, err := edge.hearFirst(t.Context(), s)
			must(t, err)
			late = append(late, first.Sub(asked))
		}
		took := processors() - before
		slices.Sort(late)
		t.Logf("from %s: first byte after %s (median), %s (90%%); %.2f s of processors' time a GiB",
			from, late[tracks/2], late[tracks*9/10], took*(1<<30)/float64(totalSize(songs)))
	}
	f.archive.mustRest(t)
}
