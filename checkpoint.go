package voyo

import (
	"slices"
	"sync"

	"github.com/voyo-music/caddy-voyo/internal/fleet"
	"github.com/voyo-music/caddy-voyo/resolver"
)

// checkpoint is how far a log was applied, and what was taken down then, as it is kept on
// disk.
type checkpoint struct {
	fleet.Position

	Takedowns []resolver.ID `json:"takedowns,omitempty"`
}

// elsewhere is a position in no stream: who has it has to count everything as purged.
var elsewhere = fleet.Position{Stream: "unknown"}

// or returns the later one of two. If nobody can tell which that is, it has what is taken
// down of both.
func (c checkpoint) or(other checkpoint) checkpoint {
	none := fleet.Position{}
	switch {
	case c.Position == none, other.Stream == c.Stream && other.Seq > c.Seq:
		return other
	case other.Position != none && other.Stream != c.Stream:
		c.Takedowns = slices.Concat(c.Takedowns, other.Takedowns)
	}
	return c
}

// older returns a position up to which is applied whatever was applied up to both.
func older(a, b fleet.Position) fleet.Position {
	none := fleet.Position{}
	switch {
	case a == none, b == none:
		return none
	case a.Stream != b.Stream, a.Seq == b.Seq && a.Time != b.Time && a.Time != 0 && b.Time != 0:
		return elsewhere
	case a.Seq < b.Seq, a.Seq == b.Seq && b.Time == 0:
		return a
	default:
		return b
	}
}

// followings are those that have ended. What they had got to the node has said to have
// done, though another state, or another disk, may know nothing of it.
type followings struct {
	mu       sync.Mutex
	furthest checkpoint
}

// endedFollowings are those of the process, for as long as it is in a fleet.
var endedFollowings followings

// add takes note of how far one has got that has ended.
func (e *followings) add(f *following) {
	last := f.reached()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.furthest = last.or(e.furthest)
}

// forget has it all forgotten, as nobody expects anything of a node that is in no fleet.
func (e *followings) forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.furthest = checkpoint{}
}

// furthestFollowed returns how far the process has got with any of its states.
func furthestFollowed() checkpoint {
	endedFollowings.mu.Lock()
	furthest := endedFollowings.furthest
	endedFollowings.mu.Unlock()
	for _, f := range living.followings() {
		furthest = f.reached().or(furthest)
	}
	return furthest
}

// reached returns how far what is followed is in effect.
func (f *following) reached() checkpoint {
	f.headway.mu.Lock()
	at := f.headway.done
	f.headway.mu.Unlock()
	if at == elsewhere {
		return checkpoint{}
	}
	return checkpoint{at, f.state.takedowns.list()}
}
