package cache

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/voyo-music/caddy-voyo/internal/byterange"
	"github.com/voyo-music/caddy-voyo/internal/contain"
)

// flight is the opening of an object, by one request to its upstream or from the
// disk, for however many ask. Guarded by Cache.mu until done is closed.
type flight struct {
	key      string // by which others find it
	target   string // of which it brings a response, where the policy is a gateway's
	born     uint64 // the generation in which it was launched
	stamp    uint64 // of the latest purge at that time
	recall   bool   // from the disk; the next look-up uses what it has brought
	slice    int64  // size in bytes that a new object's slices will have
	done     chan struct{}
	ended    bool  // done is closed
	outdated bool  // what it brings was purged
	waiters  int   // that have not left
	turn     *turn // of the exchange; nil if it need not wait for one

	obj         *object
	header      http.Header // of the answer that has brought obj, with all that is not stored; for whom it was asked for
	fill        *fill       // brings obj's body; each waiter counts as a reader of it
	pass        bool        // the answer can't be kept
	answer      *answer     // which is for the request that the flight was launched for; nil if that has it
	revalidated bool        // the object was there, and is still good
	err         error
	stale       *object // what is there, and could not be confirmed because of err

	leaderless bool        // the request that it was launched for has left
	sent       http.Header // the conditions and the range that the upstream was asked with
	alone      bool        // nobody joins it: the answer is not for others, as far as is known
	background bool        // nobody need wait for it

	giveUp   context.CancelCauseFunc // ends the exchange
	interims []interim               // that have come, for the one to pass on whom the flight was launched for
	news     chan struct{}           // closed when another one comes; nil if nobody looks
}

// launch starts a flight. old is what is stored, if anything is. The caller holds
// c.mu.
func (c *Cache) launch(fl *flight, req Request, old *object, want byterange.Spec) {
	fl.slice, fl.done = c.store.limits.Slice, make(chan struct{})
	fl.born, fl.stamp = c.store.resources.generation, c.store.purges.latest
	if !fl.alone {
		c.flights[fl.key] = fl
	}
	if req.Policy.Gateway {
		fl.target = req.Key
		c.store.resources.launched(fl.target)
	}
	var ctx context.Context
	ctx, fl.giveUp = context.WithCancelCause(c.ctx)
	fly := func() {
		err := contain.Do(func() error {
			c.fly(ctx, fl, req, old, want)
			return nil
		})
		if err != nil {
			c.arrive(fl, func() { fl.err = err })
		}
	}
	if err := c.takeOff(fl, fly, req); err != nil {
		c.endFlight(fl, err)
	}
}

// takeOff runs what opens an object, when it is its turn. A gateway's need not wait: most
// of what it asks for is passed on, for as long as each client likes, and only what is
// kept needs memory. The caller holds c.mu.
func (c *Cache) takeOff(fl *flight, fly func(), req Request) (err error) {
	if !req.Policy.Gateway {
		fl.turn, err = c.start(fly, req.Peer)
		return err
	}
	if !c.background(fly) {
		return ErrClosed
	}
	return nil
}

// deserted ends a flight that nobody waits for any more, before it has begun, and
// reports whether it did.
func (c *Cache) deserted(fl *flight) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if fl.waiters > 0 || fl.background {
		return false
	}
	c.endFlight(fl, errAbandoned)
	return true
}

// endFlight ends a flight; err, if there is one, is all that it has brought. The
// caller holds c.mu.
func (c *Cache) endFlight(fl *flight, err error) {
	c.unlist(fl)
	if fl.target != "" {
		c.store.resources.landed(fl.target)
	}
	fl.ended = true
	if err != nil {
		fl.err = err
	}
	if fl.giveUp != nil && fl.fill == nil && fl.answer == nil {
		fl.giveUp(nil)
	}
	close(fl.done)
}

// unlist lets nobody else join a flight. The caller holds c.mu.
func (c *Cache) unlist(fl *flight) {
	if c.flights[fl.key] == fl {
		delete(c.flights, fl.key)
	}
}

// arrive ends a flight with the result that set puts into it, unless it has ended
// before.
func (c *Cache) arrive(fl *flight, set func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if fl.ended {
		return
	}
	defer c.endFlight(fl, nil)
	set()
}

// fly asks the upstream, lets the waiters go as soon as there is something to
// read, and reads the body.
func (c *Cache) fly(ctx context.Context, fl *flight, req Request, old *object, want byterange.Spec) {
	if c.deserted(fl) {
		return
	}
	asked := time.Now()
	a, confirms, err := c.askOpening(ctx, fl, req, old, want)
	if err != nil {
		c.arrive(fl, func() { c.failed(fl, req, old, err) })
		return
	}
	// The flight's context is the answer's from here on, and ends with it.
	context.AfterFunc(a.ctx, func() { fl.giveUp(nil) })
	switch {
	case confirms:
		a.close()
		c.arrive(fl, func() { c.confirmed(fl, req, a, old, asked) })
	case old != nil && isFailure(a.StatusCode) && c.mayFail(old):
		a.close()
		c.arrive(fl, func() { c.failed(fl, req, old, fmt.Errorf("%w: status %d", ErrBadAnswer, a.StatusCode)) })
	case !c.keepable(fl, req, a):
		c.arrive(fl, func() { c.passOn(fl, req, a, old) })
	default:
		c.take(fl, req, a, old, asked)
	}
}

// confirmed ends a flight with what was stored, after a 304. What that says may be for
// the client alone that the upstream was asked for. The caller holds c.mu.
func (c *Cache) confirmed(fl *flight, req Request, a *answer, old *object, asked time.Time) {
	fl.header = mergedHeader(old.header, a.Header)
	if !old.refresh(req, a.Header, asked) {
		c.store.void(old)
	}
	if old.disk != nil {
		old.disk.SetMeta(old.encode())
	}
	fl.obj, fl.revalidated = old, true
}

// passOn ends a flight with an answer that can't be kept. It is for the client that
// the upstream was asked for, and for no other: what it says may be private. The
// caller holds c.mu.
func (c *Cache) passOn(fl *flight, req Request, a *answer, old *object) {
	fl.pass = true
	c.store.marks.Add(fl.key, mark{until: time.Now().Add(passTime)})
	if req.Policy.Gateway && !fl.leaderless && !fl.background && fl.isFor(req, a.StatusCode) {
		fl.answer = a
	} else {
		a.close()
	}
	// A failure says nothing of what is stored (RFC 9111, section 4.3.3).
	if old != nil && !(req.Policy.Gateway && a.StatusCode >= 500) {
		c.store.void(old)
	}
}

// isFor reports whether an answer with the status, to what the upstream was asked, is one
// to what the client has asked as well. A client would put another part than its own, or
// one of another version than it has, where that doesn't belong.
func (fl *flight) isFor(req Request, status int) bool {
	var names []string
	switch status {
	case http.StatusOK:
		names = []string{"If-Match", "If-Unmodified-Since"}
	case http.StatusPartialContent:
		names = []string{"If-Match", "If-Unmodified-Since", "If-Range", "Range"}
	}
	for _, name := range names {
		if !slices.Equal(req.Header[name], fl.sent[name]) {
			return false
		}
	}
	return true
}

// askOpening asks for the object: for what is wanted of it, if that is stored
// whether it still is good, and if neither makes sense to the upstream for all of
// it. It reports whether the answer confirms what is stored.
func (c *Cache) askOpening(
	ctx context.Context, fl *flight, req Request, old *object, want byterange.Spec,
) (a *answer, confirms bool, err error) {
	header, conditional := c.openingHeader(fl, req, old, want)
	fl.sent = header
	ctx = c.relayInterims(ctx, fl, req)
	if a, err = ask(ctx, req, req.Fetch, header); err != nil {
		return nil, false, err
	}
	switch {
	case a.StatusCode == http.StatusNotModified && conditional && c.isAbout(a, old):
		return a, true, nil
	case fl.alone && !conditional: // the client's own preconditions and ranges were asked about
		return a, false, nil
	case a.StatusCode != http.StatusNotModified && a.StatusCode != http.StatusRequestedRangeNotSatisfiable:
		return a, false, nil
	}
	if len(header) > 0 {
		if a, err = askAnew(ctx, fl, req, a); err != nil {
			return nil, false, err
		}
	}
	if !isOfBytes(a.StatusCode) && (!req.Policy.Gateway || a.StatusCode == http.StatusNotModified) {
		a.close()
		return nil, false, fmt.Errorf("%w: status %d to a plain request", ErrBadAnswer, a.StatusCode)
	}
	return a, false, nil
}

// isAbout reports whether a 304 is about an object, which other flights may be updating.
func (c *Cache) isAbout(a *answer, o *object) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return o.confirmedBy(a.Header)
}

// markMissing remembers that an object does not exist, if that is what err says.
// The caller holds c.mu.
func (c *Cache) markMissing(req Request, err error) {
	if ttl := req.Policy.negativeTTL(err); errors.Is(err, ErrNotFound) && ttl > 0 {
		c.store.marks.Add(req.Key, mark{until: time.Now().Add(ttl), err: err})
	}
}

// keepable reports whether an answer may be kept, and can be: what can't be
// resumed is kept whole or not at all.
func (c *Cache) keepable(fl *flight, req Request, a *answer) bool {
	if a.sealed || !req.Policy.storable(req.Header, a.Response, a.size) {
		return false
	}
	if a.StatusCode == http.StatusPartialContent && req.Policy.Gateway {
		if len(fl.sent["If-Range"]) > 0 { // then it lacks most of the header (RFC 9110, section 15.3.7)
			return false
		}
		// The range is the client's, and not one of slices.
		if fl.slice = a.sliceSize(fl.slice); fl.slice == 0 {
			return false
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return a.size <= c.store.limits.Memory || req.Policy.validator(objectStatus(a), a.Header, a.size).usable()
}

// take makes a new object of the answer, in the place of old if there was one, and
// reads its body into it.
func (c *Cache) take(fl *flight, req Request, a *answer, old *object, asked time.Time) {
	err := a.admit(req.Policy)
	o, full := newObject(req, a, asked)
	o.born, o.stamp = fl.born, fl.stamp
	f := &fill{o: o, req: req, end: a.end}
	c.arrive(fl, func() {
		if err != nil {
			fl.err = err
			return
		}
		o.sliceSize = fl.slice
		// Slices begin at multiples of their size, whatever the upstream sends.
		f.start = (a.begin + o.sliceSize - 1) / o.sliceSize * o.sliceSize
		if a.size > 0 && f.start >= a.end {
			err = fmt.Errorf("%w: less than was asked for", ErrBadAnswer)
			fl.err = err
			return
		}
		if o.resumable() { // what a short answer lacks of its last slice is asked for again
			_, _, f.end = o.bounds(max(a.end-1, 0))
		}
		f.pos, f.lead, f.readers, f.turn = f.start, f.start, fl.waiters, fl.turn
		o.fills = []*fill{f}
		fl.obj, fl.header, fl.fill = o, full, f
		if old != nil { // which may have left the memory meanwhile, but not the disk
			c.store.void(old)
		}
		c.store.put(req, fl, o)
	})
	if err != nil {
		a.close()
		return
	}
	c.fillFrom(f, a)
}

// fillFrom reads the answer that has opened an object into it, when it is its turn.
func (c *Cache) fillFrom(f *fill, a *answer) {
	if !f.req.Policy.Gateway { // it is: the opening has waited for it
		c.run(f, a)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	var err error
	if f.turn, err = c.start(func() { c.run(f, a) }, f.req.Peer); err != nil {
		a.close()
		c.finish(f, err)
	}
}

// openingHeader returns the fields that an opening request is sent with: the
// validators of what is stored, which make it conditional, or else the range that
// is wanted, in whole slices. Who asks for himself alone asks as he was asked.
func (c *Cache) openingHeader(fl *flight, req Request, old *object, want byterange.Spec) (h http.Header, conditional bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case old != nil && old.verifiable(req.Policy) && old.serves(want):
		return old.preconditions(req.Policy), true
	case fl.alone:
		return pickFields(req.Header, ConditionFields), false
	case req.Policy.Admit != nil:
		return make(http.Header), false
	default:
		h = make(http.Header)
		asked := openingRange
		if req.Policy.Gateway {
			asked = gatewayRange
		}
		if r := asked(want, fl.slice, int64(req.Policy.ReadAhead)); r != "" {
			h.Set("Range", r)
		}
		return h, false
	}
}

// openingRange returns the Range field for what is wanted of an object that
// nothing is known of: whole slices, and some to read ahead. It is empty for all
// of the object.
func openingRange(want byterange.Spec, slice, ahead int64) string {
	const most = math.MaxInt64 >> 1 // beyond it, a range is as good as open
	if want.First < 0 {
		if want.Last > most {
			return ""
		}
		// one more slice, so that one begins before the suffix
		return "bytes=-" + strconv.FormatInt(want.Last+slice, 10)
	}
	r := byterange.Range{Start: want.First / slice * slice, End: -1}
	if 0 <= want.Last && want.Last < most {
		r.End = (want.Last/slice + 1 + ahead) * slice
	}
	if r.Start == 0 && r.End < 0 {
		return ""
	}
	return byterange.Header(r)
}

// gatewayRange is openingRange for a gateway: a range within the first
// slice, or at the end and as small, goes to the upstream as it is. The page that it
// is of may be no larger, and what answers may be a program that was written for
// the client's range.
func gatewayRange(want byterange.Spec, slice, ahead int64) string {
	switch {
	case want.First < 0 && want.Last <= slice:
		return "bytes=-" + strconv.FormatInt(want.Last, 10)
	case 0 <= want.First && 0 <= want.Last && want.Last < slice:
		return byterange.Header(byterange.Range{Start: want.First, End: want.Last + 1})
	default:
		return openingRange(want, slice, ahead)
	}
}
