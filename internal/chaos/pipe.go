package chaos

import (
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// pipe is one direction of a connection.
type pipe struct {
	mu     sync.Mutex
	buf    []byte
	ended  bool  // nothing more is written
	gone   bool  // nothing more is read, by whoever was to read it
	broken error // both, at once
	news   chan struct{}
}

func newPipe() *pipe { return &pipe{news: make(chan struct{})} }

// tell wakes who waits. The caller holds p.mu.
func (p *pipe) tell() {
	close(p.news)
	p.news = make(chan struct{})
}

// end ends the pipe: by its reader, or else by its writer; at once, if there is an error.
func (p *pipe) end(err error, byReader bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = p.ended || !byReader
	p.gone = p.gone || byReader
	if err != nil && p.broken == nil {
		p.broken, p.buf = err, nil
	}
	p.tell()
}

func (p *pipe) read(b []byte, expired <-chan struct{}) (int, error) {
	for {
		select {
		case <-expired: // also if there is something to read
			return 0, fail("read", os.ErrDeadlineExceeded)
		default:
		}
		n, news, err := p.take(b)
		if n > 0 || err != nil || len(b) == 0 {
			return n, err
		}
		select {
		case <-news:
		case <-expired:
		}
	}
}

// take reads what there is, or returns what to wait for.
func (p *pipe) take(b []byte) (int, <-chan struct{}, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.gone:
		return 0, nil, fail("read", net.ErrClosed)
	case p.broken != nil:
		return 0, nil, fail("read", p.broken)
	case len(p.buf) == 0 && p.ended:
		return 0, nil, io.EOF
	}
	n := copy(b, p.buf)
	if p.buf = p.buf[n:]; n > 0 {
		p.tell()
	}
	return n, p.news, nil
}

func (p *pipe) write(b []byte, expired <-chan struct{}) (int, error) {
	for written := 0; ; {
		select {
		case <-expired:
			return written, fail("write", os.ErrDeadlineExceeded)
		default:
		}
		n, news, err := p.put(b[written:])
		if written += n; written == len(b) || err != nil {
			return written, err
		}
		if n > 0 {
			continue
		}
		select {
		case <-news:
		case <-expired:
		}
	}
}

// put writes as much as there is room for, or returns what to wait for.
func (p *pipe) put(b []byte) (int, <-chan struct{}, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.ended:
		return 0, nil, fail("write", net.ErrClosed)
	case p.broken != nil:
		return 0, nil, fail("write", p.broken)
	case p.gone:
		return 0, nil, fail("write", syscall.EPIPE)
	}
	n := min(len(b), pipeSize-len(p.buf))
	if n > 0 {
		p.buf = append(p.buf, b[:n]...)
		p.tell()
	}
	return n, p.news, nil
}

// fail returns an error as the net package has it.
func fail(op string, err error) error {
	if errno, ok := err.(syscall.Errno); ok { //nolint:errorlint // it never is wrapped
		err = os.NewSyscallError(op, errno)
	}
	return &net.OpError{Op: op, Net: "tcp", Err: err}
}

// deadline is one for the reads or the writes of a connection. The zero value is none.
type deadline struct {
	mu      sync.Mutex
	timer   *time.Timer
	expired chan struct{} // closed once it has passed
}

// wait returns what is closed once the deadline has passed.
func (d *deadline) wait() <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.expired == nil {
		d.expired = make(chan struct{})
	}
	return d.expired
}

// set sets the deadline. Who waits already learns of an earlier one, but not of a later
// one than that which he waits with.
func (d *deadline) set(t time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
	if d.expired == nil || isClosed(d.expired) {
		d.expired = make(chan struct{})
	}
	if t.IsZero() {
		return
	}
	left := time.Until(t)
	if left <= 0 {
		close(d.expired)
		return
	}
	var timer *time.Timer
	timer = time.AfterFunc(left, func() { d.expire(&timer) })
	d.timer = timer
}

// expire ends the waits, unless the timer that says so is not the deadline's any more.
func (d *deadline) expire(timer **time.Timer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer == *timer {
		d.timer = nil
		close(d.expired)
	}
}

func (d *deadline) stop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.timer != nil {
		d.timer.Stop()
	}
}

func isClosed(c chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
