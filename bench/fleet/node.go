package main

import "github.com/voyo-music/caddy-voyo/internal/sim"

// tally counts what a node, or several, did for those who asked.
type tally struct {
	requests, hits int64 // and those for which all was there
	asked, hit     int64 // bytes, and those that were there when they were asked for
	memory         int64 // those that came out of memory
	fetches        int64 // requests to who is above
	fetched        int64 // bytes that these have brought
	plays, ready   int64 // and those whose first part was there
}

// plus returns what two have done together.
func (t tally) plus(u tally) tally {
	return tally{
		t.requests + u.requests, t.hits + u.hits, t.asked + u.asked, t.hit + u.hit, t.memory + u.memory,
		t.fetches + u.fetches, t.fetched + u.fetched, t.plays + u.plays, t.ready + u.ready,
	}
}

// since returns what was done since an earlier moment.
func (t tally) since(u tally) tally {
	return tally{
		t.requests - u.requests, t.hits - u.hits, t.asked - u.asked, t.hit - u.hit, t.memory - u.memory,
		t.fetches - u.fetches, t.fetched - u.fetched, t.plays - u.plays, t.ready - u.ready,
	}
}

// kept returns the share of the bytes that nobody else had to be asked for.
func (t tally) kept() float64 { return 1 - ratio(t.fetched, t.asked) }

// source is where a node gets bytes of an object from.
type source func(object int, part span)

// node is an edge or a shield: which slices it has in memory and on disk, and what it asks
// for when it has not. It does what cache/reader.go and cache/fill.go do for a client that
// reads to the end of what it has asked for, and is the only one at that moment.
type node struct {
	tally

	c         *catalogue
	memory    *sim.Queues
	disk      *disk
	readAhead uint32 // slices
	fetch     source
}

// limits are how much a node may keep, in bytes.
type limits struct {
	memory, disk int64
	promotion    float64 // uses that bring a slice from the disk into memory
}

func newNode(c *catalogue, l limits, readAhead int, fetch source) *node {
	n := &node{
		c: c, disk: newDisk(c, l.disk), readAhead: uint32(readAhead), fetch: fetch, //nolint:gosec // a few
		memory: sim.Chosen.AboveDisk(l.promotion).Policy(l.memory, c.slice),
	}
	n.memory.Evicted = n.disk.use // what was wanted is kept there for longer, or written again
	return n
}

func (n *node) has(s uint32) bool { return n.disk.has(s) || n.memory.Has(s) }

// span is bytes of an object, from an offset to another.
type span struct{ from, to int64 }

// of returns how many bytes of a slice the span has.
func (p span) of(c *catalogue, s uint32) int64 {
	start := c.start(s)
	return max(0, min(p.to, start+c.length(s))-max(p.from, start))
}

// request asks for a part of an object.
func (n *node) request(object int, part span) {
	begin := n.c.first[object]
	first, last := begin+uint32(part.from/n.c.slice), begin+uint32((part.to-1)/n.c.slice) //nolint:gosec // within the object
	n.requests++
	n.asked += part.to - part.from
	hit := true
	for s := first; s <= last; {
		if n.has(s) {
			n.serve(s, part)
			s++
			continue
		}
		hit = false
		s = n.bring(object, s, last+n.readAhead, part)
	}
	if hit {
		n.hits++
	}
	if n.readAhead > 0 { // for the part that may be asked for next
		n.bring(object, last+1, last+1+n.readAhead, part)
	}
}

// read returns the read of a slice by who wants a part of its object.
func (n *node) read(s uint32, part span) sim.Read {
	return sim.Read{Slice: s, Length: int32(n.c.length(s)), N: int32(part.of(n.c, s))} //nolint:gosec // a slice is small
}

// serve reads a slice that is there.
func (n *node) serve(s uint32, part span) {
	r := n.read(s, part)
	n.hit += int64(r.N)
	if n.memory.Read(r, true) {
		n.tally.memory += int64(r.N)
		if part.to < n.c.start(s)+int64(r.Length) {
			return // the disk is told of whole slices
		}
	}
	n.disk.use(s)
}

// bring fetches the gap that begins at a slice, if there is one, up to another slice at the
// most, and returns the slice after it.
func (n *node) bring(object int, s, until uint32, part span) (next uint32) {
	end := min(until+1, n.c.first[object+1])
	next = s
	for next < end && !n.has(next) {
		next++
	}
	if next <= s {
		return next
	}
	gap := span{n.c.start(s), n.c.start(next-1) + n.c.length(next-1)}
	n.fetches++
	n.fetched += gap.to - gap.from
	n.fetch(object, gap)
	for ; s < next; s++ {
		n.disk.use(s)
		n.memory.Read(n.read(s, part), false)
	}
	return next
}

// purge drops all that the node has of some objects.
func (n *node) purge(objects []int) {
	for _, o := range objects {
		for s := n.c.first[o]; s < n.c.first[o+1]; s++ {
			n.memory.Drop(s)
			if n.disk.has(s) {
				n.disk.drop(s)
			}
		}
	}
}

func ratio(a, b int64) float64 { return float64(a) / float64(max(b, 1)) }
