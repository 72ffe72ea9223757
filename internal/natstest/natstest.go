// Package natstest runs real servers of NATS with JetStream for tests.
package natstest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/voyo-music/caddy-voyo/internal/peer"
	"github.com/voyo-music/caddy-voyo/internal/ports/portstest"
	"github.com/voyo-music/caddy-voyo/internal/tools"
)

// Cluster is one server, or several that are a cluster. Its methods are called by one
// goroutine at a time.
type Cluster struct {
	t       testing.TB
	servers []*server
}

type server struct {
	command []string
	address string // of clients, a host and a port
	routes  string // of the other servers
	process *peer.Process
}

// options are what Start may be told.
type options struct {
	addresses []string
	prefixes  [][]string
	config    string
}

// Option changes how a cluster is started.
type Option func(*options)

// On has each server listen on an IP address of its own, for clients and for the others.
// Without it all are on 127.0.0.1.
func On(addresses ...string) Option {
	return func(o *options) { o.addresses = addresses }
}

// Through has each server run by a command of its own, such as ip netns exec NAME, which
// must replace itself with the server, or pass on signals.
func Through(prefixes ...[]string) Option {
	return func(o *options) { o.prefixes = prefixes }
}

// With adds lines to the configuration of each server.
func With(config string) Option {
	return func(o *options) { o.config += config + "\n" }
}

// Start starts n servers, and returns when they have elected a leader. They end with
// the test. Each one's ports and directory stay its own when it is restarted.
func Start(t testing.TB, n int, opts ...Option) *Cluster {
	t.Helper()
	o := options{addresses: slices.Repeat([]string{"127.0.0.1"}, n), prefixes: make([][]string, n)}
	for _, opt := range opts {
		opt(&o)
	}
	c := &Cluster{t: t, servers: make([]*server, n)}
	routes := make([]string, n)
	for i := range n {
		c.servers[i] = &server{address: address(t, o.addresses[i]), routes: address(t, o.addresses[i])}
		routes[i] = strconv.Quote("nats://" + c.servers[i].routes)
	}
	for i, s := range c.servers {
		file := filepath.Join(t.TempDir(), "nats.conf")
		if err := os.WriteFile(file, []byte(s.config(i, routes)+o.config), 0o600); err != nil {
			t.Fatal(err)
		}
		s.command = slices.Concat(o.prefixes[i], []string{tools.Path(t, "nats-server"), "-c", file})
	}
	ready := regexp.MustCompile(`Server is ready`)
	if n > 1 {
		ready = regexp.MustCompile(`(?:Self is new JetStream cluster|JetStream cluster new) metadata leader`)
	}
	errs := make(chan error, n)
	for _, s := range c.servers {
		go func() { errs <- s.start(ready) }() // they wait for each other
	}
	t.Cleanup(c.stop)
	var err error
	for range n {
		err = errors.Join(err, <-errs)
	}
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// address returns a host and a port of its own, for as long as the test runs.
func address(t testing.TB, host string) string {
	t.Helper()
	return net.JoinHostPort(host, strconv.Itoa(portstest.Reserve(t)))
}

// config returns the configuration of the server with an index. Clients are not told of
// the other servers, so that they stay behind whatever the test has put before them.
func (s *server) config(i int, routes []string) string {
	text := fmt.Sprintf("server_name: n%d\nlisten: %q\njetstream { store_dir: \"store\", max_mem: 64MB, max_file: 1GB }\n", i, s.address)
	if len(routes) > 1 {
		text += fmt.Sprintf("cluster { name: fleet, listen: %q, no_advertise: true, routes: [%s] }\n", s.routes, strings.Join(routes, ", "))
	}
	return text
}

// start starts the server in the directory of its configuration.
func (s *server) start(ready *regexp.Regexp) (err error) {
	cmd := exec.CommandContext(context.Background(), s.command[0], s.command[1:]...) // #nosec G204 -- chosen by the test
	cmd.Dir = filepath.Dir(s.command[len(s.command)-1])
	s.process, err = peer.Start(cmd, ready)
	return err
}

func (c *Cluster) stop() {
	for _, s := range c.servers {
		if s.process != nil {
			_ = syscall.Kill(s.process.PID(), syscall.SIGKILL) // it may have ended
		}
	}
	for _, s := range c.servers {
		if s.process != nil {
			<-s.process.Done()
		}
	}
}

// URLs returns those of all servers.
func (c *Cluster) URLs() []string {
	urls := make([]string, len(c.servers))
	for i, s := range c.servers {
		urls[i] = "nats://" + s.address
	}
	return urls
}

// Address returns the host and the port of a server.
func (c *Cluster) Address(i int) string { return c.servers[i].address }

// Stop ends a server as an operator does.
func (c *Cluster) Stop(i int) {
	c.servers[i].process.Stop()
}

// Kill ends a server at once, as a crash does.
func (c *Cluster) Kill(i int) {
	c.t.Helper()
	c.signal(i, syscall.SIGKILL)
	<-c.servers[i].process.Done()
}

// Freeze has a server do nothing, not even refuse, until it is thawed.
func (c *Cluster) Freeze(i int) {
	c.t.Helper()
	c.signal(i, syscall.SIGSTOP)
}

// Thaw ends what Freeze has begun.
func (c *Cluster) Thaw(i int) {
	c.t.Helper()
	c.signal(i, syscall.SIGCONT)
}

func (c *Cluster) signal(i int, sig syscall.Signal) {
	c.t.Helper()
	if err := syscall.Kill(c.servers[i].process.PID(), sig); err != nil {
		c.t.Fatal(err)
	}
}

// Restart starts a server that was ended again, with what it had, and returns when it
// takes clients. It may have no part in the cluster yet.
func (c *Cluster) Restart(i int) {
	c.t.Helper()
	if err := c.servers[i].start(regexp.MustCompile(`Server is ready`)); err != nil {
		c.t.Fatal(err)
	}
}

// Backup returns a copy of what a server keeps, which is stopped for as long as that takes.
func (c *Cluster) Backup(i int) string {
	c.t.Helper()
	backup := c.t.TempDir()
	c.Stop(i)
	if err := os.CopyFS(backup, os.DirFS(c.servers[i].store())); err != nil {
		c.t.Fatal(err)
	}
	c.Restart(i)
	return backup
}

// Restore has a server go on from a copy.
func (c *Cluster) Restore(i int, backup string) {
	c.t.Helper()
	c.Stop(i)
	store := c.servers[i].store()
	if err := errors.Join(os.RemoveAll(store), os.CopyFS(store, os.DirFS(backup))); err != nil {
		c.t.Fatal(err)
	}
	c.Restart(i)
}

// store returns the directory where the server keeps its streams.
func (s *server) store() string {
	return filepath.Join(filepath.Dir(s.command[len(s.command)-1]), "store")
}
