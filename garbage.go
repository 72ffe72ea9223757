package voyo

import (
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

// What garbage is in proportion to. The collector must not run all the time where there is
// little but bodies, nor be busier than elsewhere where there is little at all.
const (
	bodyShare  = 8        // the bodies in memory count for this part of their size
	leastShare = 16 << 20 // bytes; up to this all counts
)

// collecting is for as long as there is a state.
var collecting = garbage{bodies: living.bodies}

// garbage keeps what the process takes close to what it keeps.
//
// Go lets garbage grow to GOGC percent of what is in use before it collects it, 100 unless
// told otherwise, so as not to look at what is in use too often. Most of that are bodies
// here, which it need not look into: so they count for an eighth, and GOGC is lowered by that.
type garbage struct {
	bodies func() int64 // in memory, in bytes

	mu      sync.Mutex
	running bool
	watched bool // the end of a cycle will be noticed
	stated  int  // GOGC, as the operator or the program wants it; below 0: off
	set     int  // what was made of it; 0: nothing yet
}

// start begins with the next cycle of the collector, and goes on until stop.
func (g *garbage) start() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running = true
	g.watch()
}

// stop leaves GOGC as it was.
func (g *garbage) stop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running = false
	if _, now := readCollector(); g.set != 0 && g.set == now {
		debug.SetGCPercent(g.stated)
	}
	g.set = 0
}

// watch has adjust called after a cycle: of what is in use nowhere, the collector says so
// in each. The caller holds g.mu.
func (g *garbage) watch() {
	if g.watched {
		return
	}
	g.watched = true
	// One without a pointer could be part of something that is used.
	type unused struct{ _ *int }
	runtime.AddCleanup(new(unused), func(g *garbage) {
		go g.adjust() // which may have to wait for a cycle
	}, g)
}

// adjust sets GOGC for the cycle to come.
func (g *garbage) adjust() {
	bodies := g.bodies()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.watched = false
	if !g.running {
		return
	}
	g.watch()
	live, now := readCollector()
	if now != g.set { // somebody else has set it
		g.stated, g.set = now, now
	}
	if want := gogc(g.stated, live, bodies); want != g.set {
		debug.SetGCPercent(want)
		g.set = want
	}
}

// gogc returns what a stated GOGC is with bodies that count for a part, in a heap of so
// many bytes in use.
func gogc(stated int, live, bodies int64) int {
	if stated < 0 || live <= 0 {
		return stated
	}
	bodies = min(bodies, live) // some may have come since
	counted := max(live-bodies+bodies/bodyShare, min(live, leastShare))
	return max(int(float64(stated)*float64(counted)/float64(live)), 1) // as an int64, some would not do
}

// readCollector returns the bytes in use as of the last cycle, and GOGC.
func readCollector() (live int64, percent int) {
	read := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/gogc:percent"}}
	metrics.Read(read)
	//nolint:gosec // a heap is no larger, and -1, which is off, is told as the largest number
	return int64(read[0].Value.Uint64()), int(read[1].Value.Uint64())
}
