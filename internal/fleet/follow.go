package fleet

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// replayMax is how many entries a follower is told one by one that has never applied anything. If
// there are more everything counts as purged, which is quicker, and loses nothing where
// nothing is stored. A test may lower it.
var replayMax uint64 = 256

// certainAfter is how long it must look as if entries were missing until it counts: a
// leader that was just elected may be late. A test may shorten it.
var certainAfter = 5 * time.Second

var (
	errAgain     = errors.New("to be followed from another position")
	errUncertain = errors.New("entries seem to be missing")
)

// follow applies what is in the log, until the session ends or something is wrong.
func (f *Follower) follow(s *session) error {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	defer context.AfterFunc(f.ctx, cancel)()
	behind := f.at.Seq
	if f.at.Stream != s.id {
		behind = 0
	}
	r, err := s.read(ctx, behind)
	if err != nil {
		return err
	}
	defer r.close()
	// if there still is the same stream, the consumer is one of it
	info, err := look(ctx, s.stream)
	if err != nil {
		return err
	}
	if identity(info) != s.id {
		s.end(errReplaced)
		return errReplaced
	}
	last := info.State.LastSeq
	f.log.heard(s, last)
	f.change(func() {
		f.stumbled = time.Time{}
		f.reading, f.target, f.why = s, last, reason{}
		if f.at.Stream != s.id || f.at.Seq != last {
			f.current = nil
		}
	})
	if err := f.enter(ctx, s, last); err != nil {
		return err
	}
	f.move(f.at) // it may be there already
	for {
		m, meta, err := r.next(ctx)
		if err == nil {
			err = f.take(ctx, s, m, meta)
		}
		if err != nil && (!errors.Is(err, errQuiet) || f.isBehind(s)) {
			return err
		}
	}
}

// isBehind returns whether there is something in the log that is not applied.
func (f *Follower) isBehind(s *session) bool {
	f.log.mu.Lock()
	defer f.log.mu.Unlock()
	return s.last > f.at.Seq
}

// enter makes the follower's position one from which the stream, whose last sequence number is
// known, can be followed.
func (f *Follower) enter(ctx context.Context, s *session, last uint64) error {
	switch {
	case f.at == Position{} && last > replayMax:
		return f.reset(s, last)
	case f.at == Position{}:
		f.log.mu.Lock()
		f.at.Stream = s.id
		f.log.mu.Unlock()
	case f.at.Stream != s.id:
		return f.reset(s, last)
	case f.at.Seq > last:
		return f.suspect(s, last)
	}
	other, err := f.isOther(ctx)
	if err != nil {
		return err
	}
	if other {
		return f.reset(s, last)
	}
	if f.at.Seq == last {
		f.suspected = time.Time{}
		return nil
	}
	_, err = f.log.message(ctx, streamName, query{Seq: f.at.Seq + 1, Next: everySubject})
	switch {
	case err == nil:
		f.suspected = time.Time{}
		return nil
	case !errors.Is(err, jetstream.ErrMsgNotFound):
		return err
	case last > f.covered:
		return f.suspect(s, last)
	}
	return f.pass(Position{Stream: s.id, Seq: last})
}

// isOther returns whether the log has another entry where the follower has applied one. If it
// has none there any more nobody can tell.
func (f *Follower) isOther(ctx context.Context) (bool, error) {
	if f.at.Time == 0 {
		return false, nil
	}
	m, err := f.log.message(ctx, streamName, query{Seq: f.at.Seq})
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, nil
	}
	return err == nil && m.Time.UnixNano() != f.at.Time, err
}

// suspect resets the follower if it has looked for long enough as if the end of the log were
// missing.
func (f *Follower) suspect(s *session, last uint64) error {
	if f.suspected.IsZero() {
		f.suspected = time.Now()
	}
	if time.Since(f.suspected) < certainAfter {
		return errUncertain
	}
	return f.reset(s, last)
}

// reset has everything count as purged that was stored before the log had its entry
// last, and has the log followed from its beginning. Its error is errAgain.
func (f *Follower) reset(s *session, last uint64) error {
	beginning := Position{Stream: s.id}
	if err := f.do(Entry{Position: beginning, Kind: Reset, Covers: last}); err != nil {
		return err
	}
	f.suspected = time.Time{}
	f.log.mu.Lock()
	f.at, f.covered = beginning, last
	f.log.mu.Unlock()
	return errAgain
}

// take applies what is in a message.
func (f *Follower) take(ctx context.Context, s *session, m jetstream.Msg, meta *jetstream.MsgMetadata) error {
	seq := meta.Sequence.Stream
	f.log.heard(s, seq)
	if seq <= f.at.Seq { // of a replica that was late as the consumer was made
		return nil
	}
	if seq > f.at.Seq+1 && seq-1 > f.covered {
		return f.gap(ctx, s, seq)
	}
	at := Position{s.id, seq, meta.Timestamp.UnixNano()}
	e, known := parse(m, at, meta.Timestamp)
	if to := m.Headers().Get(replyHeader); known && to != "" && time.Until(meta.Timestamp) > s.skew-answerFor {
		f.log.owe(owed{seq: seq, to: to, more: e.More})
	}
	if known && (e.Kind != Purge || seq > f.covered) {
		if err := f.do(e); err != nil {
			return err
		}
	}
	return f.pass(at)
}

// gap finds out why there is nothing between the follower's position and the entry of a
// sequence number.
func (f *Follower) gap(ctx context.Context, s *session, seq uint64) error {
	first, err := f.log.message(ctx, streamName, query{Seq: f.at.Seq + 1, Next: everySubject})
	if err != nil {
		return err
	}
	if first.Seq < seq {
		return errLost
	}
	f.log.mu.Lock()
	last := s.last
	f.log.mu.Unlock()
	return f.reset(s, last)
}

// pass takes note that there is nothing left to be told up to a position. If apply does not
// know of it, it is told to skip what is there.
func (f *Follower) pass(at Position) error {
	if f.told.Seq < at.Seq && at.Seq >= f.covered {
		if err := f.do(Entry{Position: at, Kind: Skip}); err != nil {
			return err
		}
	}
	f.move(at)
	return nil
}
