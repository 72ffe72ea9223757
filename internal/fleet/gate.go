package fleet

import (
	"context"
	"errors"
	"time"
)

var (
	// ErrBehind says that a follower did not get as far as it has to within gatePatience.
	ErrBehind = errors.New("the node has not caught up with its fleet")

	// ErrFailing says that a follower does not get on because what it has to apply fails.
	ErrFailing = errors.New("the node can't apply what its fleet has decided")
)

const (
	// openPatience is how long after Open a follower's Await waits for NATS.
	openPatience = 5 * time.Second

	// gatePatience bounds how long Await waits for a follower to catch up.
	gatePatience = 5 * time.Second
)

// passage is what the gate does with those who come.
type passage int

const (
	open   passage = iota
	shut           // for the time being
	broken         // until what fails is well again
)

// gate returns what it does at a time. Log.mu is held.
func (f *Follower) gate(now time.Time) passage {
	s := f.log.session
	switch {
	case f.closed || f.log.closed:
		return open
	case f.failing:
		return broken
	case s != nil && f.current == s:
		return open
	case f.dated, s != nil && f.mayCatchUp(s, now):
		return shut
	case now.Before(f.log.opened.Add(openPatience)) && !f.reached: // NATS may be there in a moment
		return shut
	default:
		return open
	}
}

// mayCatchUp returns whether the follower catches up in a session, or may do so in a moment.
// Log.mu is held.
func (f *Follower) mayCatchUp(s *session, now time.Time) bool {
	if f.reading == s || f.tried != s {
		return true
	}
	missed := f.at.Seq != s.last || f.at.Stream != s.id && f.at != Position{}
	fresh := !f.reached && now.Before(f.started.Add(openPatience))
	return missed && now.Before(f.stumbled.Add(lapseAfter)) || fresh
}

// Await is the gate in front of what is kept: it returns nil when that may be served.
//
// That is at once, at the cost of an atomic load, while the follower is current: it has
// applied what was in the log when this node last connected. While it catches up Await
// blocks, for 5 seconds at most (gatePatience), and then returns ErrBehind; if what it has to
// apply fails it returns ErrFailing at once. While NATS is away Await returns nil at once, so
// that the node goes on serving. That includes that it has no quorum, and that it has not told
// for lapseAfter what is in the log. But during the 5 seconds after Open (openPatience) Await waits
// for the first catch-up, and as long as the follower is behind what the node has said to have
// applied for that: see Follow. It returns the context's error if that is done first, and nil
// when the follower is closed.
func (f *Follower) Await(ctx context.Context) error {
	if f.passes.Load() {
		return nil
	}
	patience := time.NewTimer(gatePatience)
	defer patience.Stop()
	late := false
	for {
		f.log.mu.Lock()
		state, changed := f.gate(time.Now()), f.log.changed
		f.passes.Store(state == open)
		f.log.mu.Unlock()
		switch {
		case state == open:
			return nil
		case state == broken:
			return ErrFailing
		case late:
			return ErrBehind
		}
		select {
		case <-changed:
		case <-patience.C:
			late = true // if it still is not open
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
