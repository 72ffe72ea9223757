package voyo

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/voyo-music/caddy-voyo/cache"
	"github.com/voyo-music/caddy-voyo/internal/fleet"
	"github.com/voyo-music/caddy-voyo/resolver"
)

const (
	// diskPatience is how long a disk may take for one entry of the log. What is purged is
	// so then for all who ask, but may come back with a restart.
	diskPatience = 10 * time.Second

	// checkpointEvery is how often it is noted on disk how far the log has been applied.
	// What is missing from that is applied again after a kill, which does no harm.
	checkpointEvery = time.Second

	// recently is for how long others wait to be told that an entry is kept for good.
	recently = time.Minute

	// againAfter is when what a disk has failed to forget is tried again.
	againAfter = time.Minute
)

// following keeps a state in step with a fleet. How far it has got is kept with what is on
// disk, and so is what is taken down: it has to be known also when NATS is away.
type following struct {
	state    *state
	log      *fleetLog
	begun    chan struct{}   // closed once there is a follower
	follower *fleet.Follower // set before that
	headway  headway         // for other nodes

	mu       sync.Mutex
	position fleet.Position // up to which all is in effect
	kept     fleet.Position // up to which it stays so after a restart
	behind   time.Time      // since when kept is not position, because a disk has failed; zero if none has
	saved    time.Time      // when kept was last noted on disk
	due      *time.Timer    // notes it again; nil if there is nothing to be noted
}

// awaitFleet waits until the state is in step with its fleet. An error says that it can't
// be said to be.
func (s *state) awaitFleet(ctx context.Context) error {
	for {
		f := s.following.Load()
		if f == nil {
			return nil
		}
		if err := f.await(ctx); err != nil {
			return err
		}
		if s.following.Load() == f { // or else it has ended, which lets everyone pass
			return nil
		}
	}
}

// await waits until what is followed is in effect, or has ended.
func (f *following) await(ctx context.Context) error {
	select {
	case <-f.begun:
		return f.follower.Await(ctx)
	default:
	}
	select {
	case <-f.begun:
		return f.follower.Await(ctx)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fit makes the disks and the fleet of a lease those of the state. While that changes
// nothing is served. The caller holds s.fitting.
func (s *state) fit(d disks, log *fleetLog) {
	last := s.following.Load()
	if last.logOrNil() != log || !d.same(s.disksInUse()) {
		s.renew(log, func() { s.setDisks(d) })
	} else {
		s.setDisks(d)
	}
	s.mu.Lock()
	held := len(s.leases) > 0
	s.mu.Unlock()
	// What is missed from now on nobody counts. Requests that outlive the last handler still
	// must not be given what is taken down.
	if log == nil && held {
		s.position = new(fleet.Position)
		s.takedowns.replace(nil)
	}
}

// renew follows a log, nil for none, from where all that the state has is known to be.
// Before that, and after what was followed has ended, it calls change. The caller holds
// s.fitting.
func (s *state) renew(log *fleetLog, change func()) {
	var next *following
	last := s.following.Load()
	if log != nil {
		next = &following{state: s, log: log, begun: make(chan struct{})}
		next.headway.begin(last.last())
	}
	s.following.Store(next)
	if last != nil {
		last.end()
		s.position = &last.position
	}
	if next != nil {
		next.headway.begin(last.last()) // it may have got further
	}
	change()
	if next != nil {
		next.begin()
	}
}

func (f *following) logOrNil() *fleetLog {
	if f == nil {
		return nil
	}
	return f.log
}

// ailments returns why it is not known that the state is in step, if it is not.
func (f *following) ailments() []string {
	if f == nil {
		return nil
	}
	s := f.log.Status()
	if s.Current {
		return nil
	}
	return []string{"fleet: " + cmp.Or(s.Reason, "not up to date")}
}

// begin has the log applied.
func (f *following) begin() {
	from, known := f.start(furthestFollowed())
	f.mu.Lock()
	f.position, f.kept = from, from
	if from != (fleet.Position{}) { // a disk that is new does not know it
		f.saved = time.Now()
		_ = f.save(context.Background(), false) // which is done later
	}
	f.mu.Unlock()
	f.headway.finish(from)
	f.follower = f.log.Follow(from, known, f.apply)
	close(f.begun)
}

// end waits for what is being applied, and notes how far that has got.
func (f *following) end() {
	f.follower.Close()
	endedFollowings.add(f)
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.due != nil {
		f.saveLate()
	}
}

// start returns the position from which the state has to follow: the oldest of what its
// memory and its disks are known to be at. What is taken down it learns from the latest of
// them, and of what the process has got to with any state. That it returns too: what is kept
// and is behind must not be served. The zero value says that nothing is kept.
func (f *following) start(furthest checkpoint) (from, known fleet.Position) {
	var kept []checkpoint
	if p := f.state.position; p != nil {
		kept = append(kept, checkpoint{*p, f.state.takedowns.list()})
	}
	disks := f.state.disksInUse()
	if !disks.art.isEmpty() {
		kept = append(kept, f.read(f.state.art))
	}
	if !disks.streams.isEmpty() {
		kept = append(kept, f.read(f.state.streams))
	}
	latest := furthest
	for _, c := range kept {
		latest = latest.or(c)
	}
	f.state.takedowns.replace(latest.Takedowns)
	if len(kept) == 0 {
		return from, known
	}
	from = kept[0].Position
	for _, c := range kept[1:] {
		from = older(from, c.Position)
	}
	return from, furthest.Position
}

// read returns what is noted with what a cache has on disk. If that can't be read it
// is as if there were nothing.
func (f *following) read(c *cache.Cache) (noted checkpoint) {
	ctx, cancel := context.WithTimeout(context.Background(), diskPatience)
	defer cancel()
	b, err := c.Checkpoint(ctx)
	if err == nil && len(b) > 0 {
		err = json.Unmarshal(b, &noted)
	}
	if err != nil {
		f.log.member.logger().Warn("how far the fleet's log was applied can't be read: it is applied from its beginning", zap.Error(err))
		return checkpoint{Position: elsewhere, Takedowns: noted.Takedowns}
	}
	return noted
}

// apply puts an entry of the log into effect.
func (f *following) apply(ctx context.Context, e fleet.Entry) error {
	bounded, cancel := context.WithTimeout(ctx, diskPatience)
	defer cancel()
	f.headway.begin(e.Position)
	if e.Covers > 0 {
		f.headway.restart(fleet.Position{Stream: e.Stream, Seq: e.Covers})
	}
	err := f.state.carryOut(bounded, e)
	if ctx.Err() != nil {
		return ctx.Err() // whoever follows next does it again
	}
	f.headway.finish(e.Position)
	if e.Kind != fleet.Skip {
		appliedTotal.WithLabelValues(string(e.Kind)).Inc()
	}
	return f.advance(bounded, e, err)
}

// carryOut does what an entry says. It is in effect then, also where a disk has failed; an
// error says that it may not be after a restart.
func (s *state) carryOut(ctx context.Context, e fleet.Entry) error {
	everything := purge{all: true}
	switch e.Kind {
	case fleet.Purge:
		p, err := decodePurge(e.Data)
		if err != nil { // it is of a later version: what it means is a part of this at the most
			p = everything
		}
		_, err = s.purge(ctx, p)
		return err
	case fleet.Takedown, fleet.Lift:
		id, err := resolver.ParseID(e.ID)
		if err != nil {
			return nil //nolint:nilerr // no track of VOYO's
		}
		// The list changes first: what is fetched or remembered because of what it was
		// until now is purged.
		if e.Kind == fleet.Takedown {
			s.takedowns.add(id)
		} else {
			s.takedowns.lift(id)
		}
		_, err = s.purge(ctx, purgeOf(id))
		return err
	case fleet.Reset:
		_, err := s.purge(ctx, everything)
		return err
	default:
		return nil
	}
}

// advance notes that an entry is in effect, and whether it is kept. An error wraps
// fleet.ErrNotKept.
func (f *following) advance(ctx context.Context, e fleet.Entry, failed error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.position = e.Position
	now := time.Now()
	switch {
	case failed != nil && f.behind.IsZero():
		f.behind = now
	case failed == nil && f.behind.IsZero():
		f.kept = f.position
	case failed == nil && now.Sub(f.behind) > againAfter:
		f.behind = now
		go f.state.again(f)
	}
	urgent := e.Kind == fleet.Reset || e.Kind != fleet.Purge && !e.More && now.Sub(e.Time) < recently
	if err := errors.Join(failed, f.save(ctx, urgent)); err != nil {
		return fmt.Errorf("%w: %w", fleet.ErrNotKept, err)
	}
	return nil
}

// again has what a disk could not forget be purged again, as disks work again some time.
func (s *state) again(f *following) {
	s.fitting.Lock()
	defer s.fitting.Unlock()
	if s.following.Load() == f {
		s.renew(f.log, func() {})
	}
}

// save notes on disk how far the state has got, now or soon. The caller holds f.mu.
func (f *following) save(ctx context.Context, now bool) error {
	wait := checkpointEvery - time.Since(f.saved)
	switch {
	case now, wait <= 0:
		return f.write(ctx)
	case f.due == nil:
		f.due = time.AfterFunc(wait, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			if f.due != nil {
				f.saveLate()
			}
		})
	}
	return nil
}

// saveLate is save for an entry of which nobody waits to hear. The caller holds f.mu.
func (f *following) saveLate() {
	ctx, cancel := context.WithTimeout(context.Background(), diskPatience)
	defer cancel()
	if err := f.write(ctx); err != nil {
		f.log.member.logger().Warn("how far the fleet's log is applied can't be written", zap.Error(err))
	}
}

// write notes how far the state has got. The caller holds f.mu.
func (f *following) write(ctx context.Context) error {
	if f.due != nil {
		f.due.Stop()
		f.due = nil
	}
	f.saved = time.Now()
	b, err := json.Marshal(checkpoint{f.kept, f.state.takedowns.list()})
	if err != nil {
		return err
	}
	return errors.Join(f.state.art.SetCheckpoint(ctx, b), f.state.streams.SetCheckpoint(ctx, b))
}
