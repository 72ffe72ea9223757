package main

import "slices"

// horizon is for how many seconds a region has been up when it is looked at: what was not
// played since is on no disk. It is as long as an object is fresh where nothing else is said.
const horizon = 30 * 24 * 3600

// settle fills the disks with what would be there after a long time, so that only the rest
// has to be played. How long ago a slice was last read follows from how often it is, and an
// LRU holds those of which that is the least.
func (r *region) settle() {
	for _, n := range r.edges {
		n.fill(r.lastReads(len(r.edges), nil))
	}
	for _, t := range r.tiers {
		if len(t.shields) > 0 && t.shields[0] == r.edges[0] {
			continue // they are the edges
		}
		for i, n := range t.shields {
			n.fill(r.lastReads(1, func(object int) bool { return int(t.order[object/variants][0]) == i }))
		}
	}
}

// lastRead is how many seconds ago a slice was last read.
type lastRead struct {
	slice uint32
	ago   float32
}

// fill reads slices in the order in which they were last read.
func (n *node) fill(reads []lastRead) {
	for _, r := range reads {
		n.disk.use(r.slice)
	}
}

// lastReads makes up when the slices of some objects were last read at a node that gets one
// of so many plays.
func (r *region) lastReads(nodes int, of func(object int) bool) (reads []lastRead) {
	plays := r.playsPerSecond() / float64(nodes)
	ago := make([]float32, 256)
	for rank, track := range r.listeners.rank {
		popularity := r.listeners.tastes.Share(rank + 1)
		if rank > 0 {
			popularity -= r.listeners.tastes.Share(rank)
		}
		for v, share := range []float64{1 - r.Habits.High, r.Habits.High} {
			object := track*variants + v
			if of != nil && !of(object) {
				continue
			}
			reads = r.lastReadsOf(object, plays*popularity*share, ago, reads)
		}
	}
	slices.SortFunc(reads, func(a, b lastRead) int {
		if a.ago != b.ago {
			if a.ago > b.ago {
				return -1
			}
			return 1
		}
		return int(a.slice) - int(b.slice)
	})
	return reads
}

// lastReadsOf does that for one object, which is played with a rate, back to when each of
// its slices was read.
func (r *region) lastReadsOf(object int, rate float64, ago []float32, reads []lastRead) []lastRead {
	first := r.c.first[object]
	n := int(r.c.first[object+1] - first)
	clear(ago[:n])
	missing := n
	for when := 0.0; missing > 0; {
		when += r.rng.ExpFloat64() / rate
		if when > horizon {
			break
		}
		for _, part := range r.listeners.play(object) {
			for i := part.from / r.c.slice; i*r.c.slice < part.to; i++ {
				if ago[i] == 0 {
					ago[i] = float32(when)
					missing--
					reads = append(reads, lastRead{first + uint32(i), float32(when)}) //nolint:gosec // a few dozen
				}
			}
		}
	}
	return reads
}
