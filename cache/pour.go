package cache

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"
)

// firstRoom is what is allocated at first, in bytes, for a slice of an object
// whose size is not known; it doubles.
const firstRoom = 16 << 10

// pauseTimeout is how long a fill holds its connection, which may be one of few,
// for readers who are slower than the upstream. They get another when they have
// read what there is.
const pauseTimeout = 3 * time.Second

// pour reads the body into the fill's slices, until the fill's end, and closes it.
func (c *Cache) pour(f *fill, a *answer) error {
	defer a.close()
	if err := c.skip(f, a); err != nil {
		return err
	}
	for {
		c.pace(f)
		room, err := c.makeRoom(f)
		if err != nil {
			return err
		}
		if a.end >= 0 {
			room = room[:min(int64(len(room)), a.end-c.position(f))]
		}
		if len(room) == 0 {
			return c.drained(f, a)
		}
		n, err := a.Read(room)
		if err == io.EOF {
			return c.ended(f, n)
		}
		c.advance(f, n)
		if err != nil && c.position(f) != a.end {
			return unexpected(err)
		}
	}
}

// skip reads past what is there already, or begins in the middle of a slice. An
// upstream that ignores Range makes that necessary. It gives up when nobody waits
// any more.
func (c *Cache) skip(f *fill, a *answer) error {
	for left := c.position(f) - a.begin; left > 0; {
		if c.abandoned(f) {
			return errAbandoned
		}
		n, err := io.CopyN(io.Discard, a, min(left, DefaultSlice))
		if err != nil {
			return unexpected(err)
		}
		left -= n
	}
	return nil
}

// errAbandoned says that nobody waited for a fill any more.
var errAbandoned = errors.New("nobody waits")

// abandoned reports whether nobody waits for the fill any more, or all that it had
// to bring is there.
func (c *Cache) abandoned(f *fill) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !f.wanted() || f.end >= 0 && f.pos >= f.end
}

// wanted reports whether somebody waits for the fill, or may soon. What can't be
// resumed must be brought to its end, or it is of no use to anyone.
func (f *fill) wanted() bool {
	return f.readers > 0 || f.pos < f.goal || !f.o.resumable()
}

// pace waits at the beginning of a slice as long as the fill is too far ahead of
// its readers for the memory that there is. If that is for long the fill ends
// there. What can't be resumed has to go on.
func (c *Cache) pace(f *fill) {
	moved := c.tooFarAhead(f)
	if moved == nil {
		return
	}
	defer c.unpause(f)
	timeout := time.NewTimer(pauseTimeout)
	defer timeout.Stop()
	for ; moved != nil; moved = c.tooFarAhead(f) {
		select {
		case <-moved:
		case <-timeout.C:
			c.mu.Lock()
			f.end = f.pos
			c.mu.Unlock()
			return
		case <-c.ctx.Done():
			return
		}
	}
}

func (c *Cache) unpause(f *fill) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(f.turn.lane.paused, f)
}

// tooFarAhead returns what to wait for, if the fill is at the beginning of a slice
// and too far ahead of its readers.
func (c *Cache) tooFarAhead(f *fill) <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := f.o
	atEnd := f.end >= 0 && f.pos >= f.end
	if atEnd || !o.resumable() || o.dead != nil || f.readers == 0 || f.pos%o.sliceSize != 0 {
		return nil
	}
	ahead := (window - 2) * o.sliceSize
	if !o.gone { // or else its slices are in nobody's way but its own
		ahead = max(ahead, c.store.limits.Memory/int64(max(aheadShare, 2*c.exchanges.running(), 2*c.exchanges.readers)))
	}
	if f.pos-f.lead < ahead {
		return nil
	}
	if len(f.turn.lane.queue) > 0 { // it makes way
		f.end = f.pos
		return nil
	}
	f.turn.lane.paused[f] = struct{}{}
	if f.moved == nil {
		f.moved = make(chan struct{})
	}
	return f.moved
}

// makeRoom returns where the next bytes go: the rest of the slice that the fill is
// in. It is empty when the fill is at its end, or when it is about to begin a slice
// that nobody waits for.
func (c *Cache) makeRoom(f *fill) ([]byte, error) {
	var memory []byte
	for {
		room, needed, err := c.room(f, memory)
		if needed == 0 {
			return room, err
		}
		// The system's pages for it, and that it is cleared, take longer than others should
		// wait for the lock.
		memory = make([]byte, 0, needed)
	}
}

// room is makeRoom with the memory that was allocated for it. Where that is too little
// it returns how much is needed instead, in bytes.
func (c *Cache) room(f *fill, memory []byte) (room []byte, needed int64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := f.o
	if o.dead != nil {
		return nil, 0, o.dead
	}
	if o.gone && f.readers == 0 && !o.resumable() { // nobody will find it
		return nil, 0, errSuperseded
	}
	if f.end >= 0 && f.pos >= f.end {
		return nil, 0, nil
	}
	i, start, _ := o.bounds(f.pos)
	s := o.slices.at(i)
	switch {
	case f.pos != start:
	case f.pos > f.start && !f.wanted(), s != nil && s.by != f: // or it came from the disk meanwhile
		f.end = f.pos
		return nil, 0, nil
	}
	if s == nil || len(s.data) == cap(s.data) {
		room, needed = c.allot(f, s, memory)
		return room, needed, nil
	}
	return s.data[len(s.data):cap(s.data)], 0, nil
}

// allot gives memory to the slice that the fill is in: a new one if s is nil, or else one
// of unknown size that is larger than was thought. It returns what room does. The caller
// holds c.mu.
func (c *Cache) allot(f *fill, s *slice, memory []byte) (room []byte, needed int64) {
	o := f.o
	i, start, end := o.bounds(f.pos)
	n := end - start
	switch {
	case s != nil:
		n = min(2*int64(cap(s.data)), o.sliceSize)
	case o.size < 0:
		n = min(n, firstRoom)
	}
	if int64(cap(memory)) < n {
		return nil, n
	}
	memory = memory[:0:n]
	if s != nil {
		s.data = append(memory, s.data...)
	} else {
		s = &slice{o: o, i: i, data: memory, by: f}
		o.slices.set(s)
		if f.recent == nil {
			f.recent = new(lastSlices)
		}
		f.recent[i%window].i, f.recent[i%window].s = i, s
	}
	c.store.grow(o, s, n)
	return s.data[len(s.data):cap(s.data)], 0
}

// advance takes n bytes, read into what room returned, into the object. Who has waited
// for the first of them sends them before more is read, as an upstream that has much to
// send at once may leave no processor to do both.
func (c *Cache) advance(f *fill, n int) {
	if n == 0 {
		return
	}
	if c.announce(f, n) {
		runtime.Gosched()
	}
}

// announce is advance for one that goes on at once. It reports whether somebody has waited
// for the fill's first bytes, and these are they, with more to come.
func (c *Cache) announce(f *fill, n int) (first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	first = f.pos == f.start && f.readers > 0
	c.absorb(f, n)
	f.news()
	return first && f.pos != f.end
}

// absorb is advance without the news. The caller holds c.mu.
func (c *Cache) absorb(f *fill, n int) {
	o := f.o
	i, _, end := o.bounds(f.pos)
	if n > 0 {
		s := o.slices.at(i)
		s.data = s.data[:len(s.data)+n]
		f.pos += int64(n)
		// The slice at the fill's end waits for proof that the body ends there too;
		// the slices of an object that isn't resumable wait for all of it.
		if f.pos == end && f.pos != f.end && o.resumable() {
			c.store.keep(o, i, s)
		}
	}
	if o.size < 0 && f.pos > c.most(f.req.Policy) {
		if !o.gone {
			c.store.marks.Add(o.key, mark{until: time.Now().Add(tooLargeTime), tooLarge: true})
		}
		c.kill(o, errTooLarge)
	}
}

// most returns how large an object may become whose size is not known. Until it
// is, nothing of it can be let go of. The caller holds c.mu.
func (c *Cache) most(p *Policy) int64 {
	if p.MaxObject > 0 {
		return min(p.MaxObject, c.store.limits.Memory)
	}
	return c.store.limits.Memory
}

// drained is called when the fill has all that it wants, or all that the answer
// holds. At its end the body must end too: a longer one is not what it says it is.
// How it ends does not matter, once all of it is there.
func (c *Cache) drained(f *fill, a *answer) error {
	if c.position(f) == a.end {
		if n, _ := a.Read(make([]byte, 1)); n > 0 {
			c.supersede(f.o)
			return fmt.Errorf("%w: body is too long", ErrBadAnswer)
		}
	}
	return c.ended(f, 0)
}

// ended takes the body's last n bytes, and keeps what has waited for its end. The
// readers hear of it when the fill is finished, so that whoever has the whole
// object in hand finds it stored.
func (c *Cache) ended(f *fill, n int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.absorb(f, n)
	o := f.o
	if o.dead != nil {
		return o.dead
	}
	if f.pos < f.end {
		return io.ErrUnexpectedEOF
	}
	if o.size < 0 {
		o.size, o.validator.size, f.end = f.pos, f.pos, f.pos
		o.late = true
	}
	if o.whole() {
		c.store.saveWhole(o)
	}
	c.keepAll(f)
	return nil
}

// keepAll keeps the slices that had to wait for the fill's end, except one that
// the answer has only begun.
func (c *Cache) keepAll(f *fill) {
	f.unkept(func(i int, s *slice, full bool) {
		if !full {
			c.store.drop(f.o, i)
			return
		}
		if len(s.data) < cap(s.data) { // what was allocated in vain is not counted
			s.data = append(make([]byte, 0, len(s.data)), s.data...)
		}
		c.store.keep(f.o, i, s)
	})
}
