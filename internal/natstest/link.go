package natstest

import (
	"errors"
	"net"
	"sync"
	"testing"
)

// Link is a network between a client and the servers of a cluster, which can be cut.
type Link struct {
	urls      []string
	listeners []net.Listener
	work      sync.WaitGroup

	mu    sync.Mutex
	state state
	turn  *sync.Cond // state has changed
	conns map[net.Conn]struct{}
}

type state int

const (
	whole  state = iota
	cut          // connections break, and none can be made
	silent       // nothing arrives
	ended
)

// Link returns a network of its own to the servers. It ends with the test.
func (c *Cluster) Link() *Link {
	c.t.Helper()
	l := &Link{conns: make(map[net.Conn]struct{})}
	l.turn = sync.NewCond(&l.mu)
	for _, s := range c.servers {
		listener := listen(c.t)
		l.listeners = append(l.listeners, listener)
		l.urls = append(l.urls, "nats://"+listener.Addr().String())
		l.work.Go(func() { l.serve(listener, s.address) })
	}
	c.t.Cleanup(l.close)
	return l
}

func listen(t testing.TB) net.Listener {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// URLs returns those of the servers, as they are reached over the link.
func (l *Link) URLs() []string { return l.urls }

// Cut breaks all connections, and refuses others, until Heal.
func (l *Link) Cut() { l.turnTo(cut) }

// Silence has nothing arrive any more, in either direction, until Heal: what was sent
// meanwhile arrives then. Nobody is told.
func (l *Link) Silence() { l.turnTo(silent) }

// Heal ends what Cut or Silence has begun.
func (l *Link) Heal() { l.turnTo(whole) }

func (l *Link) turnTo(s state) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state = s
	if s == cut || s == ended {
		for c := range l.conns {
			c.Close()
		}
	}
	l.turn.Broadcast()
}

func (l *Link) close() {
	for _, listener := range l.listeners {
		listener.Close()
	}
	l.turnTo(ended)
	l.work.Wait()
}

// serve passes connections on to a server.
func (l *Link) serve(listener net.Listener, address string) {
	for {
		client, err := listener.Accept()
		if err != nil {
			return
		}
		l.work.Go(func() {
			if err := l.pass(client, address); err != nil {
				client.Close()
			}
		})
	}
}

// pass passes on what is sent over a connection, in both directions.
func (l *Link) pass(client net.Conn, address string) error {
	if !l.add(client) {
		return net.ErrClosed
	}
	defer l.remove(client)
	server, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	if !l.add(server) {
		return errors.Join(net.ErrClosed, server.Close())
	}
	defer l.remove(server)
	var directions sync.WaitGroup
	directions.Go(func() { l.copy(client, server) })
	directions.Go(func() { l.copy(server, client) })
	directions.Wait()
	return nil
}

// add takes note of a connection, unless there may be none.
func (l *Link) add(c net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == cut || l.state == ended {
		return false
	}
	l.conns[c] = struct{}{}
	return true
}

func (l *Link) remove(c net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.conns, c)
	c.Close()
}

// copy copies one direction until it ends, which ends the other one too.
func (l *Link) copy(to, from net.Conn) {
	defer to.Close()
	defer from.Close()
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		l.mu.Lock()
		for l.state == silent {
			l.turn.Wait()
		}
		l.mu.Unlock()
		if _, werr := to.Write(buffer[:n]); err != nil || werr != nil {
			return
		}
	}
}
