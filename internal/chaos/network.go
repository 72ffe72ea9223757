package chaos

import (
	"context"
	"maps"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// pipeSize is how many bytes a connection of a Network holds on their way. It is small,
// so that slow readers are felt.
const pipeSize = 32 << 10

// Network is one in memory. All that waits on it waits on channels, so that it can be
// used inside a testing/synctest bubble. The zero value is ready for use.
type Network struct {
	// Refuse is asked whether the next connection to an address is refused. May be nil.
	Refuse func(addr string) bool

	mu        sync.Mutex
	listeners map[string]*listener
	dialed    map[string]int
	open      int // ends of connections that were not closed
	port      int // of the last client
}

// Listen returns a listener for what is dialed as one of the addresses. It closes with
// the last of its connections still to be accepted.
func (n *Network) Listen(addrs ...string) net.Listener {
	l := &listener{n: n, addrs: addrs, queue: make(chan net.Conn), done: make(chan struct{})}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.listeners == nil {
		n.listeners, n.dialed = make(map[string]*listener), make(map[string]int)
	}
	for _, addr := range addrs {
		n.listeners[addr] = l
	}
	return l
}

// DialContext connects to an address.
func (n *Network) DialContext(ctx context.Context, _, addr string) (net.Conn, error) {
	n.mu.Lock()
	l := n.listeners[addr]
	n.dialed[addr]++
	n.port++
	from := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 1024 + n.port}
	n.mu.Unlock()
	if l == nil || n.Refuse != nil && n.Refuse(addr) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	to := &net.TCPAddr{IP: net.IPv4(198, 51, 100, 1), Port: 80}
	client, server := n.pair(from, to)
	select {
	case l.queue <- server:
		return client, nil
	case <-l.done:
	case <-ctx.Done():
	}
	_, _ = client.Close(), server.Close()
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return nil, &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
}

// Dialed returns how often each address was dialed.
func (n *Network) Dialed() map[string]int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return maps.Clone(n.dialed)
}

// Open returns how many ends of connections were not closed.
func (n *Network) Open() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.open
}

func (n *Network) pair(client, server net.Addr) (*conn, *conn) {
	up, down := newPipe(), newPipe()
	n.mu.Lock()
	defer n.mu.Unlock()
	n.open += 2
	return &conn{n: n, in: down, out: up, local: client, remote: server}, &conn{n: n, in: up, out: down, local: server, remote: client}
}

func (n *Network) closed() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.open--
}

// listener implements net.Listener.
type listener struct {
	n     *Network
	addrs []string
	queue chan net.Conn
	once  sync.Once
	done  chan struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	select {
	case c := <-l.queue:
		return c, nil
	case <-l.done:
		return nil, net.ErrClosed
	}
}

func (l *listener) Close() error {
	l.once.Do(func() { close(l.done) })
	return nil
}

func (l *listener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(198, 51, 100, 1), Port: 80} }

// conn is one end of a connection.
type conn struct {
	n             *Network
	in, out       *pipe
	local, remote net.Addr
	read, write   deadline
	once          sync.Once
}

func (c *conn) Read(b []byte) (int, error)  { return c.in.read(b, c.read.wait()) }
func (c *conn) Write(b []byte) (int, error) { return c.out.write(b, c.write.wait()) }
func (c *conn) LocalAddr() net.Addr         { return c.local }
func (c *conn) RemoteAddr() net.Addr        { return c.remote }

// Close ends both directions in an orderly way: what was written will be read.
func (c *conn) Close() error { return c.end(nil) }

// Reset ends both directions at once: what was not read yet is lost.
func (c *conn) Reset() { _ = c.end(syscall.ECONNRESET) }

// CloseWrite ends one direction: nothing more is written.
func (c *conn) CloseWrite() error {
	c.out.end(nil, false)
	return nil
}

func (c *conn) end(err error) error {
	first := false
	c.once.Do(func() {
		first = true
		c.out.end(err, false)
		c.in.end(err, true)
		c.read.stop()
		c.write.stop()
		c.n.closed()
	})
	if !first {
		return net.ErrClosed
	}
	return nil
}

func (c *conn) SetDeadline(t time.Time) error {
	c.read.set(t)
	c.write.set(t)
	return nil
}

func (c *conn) SetReadDeadline(t time.Time) error {
	c.read.set(t)
	return nil
}

func (c *conn) SetWriteDeadline(t time.Time) error {
	c.write.set(t)
	return nil
}

// Reset breaks a connection, a Network's or the kernel's, so that its peer finds it
// broken rather than closed.
func Reset(c net.Conn) {
	switch c := c.(type) {
	case interface{ Reset() }:
		c.Reset()
		return
	case *net.TCPConn:
		_ = c.SetLinger(0)
	}
	_ = c.Close()
}
