// Command admission simulates how the memory of a sliced cache of music should
// admit and evict, on made-up traces of listeners and crawlers. README.md says
// what came of it.
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"sync"

	"github.com/voyo-music/caddy-voyo/internal/sim"
)

// setting is what contenders are compared at.
type setting struct {
	zipf   float64
	scan   scanKind
	memory float64 // in % of the catalogue
}

func (s setting) String() string {
	return fmt.Sprintf("Memory %5.3f%%, exponent %.1f, scan %s", s.memory, s.zipf, s.scan)
}

var (
	exponents = []float64{0.7, 0.9, 1.1}
	scans     = []scanKind{spread, burst, twice}
	memories  = []float64{0.022, 0.1, 1, 5} // the first is 256 MiB, the default
)

// scaleOf says by what the catalogue and the rate of plays are divided for a size
// of memory. A large memory would take a long trace to fill. A small one must not
// be scaled: it would hold too little of what one listener reads at a time.
func scaleOf(memory float64) int {
	if memory < 0.5 {
		return 1
	}
	return 20
}

type options struct {
	seed   uint64
	plays  int
	rate   float64
	drift  float64
	ranged float64
}

func main() {
	var o options
	flag.Uint64Var(&o.seed, "seed", 1, "of the traces")
	flag.IntVar(&o.plays, "plays", 15_000, "plays of each trace")
	flag.Float64Var(&o.rate, "rate", 2, "plays in a second, of 341,000 tracks")
	flag.Float64Var(&o.drift, "drift", 0.002, "tracks that change their popularity, for each play")
	flag.Float64Var(&o.ranged, "ranged", 0.5, "share of the listeners that ask for 64 KiB at a time")
	every := flag.Bool("every", false, "print each setting, too")
	vary := flag.Bool("vary", false, "compare the chosen policy with others that differ in one rule")
	flag.Parse()
	cs := policies()
	if *vary {
		cs = variants()
	}
	o.simulate(cs).report(os.Stdout, cs, *every)
}

// simulate runs all contenders at all settings.
func (o options) simulate(cs []contender) results {
	all := make(results)
	for _, zipf := range exponents {
		for _, scan := range scans {
			traces := make(map[int]*trace)
			for _, memory := range memories {
				scale := scaleOf(memory)
				if traces[scale] == nil {
					traces[scale] = newTrace(o.workload(zipf, scan, scale))
				}
				t := traces[scale]
				all[setting{zipf, scan, memory}] = t.compare(cs, int64(memory/100*float64(t.footprint)))
			}
		}
	}
	return all
}

func (o options) workload(zipf float64, scan scanKind, scale int) workload {
	return workload{
		seed: o.seed, tracks: 341_000 / scale, plays: o.plays, rate: o.rate / float64(scale),
		zipf: zipf, drift: o.drift, ranged: o.ranged, scan: scan, scanned: o.plays / 20,
	}
}

// compare runs a trace through all contenders.
func (t *trace) compare(cs []contender, memory int64) []result {
	rs := make([]result, len(cs))
	slots := make(chan struct{}, runtime.GOMAXPROCS(0))
	var wg sync.WaitGroup
	for i, c := range cs {
		slots <- struct{}{}
		wg.Go(func() {
			rs[i] = t.play(c.make(memory), c.disk)
			<-slots
		})
	}
	wg.Wait()
	return rs
}

// result is what came of one contender on one trace.
type result struct {
	phase          [phases]tally
	below, written int64 // bytes asked of upstream or disk, and written into memory; not while warming up
}

// tally counts what listeners got in a phase. Crawlers do not count.
type tally struct {
	asked, hit    int64 // bytes, and those of them that came out of memory
	plays, ready  int64 // plays, and those whose first byte was in memory
	visits, found int64 // slices that a listener came to, and those that were in memory then
}

// play runs a trace through a policy. A disk that is there has 95% of the
// catalogue at the beginning, and whatever has been read since.
func (t *trace) play(p sim.Policy, disk bool) result {
	var res result
	stored := make([]bool, t.slices)
	for i := range stored {
		stored[i] = disk && sim.Mix(uint64(i))%100 < 95
	}
	var last int64
	for _, r := range t.reads {
		hit := p.Read(r.Read, stored[r.Slice])
		stored[r.Slice] = disk
		_, written := p.Usage()
		if !hit && r.phase != warmUp {
			res.written += written - last
			res.below += max(int64(r.N), written-last) // for memory, all of the slice
		}
		last = written
		if !r.scan {
			res.phase[r.phase].count(r, hit)
		}
	}
	return res
}

func (t *tally) count(r read, hit bool) {
	one := func(is bool, all, hits *int64, n int64) {
		if is {
			*all += n
		}
		if is && hit {
			*hits += n
		}
	}
	one(true, &t.asked, &t.hit, int64(r.N))
	one(r.start, &t.plays, &t.ready, 1)
	one(r.visit, &t.visits, &t.found, 1)
}
