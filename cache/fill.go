package cache

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"

	"github.com/voyo-music/caddy-voyo/internal/byterange"
	"github.com/voyo-music/caddy-voyo/internal/contain"
)

const (
	// maxResumes is how often in a row a fill asks again without having got a
	// single byte, before it gives up.
	maxResumes = 2

	// joinDistance is how far ahead of a fill, in slices, a reader may be to wait
	// for it. Further ahead, another request is the shorter way.
	joinDistance = 4

	// window is how many of its last slices a fill holds on to, whatever becomes of
	// them in the store, so that its readers get to see them.
	window = 4

	// aheadShare is the part of the memory limit that a fill may be ahead of its
	// furthest reader, if there are few readers; window-2 slices are granted in any case.
	aheadShare = 16
)

// fill brings a contiguous part of an object, slice by slice, for however many
// readers. It belongs to none of them. Guarded by Cache.mu.
type fill struct {
	o       *object
	req     Request
	turn    *turn         // of the exchange; nil before it has one
	start   int64         // where it began, at a slice's first byte
	pos     int64         // all bytes from start to here have arrived
	end     int64         // where it stops; -1: with the body
	readers int           // that wait for it, or may soon
	lead    int64         // how far the furthest of them has come
	goal    int64         // how far it goes on when they have left
	moved   chan struct{} // closed when a reader moves on or leaves; nil if the fill does not wait
	recent  *lastSlices   // nil: none yet
	wake    chan struct{} // closed when there is news; nil if nobody waits
	err     error         // why it ended before its end
}

// lastSlices are the last slices that a fill has written, by index modulo window.
type lastSlices [window]struct {
	i int
	s *slice
}

// news tells the fill's readers that something has changed.
func (f *fill) news() {
	if f.wake != nil {
		close(f.wake)
		f.wake = nil
	}
}

// waitChan returns a channel that is closed when there is news.
func (f *fill) waitChan() <-chan struct{} {
	if f.wake == nil {
		f.wake = make(chan struct{})
	}
	return f.wake
}

// read tells the fill that a reader wants the byte at off. One that is far ahead
// gets it elsewhere.
func (f *fill) read(off int64) {
	if off <= f.pos+(joinDistance+1)*f.o.sliceSize {
		f.lead = max(f.lead, off)
	}
	f.stir()
}

// done tells the fill that a reader has got all that it wanted, up to off: it may
// want more soon.
func (f *fill) done(off int64) {
	f.goal = max(f.goal, off+int64(f.req.Policy.ReadAhead)*f.o.sliceSize)
}

// left tells the fill that it has a reader less.
func (f *fill) left() {
	f.readers--
	if f.readers == 0 && !f.running() {
		f.forgetWindow()
	}
	f.stir()
}

// forgetWindow lets go of the last slices.
func (f *fill) forgetWindow() {
	if f.recent != nil {
		*f.recent = lastSlices{}
	}
}

// stir makes a fill that waits for its readers look again.
func (f *fill) stir() {
	if f.moved != nil {
		close(f.moved)
		f.moved = nil
	}
}

// running reports whether the fill has not ended yet.
func (f *fill) running() bool { return slices.Contains(f.o.fills, f) }

// recentBytes returns the bytes from off on, as far as the fill holds on to them.
func (f *fill) recentBytes(off int64) []byte {
	if f.recent == nil {
		return nil
	}
	i, start, _ := f.o.bounds(off)
	if r := f.recent[i%window]; r.s != nil && r.i == i && off-start < int64(len(r.s.data)) {
		return r.s.data[off-start:]
	}
	return nil
}

// fillGap starts a fill for the gap around off, up to the slice that holds the
// byte before until. The caller holds c.mu, and has made sure that o is resumable.
func (c *Cache) fillGap(o *object, req Request, off, until int64) *fill {
	_, start, _ := o.bounds(off)
	_, _, limit := o.bounds(max(off, until-1))
	limit = min(limit+int64(req.Policy.ReadAhead)*o.sliceSize, o.size)
	f := &fill{o: o, req: req, start: start, pos: start, lead: start, end: o.gap(start, limit)}
	// A fill that is on its way here, but far away, need not come any more.
	for _, other := range o.fills {
		if other.pos < start && (other.end < 0 || other.end > start) {
			other.end = start
		}
	}
	o.fills = append(o.fills, f)
	var err error
	if f.turn, err = c.start(func() { c.run(f, nil) }, req.Peer); err != nil {
		c.finish(f, err)
	}
	return f
}

// run reads the answer, if there is one already, into the fill's slices, and ends
// the fill, come what may.
func (c *Cache) run(f *fill, a *answer) {
	err := contain.Do(func() error { return c.bring(f, a) })
	c.mu.Lock()
	defer c.mu.Unlock()
	c.finish(f, err)
}

// bring reads the answer. Where it breaks off it asks for the rest, at the exact
// byte, as long as that gets it anywhere.
func (c *Cache) bring(f *fill, a *answer) (err error) {
	for vain := 0; vain <= maxResumes; vain++ {
		before := c.position(f)
		if a == nil && c.abandoned(f) {
			return errAbandoned
		}
		if a == nil {
			a, err = c.resume(f)
		}
		if a != nil {
			err = c.pour(f, a)
			a = nil
		}
		if err == nil || !c.mayResume(f, err) {
			break
		}
		if c.position(f) > before {
			vain = -1
		}
	}
	return err
}

func (c *Cache) position(f *fill) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return f.pos
}

// mayResume reports whether asking again can help after err.
func (c *Cache) mayResume(f *fill, err error) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, final := range []error{ErrNotFound, errAbandoned, errSuperseded} {
		if errors.Is(err, final) {
			return false
		}
	}
	return f.o.resumable() && f.o.dead == nil && c.ctx.Err() == nil
}

// resume asks the upstream for what the fill still lacks. An answer that is not
// of the fill's own version makes the object unreadable.
func (c *Cache) resume(f *fill) (*answer, error) {
	c.mu.Lock()
	pos, end, o := f.pos, f.end, f.o
	size, v := o.size, o.validator
	ifRange := v.etag
	if ifRange == "" && isStrongDate(o.header) { // RFC 9110, section 13.1.5
		ifRange = v.modified
	}
	c.mu.Unlock()

	header := make(http.Header)
	if end >= size {
		end = -1
	}
	if pos > 0 || end >= 0 {
		header.Set("Range", byterange.Header(byterange.Range{Start: pos, End: end}))
		if ifRange != "" {
			header.Set("If-Range", ifRange)
		}
	}
	a, err := ask(c.ctx, f.req, f.req.Fetch, header)
	if err != nil {
		return nil, err
	}
	got := newValidator(a.Header, a.size)
	if a.size < 0 && got.etag != "" {
		got.size = v.size // it does not say, but names the version
	}
	switch status := a.StatusCode; {
	case isGone(status), isOfObject(status) && status != http.StatusNotModified && !v.same(got):
		a.close()
		c.supersede(o)
		return nil, errSuperseded
	case !isOfObject(status): // a failure, or for this client alone: what is stored is as good as before
		a.close()
		return nil, errSuperseded
	case status == http.StatusNotModified, a.sealed, a.begin > pos:
		a.close()
		return nil, fmt.Errorf("%w: not what was asked for", ErrBadAnswer)
	}
	return a, nil
}

// isGone reports whether a status says that there is no such object, or no such part of
// it, any more.
func isGone(status int) bool {
	return status == http.StatusNotFound || status == http.StatusGone || status == http.StatusRequestedRangeNotSatisfiable
}

// supersede makes an object unreadable: its upstream has another version of it.
func (c *Cache) supersede(o *object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.kill(o, errSuperseded)
}

// kill makes an object unreadable, for its present readers too. The caller holds
// c.mu.
func (c *Cache) kill(o *object, err error) {
	o.dead = err
	// Who was forgotten while he was read, and recalled since, has another self.
	if cur, ok := c.store.objects.Peek(o.key); ok && cur != o && o.disk != nil && cur.disk == o.disk {
		c.kill(cur, err)
	}
	c.store.void(o)
	for _, f := range o.fills {
		f.news()
		f.stir()
	}
}

// finish ends a fill; err says why it ended before its end. The caller holds c.mu.
func (c *Cache) finish(f *fill, err error) {
	o := f.o
	f.err = err
	o.fills = slices.DeleteFunc(o.fills, func(other *fill) bool { return other == f })
	if err != nil {
		c.dropUnproven(f)
		if !o.resumable() && o.dead == nil {
			c.kill(o, err)
		}
	}
	if errors.Is(err, ErrNotFound) && !o.gone && c.store.valid(o) && f.readers > 0 { // what is left of it is of no use
		c.store.void(o)
		c.markMissing(f.req, err)
	}
	c.store.forgetEmpty(o)
	c.keepWindow(f)
	f.news()
}

// dropUnproven forgets what can't be known to be right after the fill has failed.
func (c *Cache) dropUnproven(f *fill) {
	f.unkept(func(i int, _ *slice, _ bool) { c.store.drop(f.o, i) })
}

// unkept calls do for each slice that the fill has written and that is not kept
// yet.
func (f *fill) unkept(do func(i int, s *slice, full bool)) {
	for off := f.start; ; {
		i, start, end := f.o.bounds(off)
		if s := f.o.slices.at(i); s != nil && s.by == f && !s.complete {
			do(i, s, start < end && int64(len(s.data)) == end-start)
		}
		if end <= off || end > f.pos {
			return
		}
		off = end
	}
}

// unexpected turns a body's end before its time into the error that it is.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
