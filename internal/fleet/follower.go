package fleet

import (
	"context"
	"errors"
)

var (
	// ErrBehind says that a follower did not get as far as it has to within gatePatience.
	ErrBehind = errors.New("the node has not caught up with its fleet")

	// ErrFailing says that a follower does not get on because what it has to apply fails.
	ErrFailing = errors.New("the node can't apply what its fleet has decided")

	// ErrNotKept is wrapped by what apply returns if the entry is in effect but may not
	// be so after a restart: the disk has failed, for instance.
	ErrNotKept = errors.New("applied, but not kept")
)

// Follower applies the entries of a log.
type Follower struct{}

// Follow has the entries behind a position applied, one after another, in order, by a
// goroutine of the follower. An entry whose apply fails or panics is applied again, with a backoff of
// at most applyRetryMax, and the entries behind it wait: only that which returns an
// ErrNotKept counts as applied, though the receipt will say that it failed. An entry
// that can't be understood, such as one of a later version, is therefore better
// ignored than refused. The same entry can be applied again after a restart from an
// older position, and behind a Reset.
//
// apply's context is done when the follower or the log is closed. A node has answered
// for an entry when all its followers have applied it; a log without followers answers
// for none.
func (l *Log) Follow(from Position, apply func(context.Context, Entry) error) *Follower {
	return new(Follower)
}

// Await is the gate in front of what is kept: it returns nil when that may be served.
//
// That is at once, at the cost of an atomic load, while the follower is current: it has
// applied what was in the log when this node last connected. While it catches up Await
// blocks, for gatePatience at most, and then returns ErrBehind; if what it has to
// apply fails it returns ErrFailing at once. While NATS is away, which includes that
// it has no quorum, Await returns nil at once, so that the node goes on serving, except
// during openPatience after Open, when it waits for the first catch-up. It returns the
// context's error if that is done first, and nil when the follower is closed.
func (f *Follower) Await(ctx context.Context) error { return nil }

// Position returns what was applied last.
func (f *Follower) Position() Position { return Position{} }

// Close ends the follower, and waits for what it applies, whose context is done.
func (f *Follower) Close() {}
