package main

import (
	"fmt"
	"io"
	"math"
	"strconv"
	"time"
)

// cost is what an edge takes of a core. The defaults are those of bench/admission/README.md,
// from a disk over HTTP/1.1: 102 us for a request of 64 KiB, and 355 ms for a GiB in whole
// tracks, which leaves 80 us for a request without its bytes.
type cost struct {
	request, gib time.Duration
}

// machine is what an edge runs on.
type machine struct {
	cores int
	nic   float64 // Gbit/s
}

// How much of a machine is to be used when all is well: the rest is for the peaks within a
// minute, and for the listeners of a node that is lost.
const (
	usableCores = 0.6
	usableNIC   = 0.7
)

// load is what one listener is to an edge, in a second.
type load struct {
	requests, sent, fetched, read float64 // requests; bytes to the listener, from above, and from the disk
}

// loadOf returns that of the listeners of a region with one edge.
func loadOf(t tally, heard float64) load {
	return load{
		requests: float64(t.requests) / heard, sent: float64(t.asked) / heard, fetched: float64(t.fetched) / heard,
		read: float64(t.asked-t.memory) / heard,
	}
}

// listeners returns how many listeners a machine can have, and what bounds it.
func (m machine) listeners(l load, c cost) (n float64, bound string) {
	cpu := l.requests*c.request.Seconds() + (l.sent+l.fetched)/(1<<30)*c.gib.Seconds()
	byCPU := float64(m.cores) * usableCores / cpu
	byNIC := m.nic * 1e9 / 8 * usableNIC / l.sent
	if byCPU < byNIC {
		return byCPU, "CPU"
	}
	return byNIC, "network"
}

// nodes prints how many edges so many listeners need.
func (o options) nodes(w io.Writer) {
	w1 := o.world
	w1.Listeners /= float64(o.edges)
	r := newRegion(w1, 1)
	t, heard := r.measure(o.plays)
	l := loadOf(t, heard)
	fmt.Fprintf(w, "A listener is %.2f requests and %.1f kB a second to an edge, which fetches %.1f kB of that and reads %.1f kB "+
		"from its disk.\n\n", l.requests, l.sent/1e3, l.fetched/1e3, l.read/1e3)
	head(w, "cores", "network", "listeners", "bound by", "its disk reads", "it fetches", "10,000", "100,000", "1,000,000")
	machines := []machine{{2, 1}, {8, 10}, {16, 25}, {32, 100}}
	for _, m := range machines {
		if m == o.own {
			o.own = machine{}
		}
	}
	if o.own.cores > 0 {
		machines = append(machines, o.own)
	}
	for _, m := range machines {
		n, bound := m.listeners(l, o.cost)
		cells := []string{
			strconv.Itoa(m.cores), fmt.Sprintf("%g Gbit/s", m.nic), thousands(n), bound, fmt.Sprintf("%.0f MB/s", n*l.read/1e6),
			gbits(n * l.fetched * 8 / 1e9),
		}
		for _, all := range []float64{1e4, 1e5, 1e6} {
			cells = append(cells, fmt.Sprintf("%.0f", math.Ceil(all/n)+1)) // and one more, to be lost
		}
		row(w, cells...)
	}
}

// measure settles a region, lets as many plays take place as are counted after it, and
// returns what the edges did for those, and for how many seconds was listened.
func (r *region) measure(plays int) (t tally, heard float64) {
	r.settle()
	r.run(plays / 2)
	before, began := r.atEdges(), r.listeners.heard
	for _, tier := range r.tiers {
		tier.origin = tally{}
	}
	r.run(plays)
	return r.atEdges().since(before), r.listeners.heard - began
}
