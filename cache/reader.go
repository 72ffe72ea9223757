package cache

import (
	"context"
	"io"
)

// copy hands the object's bytes from start to end to write, as they come. An end
// of -1 is the object's. idle is called before each wait.
func (t *transaction) copy(ctx context.Context, start, end int64, write func([]byte) error, idle func()) error {
	for off := start; end < 0 || off < end; {
		p, err := t.next(ctx, off, end, idle)
		if err == io.EOF && end < 0 {
			return nil
		}
		if err != nil {
			return err
		}
		if end >= 0 {
			p = p[:min(int64(len(p)), end-off)]
		}
		if err := write(p); err != nil {
			return err
		}
		off += int64(len(p))
	}
	return nil
}

// next returns the bytes that are there from off on, and waits until there are
// some. until is how far the reader wants to go; -1 is the object's end.
func (t *transaction) next(ctx context.Context, off, until int64, idle func()) ([]byte, error) {
	for {
		p, news, err := t.look(off, until)
		if p != nil || err != nil {
			return p, err
		}
		idle()
		select {
		case <-news:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// look returns the bytes that are there from off on, or else what to wait for:
// news of the fill that will bring them, which it starts if there is none.
func (t *transaction) look(off, until int64) ([]byte, <-chan struct{}, error) {
	c, o := t.c, t.obj
	c.mu.Lock()
	defer c.mu.Unlock()
	if o.dead != nil {
		return nil, nil, o.dead
	}
	if t.held != nil {
		t.held.read(off)
	}
	if p := o.bytes(off); p != nil {
		i, _, _ := o.bounds(off)
		c.store.touch(o, i)
		return p, nil, nil
	}
	if t.held != nil {
		if p := t.held.recentBytes(off); p != nil {
			return p, nil, nil
		}
	}
	if o.size >= 0 && off >= o.size {
		return nil, nil, io.EOF
	}
	f := o.fillAt(off)
	if t.held != nil && t.held != f && t.held.err != nil && off >= t.held.pos {
		return nil, nil, t.held.err
	}
	if f != nil && o.resumable() && off-f.pos > joinDistance*o.sliceSize {
		f = nil
	}
	if f == nil {
		if !o.resumable() {
			return nil, nil, errSuperseded
		}
		if until < 0 {
			until = o.size
		}
		f = c.fillGap(o, t.req, off, until)
	}
	t.hold(f)
	f.read(off)
	return nil, f.waitChan(), nil
}
