// Package fleet is what the nodes of a fleet have in common: a log of what every one
// of them has to apply, in order and even if it was away, and a list of the nodes.
// Both are kept by NATS JetStream, in a stream and a key-value bucket that are
// replicated on three servers, where there are so many.
package fleet

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

// Config says how to reach the fleet, and as whom.
type Config struct {
	// URLs are those of the servers of NATS, with one of the schemes nats, tls, ws and
	// wss, or without a scheme, which is nats. The user and the password, or the
	// token, that one of them has may be secrets.
	URLs []string

	// Credentials is the path of a file that has the JWT and the seed of a user, as
	// nsc makes it. Empty: there is none. It is read anew for each connection.
	Credentials string

	// Node is the name of this node, which no other one of the fleet has: see CheckNode.
	Node string

	// Version is that of the program, for those who look at the fleet.
	Version string

	// Status returns the JSON that this node answers when Nodes is called on any one of
	// the fleet; at most MaxStatus bytes. It is called by one goroutine at a time, and
	// may be nil.
	Status func() json.RawMessage

	Events Events
}

// MaxStatus is how many bytes the status of a node may have. A longer one is not
// answered.
const MaxStatus = 256 << 10

// Events are called when something happens. They are called in order, one at a time,
// by goroutines that wait for them, and must not call methods of the Log but Status.
// Each may be nil.
type Events struct {
	// Changed is called when a member of the Status other than Detail, Applied, Last and
	// Lag has changed.
	Changed func(Status)

	// Failed is called each time that an entry could not be applied. Its error may be
	// a *contain.PanicError.
	Failed func(Entry, error)

	// Panicked is called when Config.Status panicked, with a *contain.PanicError.
	Panicked func(error)
}

// Status is how this node stands in its fleet.
type Status struct {
	// Connected is whether there is a connection to a server of NATS.
	Connected bool

	// Current is whether this node is known to all the others, and has applied, with
	// all its followers, what was in the log when it last connected. It becomes false
	// with the connection, and also when the log can't be read for longer than
	// 15 seconds (lapseAfter) or when an entry can't be applied.
	Current bool

	// Reason says in words why it is not Current, or that another node has the same
	// name. It is one of a fixed set, and empty if all is well. Detail is what more is
	// known, for operators: the subject that is not permitted, or what JetStream says, which
	// may have paths of its servers. Neither has URLs, users or files of this node.
	Reason, Detail string

	// Applied is the sequence number up to which all followers have applied the log, 0
	// without one. Last is the last one that is known to be in the log, and Lag how many
	// are between them.
	Applied, Last, Lag uint64
}

// Why returns all that is known of why something is not as it should be, for operators.
func (s Status) Why() string { return reason{s.Reason, s.Detail}.String() }

// Log is a node's connection to its fleet. Its methods can be called by any number of
// goroutines.
type Log struct {
	config   Config
	instance string // of this process, random
	opened   time.Time

	ctx     context.Context // until it is closed
	cancel  context.CancelFunc
	dialing context.Context // until nothing may be connected any more
	hangUp  context.CancelFunc
	work    sync.WaitGroup // of the log and its followers
	serving chan struct{}  // has one in it while a status is answered
	tokens  chan struct{}  // one for each Append that may be in progress

	registered chan struct{} // closed once this node is

	mu         sync.Mutex
	changed    chan struct{} // closed and made anew when what Await waits for has changed
	closed     bool
	nc         *nats.Conn         // nil until there is one
	finished   chan struct{}      // closed when it is closed for good
	connection context.Context    // of the present connection; nil if there is none
	cut        context.CancelFunc // ends it
	session    *session           // nil if the log can't be read
	why        reason             // there is no session
	denied     reason             // what NATS did not permit over this connection
	unfit      bool               // the stream is set up to lose entries
	namesake   time.Time          // when another node of this name was last seen
	revision   uint64             // of this node's registration; of the goroutine that registers
	formers    []former           // which are still registered, as far as is known
	followers  map[*Follower]struct{}
	owed       []owed           // answers to those who append, by sequence number
	calls      map[string]*call // which wait for answers, by their ID
	lastCall   uint64           // number of calls there have been

	announcing sync.Mutex // held while an event is called
	announced  Status
}

// Open returns a log that connects in the background, as often as it has to until it is
// closed. Its errors are those of Validate: what can be well later is none. The stream
// and the bucket are made if they are missing.
func Open(c Config) (*Log, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	l := &Log{
		config:     c,
		instance:   rand.Text(),
		opened:     time.Now(),
		serving:    make(chan struct{}, 1),
		tokens:     make(chan struct{}, maxAppends),
		registered: make(chan struct{}),
		changed:    make(chan struct{}),
		why:        reason{text: "there is no connection to NATS yet"},
		followers:  make(map[*Follower]struct{}),
		calls:      make(map[string]*call),
	}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.dialing, l.hangUp = context.WithCancel(context.Background())
	l.announced = l.Status()
	l.work.Go(l.run)
	return l, nil
}

// Close ends the followers, waits for what they apply, whose context is done, and
// disconnects. The node stays registered, so that others know that it has to be told
// of what it misses, until it has not been seen for memberTTL.
func (l *Log) Close() { l.end(false) }

// Leave is Close for a node that there is no more under this name: nobody is to wait for
// it. If NATS does not hear of that for leavePatience the node stays registered.
func (l *Log) Leave() { l.end(true) }

func (l *Log) end(leave bool) {
	l.mu.Lock()
	closed, nc := l.closed, l.nc
	l.closed = true
	l.refresh()
	l.mu.Unlock()
	if closed {
		return
	}
	l.cancel()
	if nc == nil {
		l.hangUp() // it tries to connect, which nobody waits for any more
	}
	l.work.Wait()
	if leave && l.revision != 0 {
		_ = l.unregister(context.Background(), l.config.Node, l.revision) // who can't leave is missed
	}
	l.mu.Lock()
	nc, finished := l.nc, l.finished // they may have come late
	l.mu.Unlock()
	if nc != nil {
		nc.Close()
		<-finished
	}
	l.hangUp()
	l.serving <- struct{}{} // nobody answers any more
}

// Status returns how this node stands in its fleet.
func (l *Log) Status() Status {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := Status{Connected: l.connection != nil, Current: l.session != nil}
	var why reason
	if l.session != nil {
		s.Last = l.session.last
	} else {
		why = l.why
	}
	for f := range l.followers {
		if !f.isCurrent() {
			s.Current = false
			why = cmp.Or(why, f.why)
		}
	}
	s.Applied = l.applied()
	s.Last = max(s.Last, s.Applied)
	s.Lag = s.Last - s.Applied
	switch {
	case !s.Current:
		why = cmp.Or(why, reason{text: "the log is being caught up with"})
	case !l.namesake.IsZero():
		why = reason{text: "another node has the same name"}
	}
	s.Reason, s.Detail = why.text, why.detail
	return s
}

// refresh has everyone look again who waits for something to change. l.mu is held.
func (l *Log) refresh() {
	for f := range l.followers {
		f.passes.Store(f.gate(time.Now()) == open)
	}
	close(l.changed)
	l.changed = make(chan struct{})
}

// announce tells of what has changed, if it is more than numbers. l.mu is not held.
func (l *Log) announce() {
	l.announcing.Lock()
	defer l.announcing.Unlock()
	s := l.Status()
	before := l.announced
	l.announced = s
	if l.config.Events.Changed == nil || l.ctx.Err() != nil {
		return
	}
	if s.Connected != before.Connected || s.Current != before.Current || s.Reason != before.Reason {
		l.config.Events.Changed(s)
	}
}
