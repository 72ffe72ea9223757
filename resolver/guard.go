package resolver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"

	"code.dny.dev/ssrf"
)

// ErrForbidden is wrapped in the errors of a Guard that refuses an upstream.
// Their text says why and names neither host nor address.
var ErrForbidden = errors.New("upstream not allowed")

// nat64 is the well-known prefix of IPv4 addresses as an IPv6-only network sees
// them (RFC 6052, section 2.1).
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// Guard decides which upstreams may be fetched from. There are two kinds of
// them: those of the configuration are trusted, wherever they are; those that
// answers and redirects name must be on the operator's list, and be at a public
// address or in a range that is listed too.
//
// Check decides by name and DialContext by address. Both are needed: a name
// says nothing of where it leads, and an address nothing of who was asked for.
// A Guard is safe for concurrent use.
type Guard struct {
	// Lookup resolves the names of hosts that are not trusted. It is like
	// net.Resolver.LookupNetIP, net.DefaultResolver's unless it is set before the
	// Guard's first use.
	Lookup func(ctx context.Context, network, host string) ([]netip.Addr, error)

	trusted map[endpoint]struct{}
	allowed hostList
	public  *ssrf.Guardian
}

// NewGuard returns a Guard.
//
// trusted has the configuration's own upstreams as "host:port", IPv6 addresses
// in brackets. They may be private, and other ports of theirs are not trusted.
//
// Each of allowed is one of
//
//	cdn.example.com        this host, on the scheme's default port: 80 for http, 443 for https
//	cdn.example.com:8443   this host on this port only
//	*.example.com          subdomains at any depth, not example.com itself; a port as above
//	192.0.2.1, [2001:db8::1]:8443   addresses, which are hosts like any other
//	10.0.0.0/8             a range: allows the addresses in it as hosts, on any port, and
//	                       allows names on the list to resolve to them
//
// so that a private address is fetched from only if it is in a listed range.
// Names are compared without regard to case and to a final dot; those that are
// not ASCII are to be written in punycode.
func NewGuard(trusted, allowed []string) (*Guard, error) {
	g := &Guard{
		Lookup:  net.DefaultResolver.LookupNetIP,
		trusted: make(map[endpoint]struct{}, len(trusted)),
	}
	for _, pair := range trusted {
		_, end, err := parseEndpoint(pair, false)
		if err != nil {
			return nil, fmt.Errorf("trusted upstream %q: %w", pair, err)
		}
		g.trusted[end] = struct{}{}
	}
	var err error
	if g.allowed, err = newHostList(allowed); err != nil {
		return nil, err
	}
	var v4, v6 []netip.Prefix
	for _, prefix := range g.allowed.prefixes {
		if prefix.Addr().Is4() {
			v4 = append(v4, prefix)
		} else {
			v6 = append(v6, prefix)
		}
	}
	g.public = ssrf.New(
		ssrf.WithAnyPort(),
		ssrf.WithAnyNetwork(),
		ssrf.WithAllowedV4Prefixes(v4...),
		ssrf.WithAllowedV6Prefixes(v6...),
	)
	return g, nil
}

// Check reports whether u may be fetched, and whether its host is trusted. It is
// to be asked for every target and every redirect, and looks nothing up. The
// error wraps ErrForbidden.
func (g *Guard) Check(u *url.URL) (trusted bool, err error) {
	h, end, isDefault, err := parseUpstream(u)
	if err != nil {
		return false, forbid(err)
	}
	if _, ok := g.trusted[end]; ok {
		return true, nil
	}
	if !g.allowed.allows(h, end.port, isDefault) {
		return false, forbid(errNotListed)
	}
	if h.addr.IsValid() && !g.safe(h.addr) {
		return false, forbid(errNotPublic)
	}
	return false, nil
}

var (
	errNotListed = errors.New("host is not on the list")
	errNotPublic = errors.New("address is not public")
)

// forbid says that something is forbidden for that reason. The reason is one of
// this package's own, as others' errors name hosts.
func forbid(reason error) error {
	return fmt.Errorf("%w: %w", ErrForbidden, reason)
}

// parseUpstream reads where u leads. isDefault says that the port is the
// scheme's default.
func parseUpstream(u *url.URL) (h host, end endpoint, isDefault bool, err error) {
	defaultPort := uint16(80)
	switch {
	case u == nil:
		return host{}, endpoint{}, false, errors.New("there is no URL")
	case u.Scheme == "https":
		defaultPort = 443
	case u.Scheme != "http":
		return host{}, endpoint{}, false, errors.New("scheme is neither http nor https")
	}
	switch {
	case u.User != nil:
		return host{}, endpoint{}, false, errors.New("URL has user information")
	case u.Opaque != "":
		return host{}, endpoint{}, false, errors.New("URL is opaque")
	}
	h, end, err = parseEndpoint(u.Host, true)
	if end.port == 0 {
		end.port = defaultPort
	}
	return h, end, end.port == defaultPort, err
}

// safe reports whether an address is public or in a listed range. One with a
// zone is neither: netip has it in no range.
func (g *Guard) safe(addr netip.Addr) bool {
	addr = addr.Unmap()
	if nat64.Contains(addr) {
		// Such an address leads where the IPv4 address in its last 32 bits does. The
		// other ways to wrap IPv4, 6to4 and Teredo, are refused altogether.
		b := addr.As16()
		addr = netip.AddrFrom4([4]byte(b[12:]))
	}
	return g.public.SafeAddr(addr) == nil
}
