package voyo_test

import (
	"context"
	"errors"
	"net"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// heldNetwork is the network that Caddys in this process listen on: ports that
// the test holds, of which Caddy gets copies. With listeners of its own, a
// connection that is made while it reloads may be reset, as it has been given to
// the old listener by then; and nobody would know when that one is closed.
const heldNetwork = "voyotest"

func init() {
	caddy.RegisterNetwork(heldNetwork, listenHeld)
}

var held struct {
	mu     sync.Mutex
	ports  map[string]*net.TCPListener
	copies int // that are open
}

// holdPort returns a port of the loopback interface that the system chose.
func holdPort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	held.mu.Lock()
	defer held.mu.Unlock()
	if held.ports == nil {
		held.ports = make(map[string]*net.TCPListener)
	}
	held.ports[port] = l.(*net.TCPListener)
	t.Cleanup(func() {
		held.mu.Lock()
		defer held.mu.Unlock()
		delete(held.ports, port)
		l.Close()
	})
	return port
}

// listenHeld is a caddy.ListenerFunc.
func listenHeld(_ context.Context, _, _, port string, _ uint, _ net.ListenConfig) (any, error) {
	held.mu.Lock()
	defer held.mu.Unlock()
	l, ok := held.ports[port]
	if !ok {
		return nil, errors.New("the test does not hold this port")
	}
	f, err := l.File()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	duplicate, err := net.FileListener(f)
	if err != nil {
		return nil, err
	}
	held.copies++
	return &heldListener{Listener: duplicate}, nil
}

// heldListener tells when it is closed.
type heldListener struct {
	net.Listener

	closed sync.Once
}

func (l *heldListener) Close() error {
	err := l.Listener.Close()
	l.closed.Do(func() {
		held.mu.Lock()
		defer held.mu.Unlock()
		held.copies--
	})
	return err
}

// awaitListeners waits until only that many listeners are left: Caddy closes those
// that it does not need any more in the background.
func awaitListeners(t *testing.T, n int) {
	t.Helper()
	eventually(t, "old listeners are closed", func() bool {
		held.mu.Lock()
		defer held.mu.Unlock()
		return held.copies == n
	})
}
