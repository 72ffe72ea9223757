package cache

import (
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/voyo-music/caddy-voyo/internal/byterange"
	"github.com/voyo-music/caddy-voyo/internal/contain"
)

// flight is the opening of an object, by one request to its upstream or from the
// disk, for however many ask. Guarded by Cache.mu until done is closed.
type flight struct {
	recall  bool  // from the disk; the next look-up uses what it has brought
	slice   int64 // size in bytes that a new object's slices will have
	done    chan struct{}
	waiters int // that have not left

	obj         *object
	fill        *fill // brings obj's body; each waiter counts as a reader of it
	pass        bool  // the answer can't be kept
	revalidated bool  // the object was there, and is still good
	err         error
	stale       *object // what is there, and could not be confirmed because of err

	background bool // nobody need wait for it
}

// launch starts the flight for a key. old is what is stored, if anything is. The
// caller holds c.mu.
func (c *Cache) launch(req Request, old *object, want byterange.Spec, background bool) *flight {
	fl := &flight{slice: c.store.limits.Slice, done: make(chan struct{}), background: background}
	c.flights[req.Key] = fl
	fly := func() {
		err := contain.Do(func() error {
			c.fly(fl, req, old, want)
			return nil
		})
		if err != nil {
			c.arrive(req.Key, fl, func() { fl.err = err })
		}
	}
	if err := c.start(fly); err != nil {
		c.cancelFlight(req.Key, fl, err)
	}
	return fl
}

// deserted ends a flight that nobody waits for any more, before it has begun, and
// reports whether it did.
func (c *Cache) deserted(key string, fl *flight) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if fl.waiters > 0 || fl.background {
		return false
	}
	c.cancelFlight(key, fl, errAbandoned)
	return true
}

// cancelFlight ends a flight that has not begun. The caller holds c.mu.
func (c *Cache) cancelFlight(key string, fl *flight, err error) {
	delete(c.flights, key)
	fl.err = err
	close(fl.done)
}

// arrive ends a flight with the result that set puts into it, unless it has ended
// before.
func (c *Cache) arrive(key string, fl *flight, set func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.flights[key] != fl {
		return
	}
	delete(c.flights, key)
	defer close(fl.done)
	set()
}

// fly asks the upstream, lets the waiters go as soon as there is something to
// read, and reads the body.
func (c *Cache) fly(fl *flight, req Request, old *object, want byterange.Spec) {
	end := func(set func()) { c.arrive(req.Key, fl, set) }
	if c.deserted(req.Key, fl) {
		return
	}
	a, err := c.askOpening(fl, req, old, want)
	if err != nil {
		end(func() { c.failed(fl, req, old, err) })
		return
	}
	now := time.Now()
	switch {
	case a.StatusCode == http.StatusNotModified:
		a.close()
		end(func() {
			old.refresh(a.Header, req.Policy, now)
			if !req.Policy.mayStore(req.Header, http.StatusOK, old.header, now) {
				c.store.void(old)
			}
			if old.disk != nil {
				old.disk.SetMeta(old.encode())
			}
			fl.obj, fl.revalidated = old, true
		})
	case !c.keepable(req, a):
		a.close()
		end(func() {
			fl.pass = true
			c.store.marks.Add(req.Key, mark{until: now.Add(passTime)})
			if old != nil {
				c.store.void(old)
			}
		})
	default:
		c.take(fl, req, a, old, now)
	}
}

// askOpening asks for the object: for what is wanted of it, if that is stored
// whether it still is good, and if neither makes sense to the upstream for all of
// it. The answer is a 200, a 206 or, about old, a 304.
func (c *Cache) askOpening(fl *flight, req Request, old *object, want byterange.Spec) (*answer, error) {
	header, conditional := c.openingHeader(fl, req, old, want)
	a, err := ask(c.ctx, req.Fetch, header)
	if err != nil {
		return nil, err
	}
	switch {
	case a.StatusCode == http.StatusNotModified && conditional && old.confirmedBy(a.Header):
		return a, nil
	case a.StatusCode != http.StatusNotModified && a.StatusCode != http.StatusRequestedRangeNotSatisfiable:
		return a, nil
	}
	// A range that one client has made up says nothing of the object to others, nor
	// does a 304 about another version than the stored one (RFC 9111, section 4.3.4).
	a.close()
	if len(header) > 0 {
		if a, err = ask(c.ctx, req.Fetch, make(http.Header)); err != nil {
			return nil, err
		}
	}
	if a.StatusCode != http.StatusOK {
		a.close()
		return nil, fmt.Errorf("%w: status %d to a plain request", ErrBadAnswer, a.StatusCode)
	}
	return a, nil
}

// markMissing remembers that an object does not exist, if that is what err says.
// The caller holds c.mu.
func (c *Cache) markMissing(req Request, err error) {
	if errors.Is(err, ErrNotFound) && req.Policy.NegativeTTL > 0 {
		c.store.marks.Add(req.Key, mark{time.Now().Add(req.Policy.NegativeTTL), err})
	}
}

// keepable reports whether an answer may be kept, and can be: what can't be
// resumed is kept whole or not at all.
func (c *Cache) keepable(req Request, a *answer) bool {
	if !req.Policy.storable(req.Header, a.Response, a.size) {
		return false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return a.size <= c.store.limits.Memory || newValidator(a.Header, a.size).usable()
}

// take makes a new object of the answer, in the place of old if there was one, and
// reads its body into it.
func (c *Cache) take(fl *flight, req Request, a *answer, old *object, now time.Time) {
	err := a.admit(req.Policy)
	o := newObject(req, a, now)
	f := &fill{o: o, req: req, end: a.end}
	c.arrive(req.Key, fl, func() {
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
		f.pos, f.lead, f.readers = f.start, f.start, fl.waiters
		o.fills = []*fill{f}
		fl.obj, fl.fill = o, f
		if old != nil { // which may have left the memory meanwhile, but not the disk
			c.store.void(old)
		}
		c.store.put(o)
	})
	if err != nil {
		a.close()
		return
	}
	c.run(f, a)
}

// openingHeader returns the fields that an opening request is sent with: the
// validators of what is stored, which make it conditional, or else the range that
// is wanted, in whole slices.
func (c *Cache) openingHeader(fl *flight, req Request, old *object, want byterange.Spec) (h http.Header, conditional bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h = make(http.Header)
	switch {
	case old != nil && old.resumable() && old.serves(want):
		if old.validator.etag != "" {
			h.Set("If-None-Match", old.validator.etag)
		}
		if old.validator.modified != "" {
			h.Set("If-Modified-Since", old.validator.modified)
		}
		return h, true
	case req.Policy.Admit != nil:
	default:
		if r := openingRange(want, fl.slice, int64(req.Policy.ReadAhead)); r != "" {
			h.Set("Range", r)
		}
	}
	return h, false
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
