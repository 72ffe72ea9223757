package main

import (
	"math/rand/v2"
	"slices"
)

// Minutes of a timeline: before anything happens, until what was lost is back, and after
// that.
const (
	warmUp   = 5 // not looked at: the memories fill
	ahead    = 10
	away     = 30
	timeline = 70
)

// minute is what happened in one.
type minute struct {
	edges  tally
	origin []int64 // bytes that the tiers have asked it for
}

// event is what happens to a region.
type event struct {
	name  string
	begin func(r *region) // after the minutes ahead
	end   func(r *region) // so many minutes later that something is away; nil: nothing
}

// watch returns what happens in a region, minute by minute, with one event. Whatever happens
// the same tracks are played, so that what differs is what the event has cost.
func (r *region) watch(e event) (ms []minute) {
	r.settle()
	r.runFor(warmUp * 60)
	for m := range timeline {
		switch {
		case m == ahead && e.begin != nil:
			e.begin(r)
		case m == ahead+away && e.end != nil:
			e.end(r)
		}
		before, origin := r.atEdges(), r.originBytes()
		r.runFor(60)
		now := minute{edges: r.atEdges().since(before), origin: r.originBytes()}
		for i := range origin {
			now.origin[i] -= origin[i]
		}
		ms = append(ms, now)
	}
	return ms
}

func (r *region) originBytes() []int64 {
	bytes := make([]int64, len(r.tiers))
	for i, t := range r.tiers {
		bytes[i] = t.origin.asked
	}
	return bytes
}

// purge drops objects on all nodes.
func (r *region) purge(objects []int) {
	nodes := r.edges
	for _, t := range r.tiers {
		nodes = append(slices.Clip(nodes), t.shields...)
	}
	for _, n := range nodes {
		n.purge(objects)
	}
}

// takeDown purges objects, and has nobody play them any more.
func (r *region) takeDown(objects []int) {
	r.purge(objects)
	for _, o := range objects {
		r.gone[o] = true
	}
}

// all are the objects of the catalogue.
func (c *catalogue) all() []int {
	objects := make([]int, len(c.sizes))
	for o := range objects {
		objects[o] = o
	}
	return objects
}

// ranked returns the objects of the tracks at so many ranks of popularity, from the first on.
func (l *listeners) ranked(n int) (objects []int) {
	for _, track := range l.rank[:min(n, len(l.rank))] {
		objects = append(objects, track*variants, track*variants+1)
	}
	return objects
}

// some returns the objects of n tracks that are taken at random.
func (r *region) some(n int) (objects []int) {
	rng := rand.New(rand.NewPCG(r.Seed, 3)) //nolint:gosec // the same each time
	for _, track := range rng.Perm(len(r.listeners.rank))[:min(n, len(r.listeners.rank))] {
		objects = append(objects, track*variants, track*variants+1)
	}
	return objects
}

// lose lets the first shield be lost, or return with what it had.
func (t *tier) lose(lost, modulo bool) {
	t.lost[0] = lost
	if modulo {
		t.order = byModulo(t.lost, len(t.order))
	}
}
