package main

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

// scaled returns limits as they are simulated.
func (w world) scaled(l limits) limits {
	l.memory, l.disk = l.memory/int64(w.Scale), l.disk/int64(w.Scale)+layout
	return l
}
