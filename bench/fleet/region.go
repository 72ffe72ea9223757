package main

import (
	"fmt"
	"math/rand/v2"

	"github.com/voyo-music/caddy-voyo/resolver"
)

// region is the edges of a world. Besides each other there may be several tiers of shields
// above them: what edges ask for does not depend on what is above.
type region struct {
	world

	c         *catalogue
	rng       *rand.Rand
	detour    *rand.Rand // of those whose edge is lost
	listeners *listeners
	edges     []*node
	lost      []bool
	tiers     []*tier
	gone      map[int]bool // objects that were taken down
	refused   int64        // plays of these
	sent      int64        // bytes to listeners
}

// newRegion returns a region of some edges, whose caches are empty.
func newRegion(w world, edges int) *region {
	rng := rand.New(rand.NewPCG(w.Seed, 1)) //nolint:gosec // a region must be the same each time
	c := newCatalogue(w.Slice, evenSizes(max(w.Tracks/w.Scale, 1)*variants, w.Smallest, w.Largest))
	r := &region{
		world: w, c: c, rng: rng, listeners: newListeners(w.Habits, c, w.Scale, rng),
		lost: make([]bool, edges), gone: make(map[int]bool),
		detour: rand.New(rand.NewPCG(w.Seed, 2)), //nolint:gosec // likewise
	}
	for range edges {
		r.edges = append(r.edges, newNode(c, w.scaled(w.Edge), w.ReadAhead, r.ask))
	}
	return r
}

// ask is the edges' source.
func (r *region) ask(object int, part span) {
	for _, t := range r.tiers {
		t.ask(object, part)
	}
}

// addTier puts n shields above the edges, besides other tiers.
func (r *region) addTier(n int, l limits) *tier {
	tracks := len(r.c.sizes) / variants
	t := newTier(r.c, n, r.scaled(l), r.ReadAhead, rendezvous(somewhere(n), tracks, func(track int) string {
		return trackPath(trackID(track))
	}))
	r.tiers = append(r.tiers, t)
	return t
}

// mesh makes the edges shields of each other, each of its share of the tracks, and returns
// them as a tier.
func (r *region) mesh() *tier {
	t := r.addTier(len(r.edges), limits{})
	t.shields, t.lost = r.edges, r.lost
	for i, n := range r.edges {
		n.fetch = func(object int, part span) {
			if t.owner(object) == i { // it asks itself, which it finds out at once
				t.fetch(object, part)
				return
			}
			t.ask(object, part)
		}
	}
	return t
}

// trackID returns an ID for a track.
func trackID(track int) resolver.ID { return resolver.ID(fmt.Sprintf("fleet%06d", track)) }

// trackPath is what an edge's policy selects the shield by, that has a track.
func trackPath(id resolver.ID) string { return "/cdn/stream/" + id.VOYO() }

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
}

// runFor lets the plays of some seconds take place.
func (r *region) runFor(seconds float64) { r.run(int(seconds * r.playsPerSecond())) }

func (r *region) play() {
	object, edge := r.listeners.draw(), r.someEdge()
	parts := r.listeners.play(object)
	if r.gone[object] {
		r.refused++
		return
	}
	for i, part := range parts {
		if !r.Sticky {
			edge = r.someEdge()
		}
		before := edge.hits
		r.sent += part.to - part.from
		edge.request(object, part)
		if i == 0 {
			edge.plays++
			edge.ready += edge.hits - before
		}
	}
}

// someEdge returns an edge that is well. That one is not does not change what others are
// asked for besides.
func (r *region) someEdge() *node {
	i := r.rng.IntN(len(r.edges))
	for r.lost[i] {
		i = r.detour.IntN(len(r.edges))
	}
	return r.edges[i]
}

// atEdges returns what all edges have done so far.
func (r *region) atEdges() (t tally) {
	for _, n := range r.edges {
		t = t.plus(n.tally)
	}
	return t
}
