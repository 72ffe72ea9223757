package main

import (
	"encoding/base64"
	"fmt"
	"math/rand/v2"
	"slices"
)

// world is what is simulated, as an operator states it.
type world struct {
	Seed              uint64
	Scale             int // everything is simulated with so many times fewer tracks, bytes and listeners
	Tracks            int
	Smallest, Largest int64 // bytes of an object
	Slice             int64
	ReadAhead         int
	Habits            habits
	Listeners         float64 // at a time, in the region
	Drift             float64 // share of the tracks that come up in a day, each in the place of another
	Sticky            bool    // a listener stays with an edge for a track; or else each of his requests may go to another
	Edge, Shield      limits
}

// region is the edges of a world. Besides each other there may be several tiers of shields
// above them: what edges ask for does not depend on what is above.
type region struct {
	world

	c         *catalogue
	rng       *rand.Rand
	listeners *listeners
	edges     []*node
	lost      []bool
	tiers     []*tier
	gone      map[int]bool // objects that were taken down
	refused   int64        // plays of these
	seconds   float64      // that have passed
}

// newRegion returns a region of some edges, whose caches are empty.
func newRegion(w world, edges int) *region {
	rng := rand.New(rand.NewPCG(w.Seed, 1)) //nolint:gosec // a region must be the same each time
	c := newCatalogue(w.Slice, someSizes(rng, max(w.Tracks/w.Scale, 1)*variants, w.Smallest, w.Largest))
	return assemble(w, edges, c, rng)
}

// assemble returns a region with a catalogue.
func assemble(w world, edges int, c *catalogue, rng *rand.Rand) *region {
	r := &region{
		world: w, c: c, rng: rng, listeners: newListeners(w.Habits, c, w.Scale, rng),
		lost: make([]bool, edges), gone: make(map[int]bool),
	}
	for range edges {
		r.edges = append(r.edges, newNode(c, w.scaled(w.Edge), w.ReadAhead, r.ask))
	}
	return r
}

// scaled returns limits as they are simulated.
func (w world) scaled(l limits) limits {
	l.memory, l.disk = l.memory/int64(w.Scale), l.disk/int64(w.Scale)+layout
	return l
}

// ask is the edges' source.
func (r *region) ask(object int, part span) {
	for _, t := range r.tiers {
		t.ask(object, part)
	}
}

// addTier puts n shields above the edges, besides other tiers.
func (r *region) addTier(n int) *tier {
	tracks := len(r.c.sizes) / variants
	t := newTier(r.c, n, r.scaled(r.Shield), r.ReadAhead, rendezvous(somewhere(n), tracks, func(track int) string {
		return trackPath(trackID(track))
	}))
	r.tiers = append(r.tiers, t)
	return t
}

// trackID returns a source ID for a track.
func trackID(track int) string { return fmt.Sprintf("fleet%06d", track) }

// trackPath is what an edge's policy selects the shield by, that has a track.
func trackPath(id string) string {
	return "/cdn/stream/vyo_" + base64.RawURLEncoding.EncodeToString([]byte(id))
}

// playsPerSecond returns how many plays begin in a second, as simulated.
func (r *region) playsPerSecond() float64 {
	mean := float64(r.c.bytes()) / float64(len(r.c.sizes)) * r.Habits.Listened / r.Habits.Bitrate
	return r.Listeners / float64(r.Scale) / mean
}

// run lets some plays take place.
func (r *region) run(plays int) {
	rate := r.playsPerSecond()
	come := r.Drift * float64(len(r.c.sizes)/variants) / (rate * 24 * 3600) // tracks, for each play
	for range plays {
		if r.rng.Float64() < come {
			r.listeners.drift()
		}
		r.play()
	}
	r.seconds += float64(plays) / rate
}

// runFor lets the plays of some seconds take place.
func (r *region) runFor(seconds float64) { r.run(int(seconds * r.playsPerSecond())) }

func (r *region) play() {
	object, edge := r.listeners.draw(), r.someEdge()
	if r.gone[object] {
		r.refused++
		return
	}
	for _, part := range r.listeners.play(object) {
		if !r.Sticky {
			edge = r.someEdge()
		}
		edge.request(object, part)
	}
}

// someEdge returns an edge that is well.
func (r *region) someEdge() *node {
	for {
		if i := r.rng.IntN(len(r.edges)); !r.lost[i] {
			return r.edges[i]
		}
	}
}

// atEdges returns what all edges have done so far.
func (r *region) atEdges() tally { return sum(r.edges) }

func sum(nodes []*node) (t tally) {
	for _, n := range nodes {
		t.add(n.tally)
	}
	return t
}

// purge drops objects on all nodes, and returns how many bytes that were, at the edges and
// in each tier.
func (r *region) purge(objects []int) (edges int64, tiers []int64) {
	tiers = make([]int64, len(r.tiers))
	for _, o := range objects {
		for _, n := range r.edges {
			edges += n.purge(o)
		}
		for i, t := range r.tiers {
			for _, n := range t.shields {
				tiers[i] += n.purge(o)
			}
		}
	}
	return edges, tiers
}

// empty replaces what a node has by nothing.
func (n *node) empty() {
	for o := range n.c.sizes {
		n.purge(o)
	}
}

// objectsOf returns the objects of some tracks.
func objectsOf(tracks []int) (objects []int) {
	for _, t := range tracks {
		for v := range variants {
			objects = append(objects, t*variants+v)
		}
	}
	return objects
}

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
