package cache

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// firstRoom is what is allocated at first, in bytes, for a slice of an object
// whose size is not known; it doubles.
const firstRoom = 16 << 10

// pour reads the body into the fill's slices, until the fill's end, and closes it.
func (c *Cache) pour(f *fill, a *answer) error {
	defer a.close()
	// What is there already, or begins in the middle of a slice, is skipped. An
	// upstream that ignores Range makes that necessary.
	if _, err := io.CopyN(io.Discard, a, c.position(f)-a.begin); err != nil {
		return unexpected(err)
	}
	for {
		c.pace(f)
		room, err := c.room(f)
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
		if err != nil {
			return unexpected(err)
		}
	}
}

// pace waits as long as the fill is too far ahead of its readers for the memory
// that there is. One that can't be resumed has to go on.
func (c *Cache) pace(f *fill) {
	for {
		c.mu.Lock()
		ahead := max((window-2)*f.o.sliceSize, c.store.limits.Memory/aheadShare)
		if !f.o.resumable() || f.readers == 0 || f.pos-f.lead < ahead || f.o.dead != nil {
			c.mu.Unlock()
			return
		}
		if f.moved == nil {
			f.moved = make(chan struct{})
		}
		moved := f.moved
		c.mu.Unlock()
		select {
		case <-moved:
		case <-c.ctx.Done():
			return
		}
	}
}

// room returns where the next bytes go: the rest of the slice that the fill is
// in. It is nil when the fill is at its end, or when it is about to begin a slice
// that nobody waits for.
func (c *Cache) room(f *fill) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	o := f.o
	if o.dead != nil {
		return nil, o.dead
	}
	if f.end >= 0 && f.pos >= f.end {
		return nil, nil
	}
	i, start, end := o.bounds(f.pos)
	if f.pos == start && f.readers == 0 && f.pos >= f.goal && o.resumable() {
		f.end = f.pos
		return nil, nil
	}
	s := o.slices[i]
	if s == nil {
		n := end - start
		if o.size < 0 {
			n = min(n, firstRoom)
		}
		s = &slice{data: make([]byte, 0, n), by: f}
		o.slices[i] = s
		f.recent[i%window].i, f.recent[i%window].s = i, s
		c.store.grow(o, s, n)
	}
	if len(s.data) == cap(s.data) { // of unknown size, and larger than was thought
		n := min(2*int64(cap(s.data)), o.sliceSize)
		s.data = append(make([]byte, 0, n), s.data...)
		c.store.grow(o, s, n)
	}
	return s.data[len(s.data):cap(s.data)], nil
}

// advance takes n bytes, read into what room returned, into the object.
func (c *Cache) advance(f *fill, n int) {
	if n == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.absorb(f, n)
	f.news()
}

// absorb is advance without the news. The caller holds c.mu.
func (c *Cache) absorb(f *fill, n int) {
	o := f.o
	i, _, end := o.bounds(f.pos)
	if n > 0 {
		s := o.slices[i]
		s.data = s.data[:len(s.data)+n]
		f.pos += int64(n)
		// The slice at the fill's end waits for proof that the body ends there too;
		// the slices of an object that isn't resumable wait for all of it.
		if f.pos == end && f.pos != f.end && o.resumable() {
			c.store.keep(o, i, s)
		}
	}
	if limit := f.req.Policy.MaxObject; o.size < 0 && limit > 0 && f.pos > limit {
		c.kill(o, errTooLarge)
		c.store.marks.Add(o.key, mark{until: time.Now().Add(passTime)})
	}
}

// drained is called when the fill has all that it wants, or all that the answer
// holds. At its end the body must end too: a longer one is not what it says it is.
func (c *Cache) drained(f *fill, a *answer) error {
	if c.position(f) == a.end {
		switch n, err := a.Read(make([]byte, 1)); {
		case n > 0:
			c.supersede(f.o)
			return fmt.Errorf("%w: body is too long", ErrBadAnswer)
		case err != nil && err != io.EOF:
			return unexpected(err)
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
	if f.end < 0 {
		o.size, f.end = f.pos, f.pos
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
		s.data = slices.Clip(s.data)
		c.store.keep(f.o, i, s)
	})
}
