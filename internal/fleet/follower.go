package fleet

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"github.com/voyo-music/caddy-voyo/internal/contain"
)

// ErrNotKept is wrapped by what apply returns if the entry is in effect but may not be so
// after a restart: the disk has failed, for instance.
var ErrNotKept = errors.New("applied, but not kept")

// How long to wait until an entry is applied again. A test may shorten it.
var (
	applyRetryFirst = 100 * time.Millisecond
	applyRetryMax   = 10 * time.Second
)

// Follower applies the entries of a log.
type Follower struct {
	log     *Log
	apply   func(context.Context, Entry) error
	ctx     context.Context
	cancel  context.CancelFunc
	ended   chan struct{}
	started time.Time
	opening *time.Timer // looks at the gate again when nothing more is waited for
	passes  atomic.Bool // the gate is open

	// These are under Log.mu, and changed by the follower's own goroutine alone.
	at      Position // that has been applied, or need not be
	told    Position // that apply was last told; or that it had at first
	covered uint64   // by a Reset: purges up to here need not be told
	reading *session // in which it reads the log; nil if it does not
	target  uint64   // how far the log was when it began to
	current *session // in which it has got there
	tried   *session // in which it could not read the log, at least once
	reached bool     // it has been current before
	failing bool     // what is to be applied next has failed
	dated   bool     // what the node has said to have applied is not in effect
	closed  bool
	why     reason // it does not get on

	stumbled  time.Time // since when the log can't be followed in its session
	suspected time.Time // when it first seemed that entries are missing; of its goroutine alone
}

// Follow has the entries behind a position applied, one after another, in order, by a
// goroutine of the follower. An entry whose apply fails or panics is applied again, with a backoff of
// at most applyRetryMax, and the entries behind it wait: only that which returns an
// ErrNotKept counts as applied, though the receipt will say that it failed. An entry
// that can't be understood, such as one of a later version, is therefore better
// ignored than refused. The same entry can be applied again after a restart from an
// older position, and behind a Reset.
//
// known is how far the node has said to have applied the log, by another follower or
// another log; the zero value if it has not. A follower that is behind that must not have
// anything served: its gate stays shut until it has caught up or, if it can't because NATS is
// away, until it has been told a Reset at the position that it has, after openPatience. It
// follows from there when NATS is back.
//
// apply's context is done when the follower or the log is closed. A node has answered
// for an entry when all its followers have applied it; a log without followers answers
// for none.
func (l *Log) Follow(from, known Position, apply func(context.Context, Entry) error) *Follower {
	f := &Follower{
		log:     l,
		apply:   apply,
		ended:   make(chan struct{}),
		started: time.Now(),
		at:      from,
		told:    from,
		dated:   known != Position{} && !from.Reaches(known),
	}
	f.ctx, f.cancel = context.WithCancel(l.ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		f.closed = true
		f.passes.Store(true)
		close(f.ended)
		return f
	}
	f.opening = time.AfterFunc(openPatience, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.refresh()
	})
	l.followers[f] = struct{}{}
	l.refresh()
	l.work.Go(func() {
		defer close(f.ended)
		f.run()
	})
	return f
}

// Close ends the follower, and waits for what it applies, whose context is done.
func (f *Follower) Close() {
	f.cancel()
	<-f.ended
	if f.opening != nil {
		f.opening.Stop()
	}
	l := f.log
	l.mu.Lock()
	f.closed = true
	delete(l.followers, f)
	f.passes.Store(true)
	l.refresh()
	l.mu.Unlock()
	l.announce()
	l.settle() // others may have waited for it
}

// applied returns the sequence number up to which the present log is applied. Log.mu is
// held.
func (f *Follower) applied() uint64 {
	if s := f.log.session; s != nil && s.id != f.at.Stream {
		return 0
	}
	return f.at.Seq
}

// isCurrent returns whether the follower has caught up. Log.mu is held.
func (f *Follower) isCurrent() bool {
	return f.current != nil && f.current == f.log.session && !f.failing
}

// run follows the log in each of its sessions.
func (f *Follower) run() {
	wait := retryEvery
	for {
		s := f.awaitSession()
		if s == nil {
			return
		}
		before := f.at
		err := f.follow(s)
		if s.ctx.Err() != nil || errors.Is(err, errAgain) {
			continue
		}
		f.stumble(err)
		if time.Since(f.stumbled) >= lapseAfter {
			f.forget()
		}
		if f.at != before {
			wait = retryEvery
		}
		pause(s.ctx, wait)
		wait = min(2*wait, pauseMax)
	}
}

// awaitSession returns the session once there is one, nil when the follower is closed.
func (f *Follower) awaitSession() *session {
	var late <-chan time.Time
	if f.dated {
		patience := time.NewTimer(time.Until(f.started.Add(openPatience)))
		defer patience.Stop()
		late = patience.C
	}
	for {
		f.log.mu.Lock()
		s, changed := f.log.session, f.log.changed
		f.log.mu.Unlock()
		if f.ctx.Err() != nil {
			return nil
		}
		if s != nil && s.ctx.Err() == nil {
			return s
		}
		select {
		case <-changed:
		case <-late:
			f.forget()
		case <-f.ctx.Done():
		}
	}
}

// forget has everything count as purged that may be older than what the node has said to have
// applied, because it can't be told what that was.
func (f *Follower) forget() {
	if f.dated && f.do(Entry{Position: f.at, Kind: Reset}) == nil {
		f.change(func() { f.dated = false })
	}
}

// stumble takes note of why the log can't be followed. Within lapseAfter that is no
// reason not to be current any more: a server that has told what is in the log may have
// been restarted.
func (f *Follower) stumble(err error) {
	f.change(func() {
		if f.stumbled.IsZero() || f.tried != f.log.session {
			f.stumbled = time.Now()
		}
		f.tried, f.why = f.log.session, reasonOf(err)
		if time.Since(f.stumbled) >= lapseAfter || f.current != f.reading {
			f.reading, f.current = nil, nil
		}
	})
}

// change changes what others look at, and tells them.
func (f *Follower) change(do func()) {
	f.log.mu.Lock()
	do()
	f.log.refresh()
	f.log.mu.Unlock()
	f.log.announce()
}

// move takes note of what has been applied, or need not be.
func (f *Follower) move(to Position) {
	l := f.log
	l.mu.Lock()
	f.at = to
	arrived := f.reading != nil && f.current != f.reading && to.Stream == f.reading.id && to.Seq >= max(f.target, f.covered)
	l.mu.Unlock()
	if arrived {
		f.change(func() { f.current, f.reached, f.dated, f.why = f.reading, true, false, reason{} })
	}
	l.settle()
}

// do applies an entry, as often as it takes. Its error is that of the follower's context.
func (f *Follower) do(e Entry) error {
	for wait := applyRetryFirst; ; wait = min(2*wait, applyRetryMax) {
		err := contain.Do(func() error { return f.apply(f.ctx, e) })
		kept := err == nil
		if !kept && f.ctx.Err() != nil {
			return f.ctx.Err()
		}
		again := !kept && !errors.Is(err, ErrNotKept)
		if !kept {
			f.log.failedAt(e.Seq, again)
			f.log.tellFailed(e, err)
		}
		if !again {
			f.done(e.Position)
			return nil
		}
		f.change(func() { f.failing, f.why = true, reason{text: "what the fleet has decided can't be applied"} })
		if !pause(f.ctx, wait) {
			return f.ctx.Err()
		}
	}
}

// done takes note that an entry was applied.
func (f *Follower) done(at Position) {
	f.log.mu.Lock()
	f.told = at
	well := !f.failing
	f.log.mu.Unlock()
	if !well {
		f.change(func() { f.failing, f.why = false, reason{} })
	}
}

// tellFailed tells of an entry that could not be applied.
func (l *Log) tellFailed(e Entry, err error) {
	l.announcing.Lock()
	defer l.announcing.Unlock()
	if l.config.Events.Failed != nil {
		l.config.Events.Failed(e, err)
	}
}
