package voyo_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	purgeURI    = "/voyo/purge"
	takedownURI = "/voyo/takedown"
)

// A track is replaced and purged by one node after the other, while clients of all nodes
// stream it. Once all have acknowledged it nobody is given an older one, whichever nodes
// ask each other.
func TestFleetPurgeUnderLoad(t *testing.T) {
	const clients, versions = 4, 8
	for _, topology := range topologies {
		t.Run(topology.name, func(t *testing.T) {
			all := newVersions(versions)
			f := startMembers(t, topology.shields, all[0])
			f.archive.rate.Store(20 << 20) // so that a purge finds fills under way
			var listeners []node
			for _, c := range f.nodes {
				listeners = append(listeners, slices.Repeat([]node{c.node}, clients)...)
			}
			var slowest time.Duration
			hearWhilePurged(t, listeners, all, 2*len(f.nodes), func(v int) {
				f.archive.add(all[v])
				began := time.Now()
				f.mustTell(t, (v-1)%len(f.nodes), purgeURI, all[0])
				slowest = max(slowest, time.Since(began))
			})
			t.Logf("purged %d times, acknowledged by all %d nodes within %s", versions-1, len(f.nodes), slowest.Round(time.Millisecond))
		})
	}
}

// A node that asks another one is not given what a purge that it has applied itself was to
// remove, though the other one does not know of that purge yet.
func TestFleetPurgeBehindShield(t *testing.T) {
	const behind, reader = 0, 1
	all := newVersions(2)
	f := newFleet(t, 2, all[0])
	f.startLog(t)
	// one asks the other, which has but one server to hear from
	f.start(t, func(i int) string {
		if i == behind {
			return f.member(i, 1, f.log.URLs()[0])
		}
		return f.member(i, 1, f.log.URLs()[1:]...)
	})
	for i, c := range f.nodes {
		f.awaitHealthy(t, i)
		c.mustHear(t, all[0])
	}
	f.archive.add(all[1])
	f.log.Freeze(0)
	// as the server may have led the others, it may take them a while
	eventually(t, "the purge is acknowledged", func() bool {
		_, err := f.nodes[reader].order(t.Context(), purgeURI, all[0])
		return err == nil
	})
	if h, err := f.nodes[reader].hear(t.Context(), all[1]); err != nil {
		t.Errorf("after it had been purged: %s, %v", h.header.Get("Cache-Status"), err)
	}
	f.log.Thaw(0)
	eventually(t, "the other one has purged", func() bool {
		return f.nodes[behind].series(t)[`caddy_voyo_fleet_applied_total{kind="purge"}`] > 0
	})
	f.awaitHealthy(t, behind)
	for _, c := range f.nodes {
		if h, err := c.hear(t.Context(), all[1]); err != nil {
			t.Errorf("when all had applied it: %s, %s, %v", c.url, h.header.Get("Cache-Status"), err)
		}
	}
}

// mustTellWithout has two nodes have a song purged and another one taken down, at the same
// time, as a node that is away has both take all the time that there is.
func (f *fleet) mustTellWithout(t *testing.T, away int, purged, down song) {
	t.Helper()
	var group errgroup.Group
	group.Go(func() error {
		_, err := f.nodes[1].order(t.Context(), takedownURI, down)
		return err
	})
	f.mustTell(t, 0, purgeURI, purged, f.name(away))
	must(t, group.Wait())
}

// A node that was cut off during a purge and a takedown says so, goes on serving, and
// serves nothing of what it has missed once it says that it is well again.
func TestFleetRejoin(t *testing.T) {
	const away = 3
	all := newVersions(2)
	down, kept := newSong(sourceID(1), 1<<20), newSong(sourceID(2), 1<<20)
	f := startMembers(t, 4, all[0], down, kept)
	for _, c := range f.nodes {
		c.mustHearAll(t, []song{all[0], down, kept}, 1)
		c.mustGet(t, down.coverPath(), coverOf(down.id))
	}
	lost := f.nodes[away]
	must(t, lost.host.Cut(t.Context()))
	cut := time.Now()
	degraded := make(chan struct{})
	go func() {
		defer close(degraded)
		for lost.onHost().healthy(t.Context()) {
			time.Sleep(probes)
		}
		t.Logf("a node said so %s after it was cut off", time.Since(cut).Round(time.Millisecond))
	}()
	f.archive.add(all[1])
	f.mustTellWithout(t, away, all[0], down)
	t.Logf("the others have acknowledged a purge and a takedown %s after that", time.Since(cut).Round(time.Millisecond))
	for _, c := range f.nodes[:away] {
		c.mustHear(t, all[1])
		c.mustBeTakenDown(t, down)
	}
	await(t, "the node that is cut off says so", degraded)
	if !lost.onHost().mustHear(t, kept) {
		t.Error("what it has was not served from there")
	}
	must(t, lost.host.Heal(t.Context()))
	healed := time.Now()
	f.awaitHealthy(t, away)
	t.Logf("it was well %s after it was connected again", time.Since(healed).Round(time.Millisecond))
	lost.mustBeTakenDown(t, down)
	for range 20 {
		lost.mustHear(t, all[1])
	}
	if !lost.mustHear(t, kept) {
		t.Error("what was not purged is not cached any more")
	}
}

// A node that ended during a purge and a takedown, and is started again with its disk, has
// them in effect from the first answer on. What it knew is in effect even if its log is
// away when it is started.
func TestFleetRestartWithDisk(t *testing.T) {
	const away = 2
	all := newVersions(2)
	down, early, kept := newSong(sourceID(1), 1<<20), newSong(sourceID(2), 1<<20), newSong(sourceID(3), 1<<20)
	songs := []song{all[0], down, early, kept}
	f := startMembers(t, 2, songs...)
	for _, c := range f.nodes {
		c.mustHearAll(t, songs, 1)
	}
	lost := f.nodes[away]
	lost.store(t, songs)
	f.mustTell(t, 0, takedownURI, early)
	lost.kill(t)
	f.archive.add(all[1])
	f.mustTellWithout(t, away, all[0], down)
	lost.start(t)
	began := time.Now()
	lost.mustHear(t, all[1])
	t.Logf("its first answer after a restart took %s", time.Since(began).Round(time.Millisecond))
	lost.mustBeTakenDown(t, down)
	lost.mustBeTakenDown(t, early)
	f.archive.reset()
	if !lost.mustHear(t, kept) {
		t.Error("what was not purged is not on the disk any more")
	}
	f.archive.mustRest(t)

	lost.kill(t)
	for i := range f.log.URLs() {
		f.log.Kill(i)
	}
	lost.start(t)
	lost.mustBeTakenDown(t, down)
	lost.mustBeTakenDown(t, early)
	if !lost.mustHear(t, kept) {
		t.Error("without the log it serves nothing of what it has")
	}
	for i := range f.log.URLs() {
		f.log.Restart(i)
	}
	for i := range f.nodes {
		f.awaitHealthy(t, i)
	}
	lost.tell(t, takedownURI, strings.Replace(idsBody(down, early), "}", `,"lift":true}`, 1), len(f.nodes))
	for _, c := range f.nodes {
		c.mustHearAll(t, []song{all[1], down, early, kept}, 1)
	}
	if a := lost.do(t, http.MethodGet, down.coverPath(), nil); a.status != http.StatusOK {
		t.Errorf("the cover, after it was lifted: %s", a)
	}
}
