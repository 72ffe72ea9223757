package resolver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// dialer records what it is asked for and connects to nothing but what it is told to.
type dialer struct {
	dialed []string
	up     string
}

func (d *dialer) dial(_ context.Context, network, addr string) (net.Conn, error) {
	d.dialed = append(d.dialed, network+" "+addr)
	if addr != d.up {
		return nil, &net.OpError{Op: "dial", Net: network, Err: syscall.ECONNREFUSED}
	}
	near, far := net.Pipe()
	far.Close()
	return near, nil
}

type lookupFunc = func(ctx context.Context, network, host string) ([]netip.Addr, error)

// resolvesTo gives a name the addresses of one answer after the other; the last
// one is given from then on.
func resolvesTo(answers ...[]string) (lookup lookupFunc, asked *[]string) {
	asked = new([]string)
	return func(_ context.Context, network, host string) ([]netip.Addr, error) {
		n := min(len(*asked), len(answers)-1)
		*asked = append(*asked, network+" "+host)
		var addrs []netip.Addr
		for _, s := range answers[n] {
			addrs = append(addrs, netip.MustParseAddr(s))
		}
		return addrs, nil
	}, asked
}

func TestGuardDial(t *testing.T) {
	for _, tt := range []struct {
		name, addr string
		resolves   []string
		up         string
		dialed     []string
		forbidden  bool
	}{
		{
			name: "public", addr: "cdn.example.com:443",
			resolves: []string{"8.8.8.8"}, up: "8.8.8.8:443",
			dialed: []string{"tcp 8.8.8.8:443"},
		}, {
			name: "next address", addr: "CDN.example.com.:443",
			resolves: []string{"2606:4700::1111", "8.8.8.8", "1.1.1.1"}, up: "8.8.8.8:443",
			dialed: []string{"tcp [2606:4700::1111]:443", "tcp 8.8.8.8:443"},
		}, {
			name: "v4-mapped", addr: "cdn.example.com:80",
			resolves: []string{"::ffff:8.8.8.8"}, up: "8.8.8.8:80",
			dialed: []string{"tcp 8.8.8.8:80"},
		}, {
			name: "NAT64", addr: "cdn.example.com:80",
			resolves: []string{"64:ff9b::808:808"}, up: "[64:ff9b::808:808]:80",
			dialed: []string{"tcp [64:ff9b::808:808]:80"},
		}, {
			name: "private among public", addr: "cdn.example.com:443",
			resolves: []string{"127.0.0.1", "8.8.8.8", "192.168.0.1"}, up: "8.8.8.8:443",
			dialed: []string{"tcp 8.8.8.8:443"},
		}, {
			name: "private only", addr: "cdn.example.com:443",
			resolves:  []string{"127.0.0.1", "169.254.169.254", "::1"},
			forbidden: true,
		}, {
			name: "no address", addr: "cdn.example.com:443",
			forbidden: true,
		}, {
			name: "opened range", addr: "cdn.example.com:443",
			resolves: []string{"10.1.2.3"}, up: "10.1.2.3:443",
			dialed: []string{"tcp 10.1.2.3:443"},
		}, {
			name: "address in an opened range", addr: "10.1.2.3:9000",
			up:     "10.1.2.3:9000",
			dialed: []string{"tcp 10.1.2.3:9000"},
		}, {
			name: "listed private address", addr: "192.168.1.1:80",
			forbidden: true,
		}, {
			name: "trusted", addr: "origin.internal:9000",
			up:     "origin.internal:9000",
			dialed: []string{"tcp origin.internal:9000"},
		}, {
			name: "trusted, another port", addr: "origin.internal:9001",
			resolves:  []string{"8.8.8.8"},
			forbidden: true,
		}, {
			name: "trusted address", addr: "127.0.0.1:9001",
			up:     "127.0.0.1:9001",
			dialed: []string{"tcp 127.0.0.1:9001"},
		}, {
			name: "not listed", addr: "evil.test:443",
			resolves:  []string{"8.8.8.8"},
			forbidden: true,
		}, {
			name: "port not listed", addr: "cdn.example.com:6379",
			resolves:  []string{"8.8.8.8"},
			forbidden: true,
		}, {
			name: "not listed address", addr: "127.0.0.1:80",
			forbidden: true,
		}, {
			name: "octal", addr: "0177.0.0.1:80",
			resolves:  []string{"8.8.8.8"},
			forbidden: true,
		}, {
			name: "no port", addr: "cdn.example.com",
			resolves:  []string{"8.8.8.8"},
			forbidden: true,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g := newGuard(t, testTrusted, testAllowed)
			g.Lookup, _ = resolvesTo(tt.resolves)
			d := &dialer{up: tt.up}
			conn, err := g.DialContext(d.dial)(t.Context(), "tcp", tt.addr)
			if err == nil {
				conn.Close()
			}
			if (err != nil) != tt.forbidden || errors.Is(err, ErrForbidden) != tt.forbidden {
				t.Errorf("got %v", err)
			}
			if !slices.Equal(d.dialed, tt.dialed) {
				t.Errorf("dialed %q, want %q", d.dialed, tt.dialed)
			}
		})
	}
}

// Where a listed name leads nobody can know beforehand; not one of the special
// ranges may be dialed for it.
func TestGuardDialSpecial(t *testing.T) {
	for _, tt := range special {
		g := newGuard(t, nil, []string{"cdn.example.com"})
		g.Lookup, _ = resolvesTo([]string{tt.addr})
		d := new(dialer)
		_, err := g.DialContext(d.dial)(t.Context(), "tcp", "cdn.example.com:443")
		if !errors.Is(err, ErrForbidden) || len(d.dialed) != 0 {
			t.Errorf("%s (%s): dialed %q, %v", tt.addr, tt.name, d.dialed, err)
		}
	}
}

// A name that resolves to a public address when it is checked and to a private
// one a moment later gains nothing: it is looked up once, and what was checked
// is what is dialed.
func TestGuardDialRebinding(t *testing.T) {
	g := newGuard(t, nil, []string{"cdn.example.com"})
	lookup, asked := resolvesTo([]string{"8.8.8.8"}, []string{"127.0.0.1"})
	g.Lookup = lookup
	d := &dialer{up: "8.8.8.8:443"}
	dial := g.DialContext(d.dial)
	conn, err := dial(t.Context(), "tcp4", "cdn.example.com:443")
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if !slices.Equal(*asked, []string{"ip4 cdn.example.com"}) || !slices.Equal(d.dialed, []string{"tcp4 8.8.8.8:443"}) {
		t.Errorf("looked up %q, dialed %q", *asked, d.dialed)
	}
	if _, err := dial(t.Context(), "tcp4", "cdn.example.com:443"); !errors.Is(err, ErrForbidden) {
		t.Errorf("the next connection: %v", err)
	}
}

func TestGuardDialIsBounded(t *testing.T) {
	g := newGuard(t, nil, []string{"cdn.example.com"})
	var many []string
	for i := range 100 {
		many = append(many, fmt.Sprintf("8.8.8.%d", i))
	}
	g.Lookup, _ = resolvesTo(many)
	d := new(dialer)
	_, err := g.DialContext(d.dial)(t.Context(), "tcp", "cdn.example.com:443")
	if !errors.Is(err, syscall.ECONNREFUSED) || errors.Is(err, ErrForbidden) {
		t.Errorf("got %v", err)
	}
	if len(d.dialed) != maxDials {
		t.Errorf("tried %d addresses, want %d", len(d.dialed), maxDials)
	}
}

func TestGuardDialStopsWithItsContext(t *testing.T) {
	g := newGuard(t, nil, []string{"cdn.example.com"})
	g.Lookup, _ = resolvesTo([]string{"8.8.8.8", "1.1.1.1"})
	ctx, cancel := context.WithCancel(t.Context())
	dials := 0
	_, err := g.DialContext(func(ctx context.Context, _, _ string) (net.Conn, error) {
		dials++
		cancel()
		return nil, ctx.Err()
	})(ctx, "tcp", "cdn.example.com:443")
	if !errors.Is(err, context.Canceled) || dials != 1 {
		t.Errorf("got %v after %d dials", err, dials)
	}
}

func TestGuardDialFirstError(t *testing.T) {
	g := newGuard(t, nil, []string{"cdn.example.com"})
	g.Lookup, _ = resolvesTo([]string{"8.8.8.8", "2606:4700::1111"})
	_, err := g.DialContext(func(_ context.Context, _, addr string) (net.Conn, error) {
		if addr == "8.8.8.8:443" {
			return nil, syscall.ECONNREFUSED
		}
		return nil, syscall.ENETUNREACH
	})(t.Context(), "tcp", "cdn.example.com:443")
	if !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("got %v, want the error of the first address", err)
	}
}

func TestGuardDialNetwork(t *testing.T) {
	g := newGuard(t, testTrusted, testAllowed)
	g.Lookup, _ = resolvesTo([]string{"8.8.8.8"})
	for _, network := range []string{"udp", "unix", ""} {
		d := new(dialer)
		_, err := g.DialContext(d.dial)(t.Context(), network, "cdn.example.com:443")
		if !errors.Is(err, ErrForbidden) || len(d.dialed) != 0 {
			t.Errorf("%q: dialed %q, %v", network, d.dialed, err)
		}
	}
}

// Errors end in logs, which must not hold an upstream's name or address.
func TestGuardErrorsNameNoHost(t *testing.T) {
	g := newGuard(t, nil, []string{"*.example.com", "192.168.1.1"})
	check := func(what string, err error) {
		t.Helper()
		if err == nil {
			t.Fatalf("%s: no error", what)
		}
		for _, secret := range []string{"example", "secret", "8.8.8.8", "192.168", "10.0.0.1"} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%s: %q names %q", what, err, secret)
			}
		}
	}
	dns := &net.DNSError{Err: "no such host", Name: "secret.example.com", IsNotFound: true, IsTimeout: true}
	g.Lookup = func(context.Context, string, string) ([]netip.Addr, error) { return nil, dns }
	d := new(dialer)
	dial := g.DialContext(d.dial)
	_, err := dial(t.Context(), "tcp", "secret.example.com:443")
	check("lookup", err)
	if !errors.Is(err, dns) {
		t.Errorf("lookup: %v does not wrap the resolver's error", err)
	}
	if netErr, ok := errors.AsType[net.Error](err); !ok || !netErr.Timeout() {
		t.Errorf("lookup: %v is not known for a timeout", err)
	}

	g.Lookup, _ = resolvesTo([]string{"8.8.8.8"}, []string{"10.0.0.1"})
	_, err = g.DialContext(func(_ context.Context, network, addr string) (net.Conn, error) {
		to := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(addr))
		return nil, &net.OpError{Op: "dial", Net: network, Addr: to, Err: syscall.ECONNREFUSED}
	})(t.Context(), "tcp", "secret.example.com:443")
	check("dial", err)
	if !strings.Contains(err.Error(), "connection refused") {
		t.Errorf("dial: %q does not say why", err)
	}
	for _, addr := range []string{
		"secret.example.com:443", "secret.test:443", "192.168.1.1:80", "10.0.0.1:80", "exa mple:1", "example.com:x",
	} {
		_, err := dial(t.Context(), "tcp", addr)
		check(addr, err)
	}
}

// The same through net/http, which is what the guard is for: it hands over the
// names that Check saw.
func TestGuardTransport(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/redirect" {
			http.Redirect(w, r, "http://cdn.example.com/", http.StatusFound)
		}
	}))
	defer server.Close()
	g := newGuard(t, []string{server.Listener.Addr().String()}, []string{"cdn.example.com"})
	lookup, asked := resolvesTo([]string{"127.0.0.1"})
	g.Lookup = lookup
	transport := &http.Transport{DialContext: g.DialContext(new(net.Dialer).DialContext)}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}

	res, err := client.Get(server.URL)
	if err != nil {
		t.Fatalf("a trusted host at a private address: %v", err)
	}
	res.Body.Close()
	if res, err := client.Get(server.URL + "/redirect"); !errors.Is(err, ErrForbidden) {
		res.Body.Close()
		t.Errorf("a listed host at a private address: %v", err)
	}
	if !slices.Equal(*asked, []string{"ip cdn.example.com"}) {
		t.Errorf("looked up %q", *asked)
	}
}
