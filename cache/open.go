package cache

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/voyo-music/caddy-voyo/internal/byterange"
)

var (
	// errSuperseded says that an object is no longer what its key names.
	errSuperseded = fmt.Errorf("%w: object has changed", ErrBadAnswer)

	// errTooLarge says that an object of unknown size has turned out too large.
	// The next look-up finds that its answers are to be passed through.
	errTooLarge = fmt.Errorf("%w, and is larger than the limit", errSuperseded)
)

const (
	// maxOpenings is how often one request may find that what it has opened is not
	// what it needs, before it gives up.
	maxOpenings = 3

	// passTime is how long it is remembered that a key's answers can't be kept, so
	// that requests for it do not wait for each other.
	passTime = time.Minute

	// tooLargeTime is the same where only its end shows what an answer is, which
	// costs a client a broken download.
	tooLargeTime = time.Hour
)

// whole asks for all of an object.
var whole = byterange.Spec{First: 0, Last: -1}

// transaction is one request's use of the cache.
type transaction struct {
	c   *Cache
	req Request

	obj     *object
	held    *fill // counts this transaction as a reader
	pass    bool  // obj is nil: the answer is not for the cache
	outcome outcome
	stored  bool // obj was there before the request

	full http.Header   // obj's, with what is for this request alone; nil if there is no such thing
	own  *answer       // to this request alone: obj is nil
	tell func(interim) // passes interim responses on; nil if none are to be expected

	response   response
	sent       sent  // since that was last counted
	permitted  bool  // Permit has been called
	apart      bool  // what others wait for has turned out not to be for this request
	headOnly   bool  // none of the bytes is wanted
	sendfile   bool  // the kernel copies from files to the client
	outlived   *fill // has failed while the transaction had enough to go on
	followed   int   // the slice after which a fill was last looked for, plus 1
	unreadable int   // a slice that could not be read from the disk, plus 1
}

// open finds or brings the object that the key names, such that the bytes wanted
// are there or will be. On success either obj or pass is set.
//
// Clients that want different parts of an object that can't be resumed keep
// replacing it for each other. After some tries each gets an answer of its own.
func (t *transaction) open(ctx context.Context, want byterange.Spec) error {
	if t.obj != nil {
		t.close() // it may be another version
	}
	t.followed, t.unreadable, t.outlived, t.full = 0, 0, nil, nil
	var recalled *flight
	for tries := 0; tries < maxOpenings; {
		fl, err := t.lookup(want, recalled)
		if fl == nil {
			return err
		}
		if err := t.await(ctx, fl); err != nil {
			return err
		}
		if fl.recall {
			recalled = fl
			continue
		}
		tries++
		if done, err := t.land(fl, want); done {
			return err
		}
	}
	t.pass, t.outcome = true, outcome{bypass: true}
	return nil
}

// lookup uses what is stored, or else returns the flight that will bring what is
// wanted; from the disk if it may have that. recalled is the flight that has brought
// it from there already, nil if there was none: its object is used though others may
// have pushed it out of memory at once.
func (t *transaction) lookup(want byterange.Spec, recalled *flight) (*flight, error) {
	c, now := t.c, time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()

	o, key := c.store.find(t.req)
	alone, done, err := t.heed(key, now)
	if done {
		return nil, err
	}
	if o == nil {
		o = c.adopt(recalled)
	}
	if o != nil && t.take(o, want, now) {
		return nil, nil
	}
	t.outcome = outcome{stale: o != nil && !o.fresh(now), others: o == nil && c.store.hasOthers(t.req)}
	if t.headOnly && t.req.Head != nil { // which brings nothing to store
		t.pass = true
		return nil, nil
	}
	return t.depart(key, alone, o, want, recalled)
}

// heed looks at what is known of a key besides its object, which may answer the request.
// It reports whether that is to ask alone otherwise: because the answers are not for
// others, as far as is known. The caller holds c.mu.
func (t *transaction) heed(key string, now time.Time) (alone, done bool, err error) {
	m, marked := t.c.store.mark(key, now)
	alone = t.req.Policy.Gateway && !m.tooLarge && (marked || t.apart || t.req.Header.Get("Authorization") != "")
	if !marked || alone {
		return alone, false, nil
	}
	t.pass = m.err == nil
	t.outcome = outcome{hit: !t.pass, bypass: t.pass, ttl: m.until.Sub(now)}
	return false, true, m.err
}

// depart returns a flight that is under way, or else a new one. The caller holds c.mu.
func (t *transaction) depart(key string, alone bool, o *object, want byterange.Spec, recalled *flight) (*flight, error) {
	c := t.c
	if o == nil && recalled == nil && c.flights[key] == nil && c.store.mayRecall(key) {
		return t.board(c.recall(key)), nil
	}
	if fl := c.flights[key]; fl != nil && !alone && c.joinable(fl, t.req) {
		t.outcome.collapsed = true
		return t.board(fl), nil
	}
	if err := t.permit(); err != nil {
		return nil, err
	}
	fl := &flight{key: key, alone: alone}
	c.launch(fl, t.req, o, want)
	return t.board(fl), nil
}

// board makes the transaction one that waits for a flight.
func (t *transaction) board(fl *flight) *flight {
	fl.waiters++
	if t.req.Peer {
		t.c.hasten(fl.turn)
	}
	return fl
}

// adopt returns the object that a flight has brought from the disk, if it still is what
// its key names; nil if there was no such flight. The caller holds c.mu.
func (c *Cache) adopt(recalled *flight) *object {
	if recalled == nil || !recalled.obj.onlyForgotten() || !c.store.valid(recalled.obj) {
		return nil
	}
	return recalled.obj
}

// joinable reports whether what a flight will bring can be of use to a request that
// comes now: nothing was purged or invalidated since it was launched. What it recalls is
// looked at again.
func (c *Cache) joinable(fl *flight, req Request) bool {
	return fl.recall || fl.stamp == c.store.purges.latest && fl.born >= c.store.resources.since(req.Key)
}

// permit asks, once, whether the upstream may be asked on behalf of this request.
func (t *transaction) permit() error {
	if t.permitted || t.req.Permit == nil {
		return nil
	}
	t.permitted = true
	return t.req.Permit()
}

// take uses what is stored, and reports whether it may. The caller holds c.mu.
func (t *transaction) take(o *object, want byterange.Spec, now time.Time) bool {
	switch fresh := o.fresh(now); {
	case fresh && (t.headOnly || o.serves(want)):
		t.outcome = o.outcome(want, now)
	case !fresh && o.usableStale(want, t.headOnly, now):
		t.outcome = o.outcome(want, now)
		t.outcome.stale = true
		t.c.revalidate(t.req, o, want, now)
	default:
		return false
	}
	t.read(o, true)
	if !o.resumable() && len(o.fills) > 0 {
		t.hold(o.fills[0]) // which would not go on for an object that is gone
	}
	return true
}

// land takes over what a flight has brought. It reports false if that is not what
// is wanted, so that another is needed.
func (t *transaction) land(fl *flight, want byterange.Spec) (done bool, err error) {
	c := t.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if fl.err != nil {
		return true, t.fallBack(fl, want, time.Now())
	}
	if fl.pass {
		if t.req.Policy.Gateway && (t.outcome.collapsed || fl.answer == nil) {
			return false, nil // it is another's, or not what was asked: from now on each asks alone
		}
		t.own, fl.answer = fl.answer, nil
		t.pass, t.outcome.passed = true, true
		return true, nil
	}
	t.holds(fl.fill)
	if !t.mayShare(fl) || !t.headOnly && !fl.obj.serves(want) {
		t.release()
		return false, nil
	}
	t.read(fl.obj, false)
	if t.req.Policy.Gateway && !t.outcome.collapsed {
		t.full = fl.header
	}
	t.outcome.stored, t.outcome.revalidated = true, fl.revalidated
	return true, nil
}

// mayShare reports whether what a flight has brought may be used for this request, too,
// if that is not the one that it was launched for. The caller holds c.mu.
func (t *transaction) mayShare(fl *flight) bool {
	if !t.req.Policy.Gateway || !t.outcome.collapsed {
		return true
	}
	selected := fl.obj.selects(t.req, fl.obj.header)
	fresh := fl.obj.fresh(time.Now())
	t.apart = selected && !fresh // it would be no different with the next one
	return selected && fresh
}

// fallBack uses what is stale where it could not be confirmed, if it may. The caller
// holds c.mu.
func (t *transaction) fallBack(fl *flight, want byterange.Spec, now time.Time) error {
	o := fl.stale
	if o == nil || o.dead != nil || o.void || !o.usableStale(want, t.headOnly, now) {
		return fl.err
	}
	t.read(o, true)
	t.outcome.failed = true
	return nil
}

// leave gives up waiting for a flight.
func (t *transaction) leave(fl *flight) {
	c := t.c
	c.mu.Lock()
	defer c.mu.Unlock()
	fl.waiters--
	if !t.outcome.collapsed {
		fl.leaderless = true
	}
	switch {
	case fl.fill != nil:
		fl.fill.left()
	case fl.answer != nil && fl.leaderless:
		fl.answer.close()
		fl.answer = nil
	case fl.waiters == 0 && !fl.background && fl.target != "" && !fl.ended:
		// as far as the upstream is concerned, its one client has left
		c.unlist(fl)
		fl.giveUp(errAbandoned)
	}
}

// read makes the transaction one that answers with an object, which was stored before
// the request or not. The caller holds c.mu.
func (t *transaction) read(o *object, stored bool) {
	t.obj, t.stored = o, stored
	o.join()
}

// hold makes the transaction a reader of f, and of no other fill. The caller
// holds c.mu.
func (t *transaction) hold(f *fill) {
	if t.held == f {
		return
	}
	t.release()
	t.holds(f)
	f.readers++
	if t.req.Peer {
		t.c.hasten(f.turn)
	}
}

// holds notes that the transaction is a reader of f, if that is one. The caller holds
// c.mu.
func (t *transaction) holds(f *fill) {
	t.held = f
	if f != nil {
		t.c.exchanges.readers++
	}
}

// release ends that. The caller holds c.mu.
func (t *transaction) release() {
	if t.held != nil {
		t.c.exchanges.readers--
		t.held.left()
		t.held = nil
	}
}

// close makes the transaction a reader of nothing.
func (t *transaction) close() {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	t.letGo()
}

// letGo is close. The caller holds c.mu.
func (t *transaction) letGo() {
	t.release()
	t.tally()
	if t.obj != nil {
		t.obj.left()
		t.obj = nil
	}
	if t.own != nil {
		t.own.close()
		t.own = nil
	}
}
