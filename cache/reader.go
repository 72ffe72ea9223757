package cache

import (
	"context"
	"errors"
	"io"
	"os"
	"syscall"

	"github.com/voyo-music/caddy-voyo/cache/disk"
)

// sink is where the bytes of an object go.
type sink interface {
	// write takes bytes that are in memory.
	write(p []byte) error

	// writeFile takes the n bytes of a file from off on, and returns how many it has
	// taken.
	writeFile(f *os.File, off, n int64) (int64, error)

	// idle is called before each wait.
	idle()
}

// discard is the sink of who only wants the bytes to be there.
type discard struct{}

func (discard) write([]byte) error { return nil }

func (discard) writeFile(_ *os.File, _, n int64) (int64, error) { return n, nil }

func (discard) idle() {}

// piece is what is there of an object from an offset on: bytes in memory, or else
// a part of a slice's file. Its owner closes it.
type piece struct {
	data   []byte
	buffer *buffer // that data is in, nil if it is a slice's
	file   *disk.File
	slice  int   // that the file has
	off, n int64 // within file
}

func (p piece) len() int64 {
	if p.file != nil {
		return p.n
	}
	return int64(len(p.data))
}

func (p piece) close() {
	if p.file != nil {
		_ = p.file.Close() // it was only read
	}
	p.buffer.release(nil)
}

// copy hands the object's bytes from start to end to a sink, as they come. An end
// of -1 is the object's.
func (t *transaction) copy(ctx context.Context, start, end int64, to sink) error {
	for off := start; end < 0 || off < end; {
		p, err := t.next(ctx, off, end, to)
		if err == io.EOF && end < 0 {
			return nil
		}
		if err != nil {
			return err
		}
		sent, err := t.send(p, wants(off, end, p.len()), to)
		if err != nil {
			return err
		}
		off += sent
	}
	t.satisfied(end)
	return nil
}

// send hands the first n bytes of a piece to a sink, and lets go of the piece. It
// returns how many the sink has: fewer than n if a file can't be read any further, and
// then next has the rest from elsewhere.
func (t *transaction) send(p piece, n int64, to sink) (int64, error) {
	if p.file == nil {
		err := to.write(p.data[:n])
		p.buffer.release(err)
		return n, err
	}
	defer p.close()
	sent, err := to.writeFile(p.file.File, p.off, n)
	if errors.Is(err, syscall.EIO) || errors.Is(err, io.ErrUnexpectedEOF) { // of the file, not of the client
		p.file.Unreadable(err)
		t.unreadable = p.slice + 1
		err = nil
	}
	return sent, err
}

// satisfied tells the fill that the reader has got all that it wanted.
func (t *transaction) satisfied(end int64) {
	if t.held == nil {
		return
	}
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	t.held.done(end)
}

// next returns what is there from off on, and waits until there is something.
// until is how far the reader wants to go; -1 is the object's end.
func (t *transaction) next(ctx context.Context, off, until int64, to sink) (piece, error) {
	for {
		v, err := t.look(off, until)
		switch {
		case err != nil:
			return piece{}, err
		case v.data != nil:
			return t.join(v.data, off, until), nil
		case v.disk != nil:
			if p, ok := t.fromDisk(off, v); ok {
				return p, nil
			}
			continue // it is not there any more, or can't be read
		}
		to.idle()
		if err := t.wait(ctx, v.news); err != nil {
			return piece{}, err
		}
	}
}

// join returns the bytes from off to until in one piece if they lie in two slices and
// are few, as a player's range often is: a second write to a connection takes longer than
// to copy them. data is the first part of them, and all that is returned otherwise.
func (t *transaction) join(data []byte, off, until int64) piece {
	n := int64(len(data))
	if until < 0 || off+n >= until || until-off > int64(len(buffer{})) {
		return piece{data: data}
	}
	rest := t.rest(off+n, until)
	if rest == nil {
		return piece{data: data}
	}
	buf := newBuffer()
	return piece{data: append(append(buf[:0], data...), rest...), buffer: buf}
}

// rest returns the bytes from off to until, or nil if they are not all in memory, in one
// slice.
func (t *transaction) rest(off, until int64) []byte {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	if t.obj.dead != nil || int64(len(t.obj.bytes(off))) < until-off {
		return nil
	}
	p := t.available(off, until)
	t.follow(off, until)
	return p[:until-off]
}

// wait waits for an upstream's news.
func (t *transaction) wait(ctx context.Context, news <-chan struct{}) error {
	t.c.waiting.Add(1)
	defer t.c.waiting.Add(-1)
	select {
	case <-news:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// view is what a reader finds at an offset: bytes in memory, or what to wait for,
// or else where it is on disk.
type view struct {
	data []byte
	news <-chan struct{} // of the fill that will bring the bytes

	disk       *disk.Object
	slice      int
	start, end int64 // of the slice
	promote    bool  // it is worth some memory, where the caller has to bring it
}

// look returns what is there from off on.
func (t *transaction) look(off, until int64) (view, error) {
	c, o := t.c, t.obj
	c.mu.Lock()
	defer c.mu.Unlock()
	t.tally()
	if o.dead != nil {
		return view{}, o.dead
	}
	if p := t.available(off, until); p != nil {
		t.outlive()
		t.follow(off, until)
		return view{data: p}, nil
	}
	if o.size >= 0 && off >= o.size {
		return view{}, io.EOF
	}
	if i, start, end := o.bounds(off); o.onDisk(i) && i+1 != t.unreadable {
		t.outlive()
		t.follow(off, until)
		promote := c.store.useDisk(o, i, wants(off, until, end-off), end-start) && !t.sendfile && c.store.claim(o, i)
		return view{disk: o.disk, slice: i, start: start, end: end, promote: promote}, nil
	}
	f, err := t.bringer(off, until)
	if err != nil {
		return view{}, err
	}
	t.outcome = t.outcome.missed()
	t.hold(f)
	f.read(off)
	return view{news: f.waitChan()}, nil
}

// outlive notes that the reader can go on though his fill has failed: when he needs
// more, that may be long ago.
func (t *transaction) outlive() {
	if t.held != nil && t.held.err != nil {
		t.outlived = t.held
	}
}

// wants returns how many of the n bytes from off on a reader wants who goes on
// until the byte before until; -1 is the object's end.
func wants(off, until, n int64) int64 {
	if until < 0 {
		return n
	}
	return min(n, until-off)
}

// available returns the bytes that are in memory from off on; nil if there are
// none.
func (t *transaction) available(off, until int64) []byte {
	if t.held != nil {
		t.held.read(off)
	}
	if p := t.obj.bytes(off); p != nil {
		t.c.store.use(t.obj, off, wants(off, until, int64(len(p))))
		return p
	}
	if t.held != nil {
		return t.held.recentBytes(off)
	}
	return nil
}

// follow makes sure that what comes after the slice at off is there or on its way:
// a reader who goes on, or a player that asks for range after range, need not wait
// there. Once for each slice is enough.
func (t *transaction) follow(off, until int64) {
	o := t.obj
	i, _, next := o.bounds(off)
	if t.req.Policy.ReadAhead == 0 || i+1 == t.followed || !o.resumable() || next >= o.size {
		return
	}
	t.followed = i + 1
	if t.held != nil && (t.held.running() || t.held.recentBytes(next) != nil) {
		return
	}
	goesOn := until < 0 || next < until
	f := o.bringing(next)
	switch {
	case f != nil || o.has(i+1):
	case goesOn:
		f = t.c.fillGap(o, t.req, next, until)
	default: // for the range that may come
		t.c.fillGap(o, t.req, next, next).done(next + o.sliceSize)
	}
	if f != nil && goesOn && next-f.pos <= joinDistance*o.sliceSize {
		t.hold(f)
	}
}

// bringer returns the fill that will bring the byte at off. It starts one if
// there is none, or none that is near.
func (t *transaction) bringer(off, until int64) (*fill, error) {
	o := t.obj
	f := o.fillAt(off)
	if f != nil && (!o.resumable() || off-f.pos <= joinDistance*o.sliceSize) {
		return f, nil
	}
	if h := t.held; h != nil && h != f && h != t.outlived && h.err != nil && off >= h.pos && !errors.Is(h.err, errAbandoned) {
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

// fromDisk opens what a slice's file has from off on, or brings the slice into
// memory. It does I/O. It reports false if the slice is not to be had there, or not
// any more.
func (t *transaction) fromDisk(off int64, v view) (piece, bool) {
	i, start, end := v.slice, v.start, v.end
	f, err := v.disk.Open(int64(i))
	if err != nil {
		t.unreadable = i + 1
	}
	if v.promote {
		if data := t.c.promote(t.obj, i, f, end-start); data != nil {
			_ = f.Close()
			return piece{data: data[off-start:]}, true
		}
	}
	return piece{file: f, slice: i, off: off - start, n: end - off}, err == nil
}
