package netlab

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os/exec"
	"strconv"
)

// Host is a host of a lab.
type Host struct {
	l     *Lab
	n     int // from 1 on
	space namespace
}

// Addr is where other hosts reach it. Nobody else does, so that it has all ports for
// itself.
func (h *Host) Addr() netip.Addr {
	a := prefix.Addr().As4()
	a[3] = byte(h.n) //nolint:gosec // at most maxHosts
	return netip.AddrFrom4(a)
}

// hardware is its hardware address, one of those that are assigned locally.
func (h *Host) hardware() string { return fmt.Sprintf("02:00:00:00:00:%02x", h.n) }

// port is the name of the bridge's port that it is at.
func (h *Host) port() string { return "port" + strconv.Itoa(h.n) }

// neighbor is how ip(8) has another host know it.
func (h *Host) neighbor() string {
	return fmt.Sprintf("neigh replace %s lladdr %s dev eth0 nud permanent", h.Addr(), h.hardware())
}

// Command returns a command that runs a program on the host. The program is killed if this
// process ends.
func (h *Host) Command(ctx context.Context, program string, args ...string) *exec.Cmd {
	return h.space.command(ctx, program, args...)
}

// Prefix returns the beginning of a command, to which a program and its arguments are to
// be appended, that runs a program on the host.
func (h *Host) Prefix() []string { return h.space.prefix() }

// Cut has all that is sent to the host, or by it, get lost on its way. Neither side is
// told: the host's link stays up, and its own addresses still answer it.
func (h *Host) Cut(ctx context.Context) error { return h.setPort(ctx, "disabled") }

// Heal ends what Cut has begun.
func (h *Host) Heal(ctx context.Context) error { return h.setPort(ctx, "forwarding") }

func (h *Host) setPort(ctx context.Context, state string) error {
	return h.l.space.batch(ctx, "bridge", []string{"link set dev " + h.port() + " state " + state})
}

// DialContext connects from the host, to another one or to itself. The address has an IP
// address.
func (h *Host) DialContext(ctx context.Context, network, address string) (c net.Conn, err error) {
	err = h.space.do(func() error {
		c, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return c, err
}

// Listen listens on a port of the host's address.
func (h *Host) Listen(ctx context.Context, port uint16) (l net.Listener, err error) {
	err = h.space.do(func() error {
		l, err = new(net.ListenConfig).Listen(ctx, "tcp", netip.AddrPortFrom(h.Addr(), port).String())
		return err
	})
	return l, err
}

// Transport returns one whose connections are made from the host.
func (h *Host) Transport() *http.Transport {
	return &http.Transport{DialContext: h.DialContext, DisableCompression: true}
}
