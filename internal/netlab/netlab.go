// Package netlab has networks for tests and measurements: hosts in network namespaces of
// their own, on a bridge in another one. It needs Linux, root, iproute2 and util-linux.
//
// The namespaces have no names. They end with the last process, socket and file that is
// in them, however the process ends that has made them, and two labs never meet, though
// all have the same addresses.
package netlab

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
)

// The addresses of hosts, which are for the measurement of networks (RFC 2544, section
// C.2.2) and in no other network.
var prefix = netip.MustParsePrefix("198.18.0.0/24")

// maxHosts is how many hosts fit into a lab.
const maxHosts = 250

// bridge is the name of the bridge in its namespace.
const bridge = "br0"

// Lab is a network.
type Lab struct {
	space namespace // of the bridge

	mu    sync.Mutex
	hosts []*Host
}

// New returns a network without hosts. Close must be called when it is no longer used.
func New(ctx context.Context) (*Lab, error) {
	space, err := newNamespace()
	if err != nil {
		return nil, err
	}
	l := &Lab{space: space}
	if err := space.ip(ctx, "link add name "+bridge+" type bridge", "link set dev "+bridge+" up"); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Close gives the network up. It is gone when the programs in it have ended, too.
func (l *Lab) Close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range l.hosts {
		h.space.close()
	}
	l.space.close()
}

// Host adds a host. All hosts reach each other.
func (l *Lab) Host(ctx context.Context) (*Host, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.hosts) + 1
	if n > maxHosts {
		return nil, fmt.Errorf("a lab has no more than %d hosts", maxHosts)
	}
	space, err := newNamespace()
	if err != nil {
		return nil, err
	}
	h := &Host{l: l, n: n, space: space}
	if err := l.connect(ctx, h); err != nil {
		space.close()
		return nil, err
	}
	l.hosts = append(l.hosts, h)
	return h, nil
}

// connect connects a new host to the bridge. Hosts know each other's hardware addresses
// from the beginning: who asks for that of a host that is cut off is told after some
// seconds that it can't be reached, which nobody tells in a network of several links.
func (l *Lab) connect(ctx context.Context, h *Host) error {
	if err := l.space.ip(ctx,
		fmt.Sprintf("link add name %s type veth peer name eth0 netns %s", h.port(), h.space.path()),
		fmt.Sprintf("link set dev %s master %s up", h.port(), bridge)); err != nil {
		return err
	}
	lines := []string{
		"link set dev lo up",
		"link set dev eth0 address " + h.hardware() + " up",
		fmt.Sprintf("addr add %s/%d dev eth0", h.Addr(), prefix.Bits()),
	}
	for _, other := range l.hosts {
		lines = append(lines, other.neighbor())
		if err := other.space.ip(ctx, h.neighbor()); err != nil {
			return err
		}
	}
	return h.space.ip(ctx, lines...)
}

// ip has ip(8) do something in the namespace.
func (s namespace) ip(ctx context.Context, lines ...string) error {
	return s.batch(ctx, "ip", lines)
}

// batch runs a program of iproute2 in the namespace.
func (s namespace) batch(ctx context.Context, program string, lines []string) error {
	cmd := s.command(ctx, program, "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(lines, "\n"))
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, bytes.TrimSpace(said.Bytes()))
	}
	return nil
}

// command returns a command that runs in the namespace.
func (s namespace) command(ctx context.Context, program string, args ...string) *exec.Cmd {
	all := append(s.prefix(), program)
	return exec.CommandContext(ctx, all[0], append(all[1:], args...)...) // #nosec G204 -- chosen by the caller
}
