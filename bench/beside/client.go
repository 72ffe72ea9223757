package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// request is an object that a client asks for, or n bytes of it from off on.
type request struct {
	path   string
	object object
	off, n int64 // n is 0: all
}

// timing is what a request has taken, until its body's first byte and until its last.
type timing struct {
	first, total time.Duration
	bytes        int64
}

// What may be wrong with an answer.
var (
	errStatus = errors.New("wrong status")
	errRange  = errors.New("wrong Content-Range")
	errBytes  = errors.New("wrong bytes")
	errLength = errors.New("wrong length")
)

// client has one connection, which it makes anew where it has to. It has no goroutine, so
// that it takes little of what the server needs, too.
type client struct {
	addr string
	tls  *tls.Config // nil: without
	slow bool

	conn net.Conn
	r    *bufio.Reader
	buf  []byte
}

func (t *turn) client() *client { return &client{addr: t.addr[0]} }

// dial connects. A slow client is like one on the internet: it has Ethernet's segments,
// and its kernel takes in little ahead of it. With loopback's 64 KiB the kernels would
// take in most of a track, and hide what the server buffers.
func (c *client) dial(ctx context.Context) error {
	d, size := new(net.Dialer), 64<<10
	if c.slow {
		size = 8 << 10
		d.Control = func(_, _ string, raw syscall.RawConn) (err error) {
			control := raw.Control(func(fd uintptr) {
				err = errors.Join(
					unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 64<<10),
					unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, 1460))
			})
			return errors.Join(control, err)
		}
	}
	conn, err := d.DialContext(ctx, "tcp", c.addr)
	if err != nil {
		return err
	}
	if c.tls != nil {
		conn = tls.Client(conn, c.tls)
	}
	c.conn = conn
	if c.r == nil {
		c.r, c.buf = bufio.NewReaderSize(nil, size), make([]byte, size)
	}
	c.r.Reset(conn)
	return nil
}

func (c *client) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// get makes a request and checks every byte of the answer. more, if there is one, is told
// after each read how many came, and says whether to go on.
func (c *client) get(ctx context.Context, r request, more func(n int64) bool) (timing, error) {
	if c.conn == nil {
		if err := c.dial(ctx); err != nil {
			return timing{}, err
		}
	}
	t, again, err := c.exchange(r, more)
	if !again {
		c.close()
	}
	return t, err
}

// exchange also reports whether the connection is good for another request.
func (c *client) exchange(r request, more func(n int64) bool) (t timing, again bool, err error) {
	head := "GET " + r.path + " HTTP/1.1\r\nHost: " + c.addr + "\r\n"
	size := r.object.size
	if r.n > 0 {
		head += fmt.Sprintf("Range: bytes=%d-%d\r\n", r.off, r.off+r.n-1)
		size = r.n
	}
	start := time.Now()
	if err := c.conn.SetDeadline(start.Add(2 * time.Minute)); err != nil {
		return t, false, err
	}
	if _, err := io.WriteString(c.conn, head+"\r\n"); err != nil {
		return t, false, err
	}
	resp, err := http.ReadResponse(c.r, nil) //nolint:bodyclose // that would read the rest: what is left unread costs the connection
	if err != nil {
		return t, false, err
	}
	if err := r.checkHead(resp); err != nil {
		return t, false, err
	}
	for {
		n, err := resp.Body.Read(c.buf)
		if n > 0 && t.bytes == 0 {
			t.first = time.Since(start)
		}
		if !r.object.has(c.buf[:n], r.off+t.bytes) {
			return t, false, fmt.Errorf("%w after %d of %s", errBytes, r.off+t.bytes, r.path)
		}
		t.bytes += int64(n)
		if err == io.EOF {
			break
		}
		if err != nil {
			return t, false, err
		}
		if more != nil && !more(t.bytes) {
			return t, false, nil
		}
	}
	t.total = time.Since(start)
	if t.bytes != size {
		return t, false, fmt.Errorf("%w: %d of %d", errLength, t.bytes, size)
	}
	return t, !resp.Close, nil
}

// checkHead compares an answer's header with what it is to be.
func (r request) checkHead(resp *http.Response) error {
	status, contentRange := http.StatusOK, ""
	if r.n > 0 {
		status, contentRange = http.StatusPartialContent, fmt.Sprintf("bytes %d-%d/%d", r.off, r.off+r.n-1, r.object.size)
	}
	if resp.StatusCode != status {
		return fmt.Errorf("%w: %s", errStatus, resp.Status)
	}
	if got := resp.Header.Get("Content-Range"); got != contentRange {
		return fmt.Errorf("%w: %q", errRange, got)
	}
	return nil
}
