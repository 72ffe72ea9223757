package main

import (
	"math/rand/v2"

	"github.com/voyo-music/caddy-voyo/internal/sim"
)

// habits are how listeners listen.
type habits struct {
	Zipf     float64 // exponent of the popularity
	High     float64 // share of the plays that want the higher bitrate
	Listened float64 // share of a track that is heard, on average
	Skip     float64 // share of the plays that are left after 10 to 30 seconds
	Seek     float64 // share of the plays that go on somewhere else at some point
	Bitrate  float64 // bytes a second that are heard
	Buffer   float64 // seconds that a player has in advance, and which are lost when it is left
	Range    int64   // bytes that a player asks for at a time
}

// listeners play what is popular.
type listeners struct {
	habits

	rng    *rand.Rand
	c      *catalogue
	tastes sim.Popularity
	rank   []int   // the track at each rank of popularity
	toEnd  float64 // of those who do not skip, the share that hears a track to its end

	heard float64 // seconds, so far
	plays int64
	parts []span
}

// newListeners returns listeners of a catalogue, each track of which stands for scale ones.
func newListeners(h habits, c *catalogue, scale int, rng *rand.Rand) *listeners {
	tracks := len(c.sizes) / variants
	l := &listeners{habits: h, rng: rng, c: c, tastes: sim.Zipf(tracks, h.Zipf, scale), rank: make([]int, tracks)}
	for i := range l.rank {
		l.rank[i] = i
	}
	mean := float64(c.bytes()) / float64(len(c.sizes))
	skipped := min(20*h.Bitrate/mean, 1)
	rest := (h.Listened - h.Skip*skipped) / (1 - h.Skip) // of whom half of the track is heard, or all
	l.toEnd = min(max(2*rest-1, 0), 1)
	return l
}

// draw returns an object, by its popularity.
func (l *listeners) draw() int {
	track := l.rank[l.tastes.Draw(l.rng)]
	if l.rng.Float64() < l.High {
		return track*variants + 1
	}
	return track * variants
}

// drift lets a track come up, and another one go.
func (l *listeners) drift() {
	a, b := l.tastes.Draw(l.rng), l.rng.IntN(len(l.rank))
	l.rank[a], l.rank[b] = l.rank[b], l.rank[a]
}

// play returns the parts of an object that the player of somebody who plays it asks for, in
// order. They are valid until the next call.
func (l *listeners) play(object int) []span {
	size := l.c.sizes[object]
	heard := l.hears(size)
	l.plays++
	l.heard += float64(heard) / l.Bitrate
	ahead := int64(l.Buffer * l.Bitrate)
	l.parts = l.parts[:0]
	if l.rng.Float64() >= l.Seek {
		l.ask(0, min(size, heard+ahead))
		return l.parts
	}
	before := 1 + l.rng.Int64N(heard)
	l.ask(0, min(size, before+ahead))
	to := l.rng.Int64N(size)
	l.ask(to, min(size, to+heard-before+ahead))
	return l.parts
}

// hears returns how many bytes of an object somebody hears.
func (l *listeners) hears(size int64) int64 {
	switch {
	case l.rng.Float64() < l.Skip:
		return min(size, int64((10+20*l.rng.Float64())*l.Bitrate))
	case l.rng.Float64() < l.toEnd:
		return size
	}
	return 1 + l.rng.Int64N(size)
}

// ask adds the ranges from an offset to another.
func (l *listeners) ask(from, to int64) {
	for from < to {
		next := min(to, from+l.Range)
		l.parts = append(l.parts, span{from, next})
		from = next
	}
}
