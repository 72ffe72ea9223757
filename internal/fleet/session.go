package fleet

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// checkEvery is how often a node asks how far the log is.
	checkEvery = 2 * time.Second

	// checkPatience bounds how long a node waits for an answer of JetStream. Requests are lost
	// while leaders change, so it is better to ask again soon.
	checkPatience = 2 * time.Second

	// makePatience bounds how long a stream may take to be made.
	makePatience = 6 * time.Second
)

// lapseAfter is how long the log may not answer until a node that has a connection does
// not count as current any more. An election in the cluster is over sooner. A test may
// shorten it.
var lapseAfter = 15 * time.Second

var (
	errLapsed   = errors.New("the log has not answered for too long")
	errReplaced = errors.New("the stream is another one")
	errUnfit    = errors.New("the stream is not set up as a log")
)

// session is the time in which the log can be read, over one connection.
type session struct {
	ctx    context.Context
	end    context.CancelCauseFunc
	js     jetstream.JetStream
	stream jetstream.Stream
	nodes  jetstream.Stream // that of their bucket
	id     string           // the stream's identity
	skew   time.Duration    // how far the servers' clock is ahead of this node's

	last uint64 // sequence number known to be in the log; under Log.mu
}

// run connects, and has sessions, until the log is closed. A connection that nats.go closes
// for good, as it does after errors that it does not know, is followed by another one.
func (l *Log) run() {
	for nc := l.connect(); nc != nil; nc = l.connect() {
		l.stay(nc)
		l.mu.Lock()
		l.nc = nil
		if l.ctx.Err() != nil {
			l.nc = nc // to be closed
		}
		l.mu.Unlock()
		if !pause(l.ctx, pauseMax) {
			return
		}
	}
}

// stay has sessions over a connection until that is closed for good, or the log is.
func (l *Log) stay(nc *nats.Conn) {
	if err := l.listen(nc); err != nil { // only a closed connection has one
		l.trouble(err)
		return
	}
	for {
		connection, ok := l.awaitConnection(nc)
		if !ok {
			return
		}
		if err := l.attend(connection); err != nil && connection.Err() == nil {
			l.trouble(err)
			pause(connection, reconnectWait)
		}
	}
}

// awaitConnection returns the context of the connection once there is one, false when
// it is closed for good, or the log is.
func (l *Log) awaitConnection(nc *nats.Conn) (context.Context, bool) {
	for {
		l.mu.Lock()
		connection, changed := l.connection, l.changed
		l.mu.Unlock()
		if l.ctx.Err() != nil {
			return nil, false
		}
		if connection != nil && connection.Err() == nil {
			return connection, true
		}
		again := time.NewTimer(checkEvery)
		select {
		case <-changed:
		case <-l.ctx.Done():
		case <-l.finished:
			again.Stop()
			return nil, false
		case <-again.C: // nats.go does not tell of each error
			if err := nc.LastError(); err != nil {
				l.trouble(err)
			}
		}
		again.Stop()
	}
}

// attend joins the fleet, and stays until the connection or the log ends.
func (l *Log) attend(connection context.Context) error {
	s, err := l.join(connection)
	if err != nil {
		return err
	}
	l.mu.Lock()
	if connection.Err() == nil {
		l.session, l.why = s, reason{}
	}
	l.refresh()
	l.mu.Unlock()
	l.announce()
	l.settle() // what could not be answered before

	err = l.keep(s)
	s.end(err)
	l.mu.Lock()
	if l.session == s {
		l.session = nil
		l.why = reasonOf(err)
	}
	l.refresh()
	l.mu.Unlock()
	l.announce()
	return err
}

// join registers the node, and finds out how far the log is. The registration, which is
// acknowledged by a quorum, comes first: so the answer to the second question is none
// of a server that is cut off from the others, and who appends later finds this node
// among the registered ones.
func (l *Log) join(ctx context.Context) (*session, error) {
	_, js, err := l.link()
	if err != nil {
		return nil, err
	}
	stream, err := ensureLog(ctx, js)
	if err != nil {
		return nil, err
	}
	if err := l.register(ctx, js); err != nil {
		return nil, err
	}
	info, err := look(ctx, stream)
	if err != nil {
		return nil, err
	}
	if err := l.inspect(info); err != nil {
		return nil, err
	}
	nodes, err := js.Stream(ctx, bucketStream)
	if err != nil {
		return nil, err
	}
	s := &session{js: js, stream: stream, nodes: nodes, id: identity(info), last: info.State.LastSeq, skew: time.Until(info.TimeStamp)}
	s.ctx, s.end = context.WithCancelCause(ctx)
	return s, nil
}

// keep stays in the session until it ends, and returns why.
func (l *Log) keep(s *session) error {
	tick := time.NewTicker(checkEvery)
	defer tick.Stop()
	well, renewed := time.Now(), time.Now()
	for {
		select {
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		case <-tick.C:
		}
		info, err := look(s.ctx, s.stream)
		if err == nil && identity(info) != s.id || errors.Is(err, jetstream.ErrStreamNotFound) {
			return errReplaced
		}
		if err == nil {
			if err := l.inspect(info); err != nil {
				return err
			}
		}
		if err == nil && time.Since(renewed) >= renewEvery {
			if err = l.register(s.ctx, s.js); err == nil {
				renewed = time.Now()
			}
		}
		switch {
		case err == nil:
			well = time.Now()
			l.heard(s, info.State.LastSeq)
		case time.Since(well) >= lapseAfter:
			return errors.Join(errLapsed, err)
		}
	}
}

// inspect returns errUnfit if the stream is none to rely on. As long as that is so nothing is
// appended.
func (l *Log) inspect(info *jetstream.StreamInfo) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.unfit = unfit(info.Config); l.unfit {
		return errUnfit
	}
	return nil
}

// heard takes note of a sequence number that is in the log.
func (l *Log) heard(s *session, seq uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s.last = max(s.last, seq)
}

// look asks the stream's leader how the stream is.
func look(ctx context.Context, stream jetstream.Stream, opts ...jetstream.StreamInfoOpt) (*jetstream.StreamInfo, error) {
	ctx, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	return stream.Info(ctx, opts...)
}

// identity returns that of a stream: two of the same name are not made at the same time.
func identity(info *jetstream.StreamInfo) string {
	return info.Created.UTC().Format(time.RFC3339Nano)
}
