package cache

import (
	"context"
	"errors"
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
	t.satisfied(end)
	return nil
}

// satisfied tells the fill that the reader has got all that it wanted.
func (t *transaction) satisfied(end int64) {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	if t.held != nil {
		t.held.done(end)
	}
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
// news of the fill that will bring them.
func (t *transaction) look(off, until int64) ([]byte, <-chan struct{}, error) {
	c, o := t.c, t.obj
	c.mu.Lock()
	defer c.mu.Unlock()
	if o.dead != nil {
		return nil, nil, o.dead
	}
	if p := t.available(off); p != nil {
		return p, nil, nil
	}
	if o.size >= 0 && off >= o.size {
		return nil, nil, io.EOF
	}
	f, err := t.bringer(off, until)
	if err != nil {
		return nil, nil, err
	}
	t.hold(f)
	f.read(off)
	return nil, f.waitChan(), nil
}

// available returns the bytes that are there from off on; nil if there are none.
func (t *transaction) available(off int64) []byte {
	if t.held != nil {
		t.held.read(off)
	}
	if p := t.obj.bytes(off); p != nil {
		t.c.store.touch(t.obj, off)
		return p
	}
	if t.held != nil {
		return t.held.recentBytes(off)
	}
	return nil
}

// bringer returns the fill that will bring the byte at off. It starts one if
// there is none, or none that is near.
func (t *transaction) bringer(off, until int64) (*fill, error) {
	o := t.obj
	f := o.fillAt(off)
	if f != nil && (!o.resumable() || off-f.pos <= joinDistance*o.sliceSize) {
		return f, nil
	}
	if h := t.held; h != nil && h != f && h.err != nil && off >= h.pos && !errors.Is(h.err, errAbandoned) {
		return nil, h.err
	}
	if !o.resumable() {
		return nil, errSuperseded
	}
	if until < 0 || until > o.size {
		until = o.size
	}
	f = t.c.fillGap(o, t.req, off, until)
	return f, f.err
}
