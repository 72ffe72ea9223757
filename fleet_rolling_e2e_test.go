package voyo_test

import (
	"fmt"
	"testing"
	"time"
)

// The nodes of a fleet, each of which is another one's shield, are restarted one after the
// other, and reloaded, and so are the servers of their log, while clients stream what is
// cached and what is not. No request fails, and no stream breaks.
func TestFleetRolling(t *testing.T) {
	const clients, between = 8, 12
	for _, topology := range topologies {
		t.Run(topology.name, func(t *testing.T) {
			songs := newSongs(0, 400, 1<<20) // more than are heard
			f := newFleet(t, 4, songs...)
			f.startLog(t)
			site := func(i, change int) string {
				return f.shielded(topology.shields, fmt.Sprintf("disk %s 1GiB\nmax_age %dm", f.nodes[i].disk, 60+change), f.joined(i))
			}
			f.start(t, func(i int) string { return site(i, 0) })
			f.archive.rate.Store(10 << 20) // some streams are under way all the time
			b := newBalancer(t, f)
			crowd := startCrowdAt(t, b.hear, songs, clients)
			phase := func(what string, of int, do func(i int)) {
				t.Helper()
				began, again, waited := time.Now(), crowd.again.Load(), b.waited.Load()
				for i := range of {
					crowd.awaitSongs(t, between)
					do(i)
				}
				crowd.awaitSongs(t, between)
				t.Logf("%s: %s; %d requests were made again, %d waited for a healthy node", what,
					time.Since(began).Round(time.Millisecond), crowd.again.Load()-again, b.waited.Load()-waited)
			}
			phase("nodes restarted", len(f.nodes), func(i int) {
				b.drain(i)
				f.nodes[i].stop(t)
				f.nodes[i].start(t)
				b.restore(i)
			})
			phase("nodes reloaded", len(f.nodes), func(i int) { f.nodes[i].reload(t, site(i, 1)) })
			phase("servers of the log restarted", len(f.log.URLs()), func(i int) {
				f.log.Stop(i)
				crowd.awaitSongs(t, between)
				f.log.Restart(i)
				for i := range f.nodes {
					f.awaitHealthy(t, i)
				}
			})
			crowd.leave(t)
			t.Logf("%d songs were heard, %d of them not cached", crowd.heard.Load(), crowd.missed.Load())
			f.mustTell(t, 0, purgeURI, songs[0])
		})
	}
}
