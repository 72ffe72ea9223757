package chaos

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	// floodMost is how many bytes are sent at most of what has no end: by then whoever
	// can be flooded is, as net/http takes headers of 10 MiB.
	floodMost = 11 << 20

	// chunkMost is how many bytes of a body are written at a time.
	chunkMost = 16 << 10
)

// Upstream serves what a script says, in the way that it says, at any path. It speaks
// HTTP/1.1 by hand, so that it can break off anywhere.
type Upstream struct {
	*Ledger

	// Elsewhere is the URL, without a path, that redirects which may be followed lead to:
	// "http://cdn.example" unless given. It is served by an Upstream as well.
	Elsewhere string

	// Scale is what the script's seconds take, one each if it is zero.
	Scale time.Duration

	s    Script
	done chan struct{}
	work sync.WaitGroup

	mu     sync.Mutex
	closed bool
	conns  map[net.Conn]struct{}
	ends   []io.Closer
	met    int
	asked  map[string]int
	healed bool
}

// NewUpstream returns an upstream that does what a script says. Close must be called when
// it is no longer used.
func NewUpstream(s Script) *Upstream {
	return &Upstream{
		Ledger: newLedger(s), s: s, done: make(chan struct{}), conns: make(map[net.Conn]struct{}), asked: make(map[string]int),
	}
}

// Serve serves what comes in, until Close. It may be called for several listeners.
func (u *Upstream) Serve(l net.Listener) error {
	u.mu.Lock()
	u.ends = append(u.ends, l)
	u.mu.Unlock()
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		if !u.admit(c) {
			return net.ErrClosed
		}
		u.work.Go(func() {
			defer u.dismiss(c)
			u.converse(c)
		})
	}
}

func (u *Upstream) admit(c net.Conn) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		_ = c.Close()
		return false
	}
	u.conns[c] = struct{}{}
	return true
}

func (u *Upstream) dismiss(c net.Conn) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.conns, c)
	_ = c.Close()
}

// Close ends all connections and listeners, and waits for what they did.
func (u *Upstream) Close() {
	u.mu.Lock()
	if !u.closed {
		close(u.done)
	}
	u.closed = true
	for _, l := range u.ends {
		_ = l.Close()
	}
	for c := range u.conns {
		_ = c.Close()
	}
	u.mu.Unlock()
	u.work.Wait()
}

// Heal ends all faults: from now on every answer is right.
func (u *Upstream) Heal() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.healed = true
}

// CloseConns ends all connections that there are.
func (u *Upstream) CloseConns() {
	u.mu.Lock()
	defer u.mu.Unlock()
	for c := range u.conns {
		_ = c.Close()
	}
}

// Conns returns how many connections are open.
func (u *Upstream) Conns() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.conns)
}

// Refuses is a Network's Refuse, which the script may have for the next connection.
func (u *Upstream) Refuses(string) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.healed || u.s.Welcome(u.met) != "refused" {
		return false
	}
	u.met++
	u.count("connection refused")
	return true
}

// welcome returns what happens to a connection that has come.
func (u *Upstream) welcome() string {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.met++
	what := u.s.Welcome(u.met - 1)
	if u.healed || what == "refused" {
		return ""
	}
	return what
}

// Guess is the script's, as long as the upstream is not healed.
func (u *Upstream) Guess(n int) string {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.healed {
		return ""
	}
	return u.s.Guess(n)
}

// reply returns what to do with the next request for a path.
func (u *Upstream) reply(path string) Reply {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.asked[path]++
	if u.healed {
		return Reply{}
	}
	return u.s.Reply(path, u.asked[path]-1)
}

func (u *Upstream) elsewhere() string {
	if u.Elsewhere == "" {
		return "http://cdn.example"
	}
	return u.Elsewhere
}

// pause waits, and reports false if the upstream has been closed.
func (u *Upstream) pause(d time.Duration) bool {
	if u.Scale > 0 {
		d = time.Duration(d.Seconds() * float64(u.Scale))
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-u.done:
		return false
	}
}

// converse answers the requests of a connection, until it ends.
func (u *Upstream) converse(c net.Conn) {
	switch what := u.welcome(); what {
	case "closed":
		u.count("connection " + what)
		return
	case "reset":
		u.count("connection " + what)
		Reset(c)
		return
	case "ignored":
		u.count("connection " + what)
		_, _ = io.Copy(io.Discard, c)
		return
	}
	for in := bufio.NewReader(c); ; {
		r, err := http.ReadRequest(in)
		if err != nil {
			return
		}
		u.checkRequest(r)
		if err := u.answer(c, r); err != nil {
			return
		}
	}
}

// errEnd says that a connection is to end, or has.
var errEnd = errors.New("end of the connection")

// exchange is one request and its answer.
type exchange struct {
	u       *Upstream
	c       net.Conn
	r       *http.Request
	o       Object
	reply   Reply
	version int
	size    int64 // as is claimed

	held     bool // what is written is gathered first
	gathered []byte
}

// answer answers a request as the script has it.
func (u *Upstream) answer(c net.Conn, r *http.Request) error {
	path := r.URL.Path
	x := &exchange{u: u, c: c, r: r, o: u.s.Object(path), reply: u.reply(path)}
	x.version = u.version(path)
	x.size = x.o.SizeOf(x.version)
	if x.reply.Delay > 0 && !u.pause(x.reply.Delay) {
		return errEnd
	}
	m := x.o.answer(r, x.version)
	if hops, err := strconv.Atoi(r.URL.Query().Get("hops")); err == nil && hops > 0 {
		m.refuse(http.StatusFound)
		m.header.Set("Location", fmt.Sprintf("%s?hops=%d", path, hops-1))
		return x.send(m)
	}
	for _, f := range faults {
		if f.name != x.reply.Fault {
			continue
		}
		tried := *x
		if f.do(&tried, m) {
			x = &tried
			u.count(f.name)
		} else {
			m = x.o.answer(r, x.version)
		}
	}
	return x.send(m)
}

// offset is where in the body the fault is.
func (x *exchange) offset(m *message) int64 {
	return min(int64(x.reply.At*float64(max(m.n, 0))), max(m.n-1, 0))
}
