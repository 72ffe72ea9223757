package resolver

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
)

// maxDials is how many addresses of one host are tried. Names on the list may
// be in someone else's hands, who could give any number.
const maxDials = 8

// DialFunc connects to addr, a "host:port", as net.Dialer.DialContext does.
type DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// DialContext wraps a dialer, which is given trusted upstreams as they are. The
// hosts of others must be on the list; they are resolved here, and next is given
// an address that was checked instead of the name, so that it does not matter
// what the name resolves to a moment later. The safe ones among a host's
// addresses are tried in order until one is connected, 8 at most.
//
// The dialer doesn't know the scheme: here, a listed host without a port is
// allowed on both 80 and 443. The error wraps ErrForbidden if an upstream was
// refused. Other errors wrap the resolver's or next's, and do not show their
// text, which names hosts.
func (g *Guard) DialContext(next DialFunc) DialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		h, end, err := parseEndpoint(addr, false)
		if err != nil {
			return nil, forbid(err)
		}
		if _, ok := g.trusted[end]; ok {
			return next(ctx, network, addr)
		}
		if !g.allowed.allows(h, end.port, end.port == 80 || end.port == 443) {
			return nil, forbid(errNotListed)
		}
		addrs, err := g.safeAddrs(ctx, network, h)
		if err != nil {
			return nil, err
		}
		var firstErr error // the preferred address's says most, as in net.Dialer
		for _, a := range addrs[:min(len(addrs), maxDials)] {
			conn, err := next(ctx, network, netip.AddrPortFrom(a, end.port).String())
			if err == nil {
				return conn, nil
			}
			if firstErr == nil {
				firstErr = &upstreamError{"upstream can't be connected", err}
			}
			if ctx.Err() != nil {
				break
			}
		}
		return nil, firstErr
	}
}

// safeAddrs returns those of a host's addresses that may be dialed, at least one.
func (g *Guard) safeAddrs(ctx context.Context, network string, h host) ([]netip.Addr, error) {
	ipNetwork, ok := strings.CutPrefix(network, "tcp")
	if !ok {
		return nil, forbid(errors.New("network is not TCP"))
	}
	addrs := []netip.Addr{h.addr}
	if !h.addr.IsValid() {
		var err error
		if addrs, err = g.Lookup(ctx, "ip"+ipNetwork, h.name); err != nil {
			return nil, &upstreamError{"upstream's name can't be resolved", err}
		}
	}
	var safe []netip.Addr
	for _, a := range addrs {
		if g.safe(a) {
			safe = append(safe, a.Unmap())
		}
	}
	if len(safe) == 0 {
		return nil, forbid(errNotPublic)
	}
	return safe, nil
}

// upstreamError keeps an error for errors.Is and errors.As, and its text, which
// names hosts and addresses, to itself.
type upstreamError struct {
	what string
	err  error
}

func (e *upstreamError) Error() string {
	if errno, ok := errors.AsType[syscall.Errno](e.err); ok {
		return e.what + ": " + errno.Error()
	}
	return e.what
}

func (e *upstreamError) Unwrap() error { return e.err }
