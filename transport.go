package voyo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/voyo-music/caddy-voyo/resolver"
)

// The defaults of the http transport. Caddy's own suit its reverse proxy, which
// waits as long as the client does.
const (
	defaultMaxConnsPerHost = 50
	defaultHeaderTimeout   = 15 * time.Second

	// defaultMaxHeader is how many bytes of header an answer may have. It is what Caddy
	// takes from clients; Go takes ten times as much from upstreams, and each exchange
	// may hold one.
	defaultMaxHeader = 1 << 20

	// an upstream that knows nothing of "Expect: 100-continue" gets the body then
	defaultContinueTimeout = time.Second
)

// loadTransport loads the transport module and puts the guard before it.
func (h *Handler) loadTransport(ctx caddy.Context, guard *resolver.Guard) (http.RoundTripper, error) {
	if h.TransportRaw == nil {
		h.TransportRaw = json.RawMessage(`{"protocol":"http"}`)
	}
	idleConnsSet := setsIdleConns(h.TransportRaw) // loading clears the field
	repl := caddy.NewReplacer()
	var err error
	if h.TransportRaw, err = expandProxies(h.TransportRaw, repl); err != nil {
		return nil, fmt.Errorf("transport: %w", err)
	}
	mod, err := ctx.LoadModule(h, "TransportRaw")
	if err != nil {
		return nil, fmt.Errorf("loading transport: %w", err)
	}
	rt, ok := mod.(http.RoundTripper)
	if !ok {
		return nil, fmt.Errorf("transport: module %T is not a transport", mod)
	}
	t := &guardedTransport{next: rt, guard: guard, repl: repl}
	ht, ok := rt.(*reverseproxy.HTTPTransport)
	if !ok {
		return t, nil
	}
	if err := checkTransport(ht); err != nil {
		return nil, fmt.Errorf("transport: %w", err)
	}
	setTransportDefaults(ht.Transport, idleConnsSet)
	if ht.Resolver != nil && len(ht.Resolver.Addresses) > 0 {
		if guard.Lookup, err = lookupBy(ht.Resolver.Addresses); err != nil {
			return nil, fmt.Errorf("transport: %w", err)
		}
	}
	// HTTP/3 is dialled by a transport of its own
	if !slices.Equal(ht.Versions, []string{"3"}) {
		t.guardDials(ht.Transport)
	}
	t.apart = unlimited(ht)
	return t, nil
}

// unlimited returns a transport that connects as another one does, but anew for each
// request, whatever the limit of connections is.
func unlimited(ht *reverseproxy.HTTPTransport) http.RoundTripper {
	own, rt := *ht, ht.Transport.Clone()
	rt.MaxConnsPerHost, rt.DisableKeepAlives = 0, true
	// or else it would share the other's connections of HTTP/2
	rt.TLSNextProto, rt.ForceAttemptHTTP2 = nil, rt.TLSNextProto["h2"] != nil
	own.Transport = rt
	return &own
}

// checkTransport refuses what would go past the guard, and what switches off
// the check of certificates.
func checkTransport(ht *reverseproxy.HTTPTransport) error {
	switch {
	case ht.TLS != nil && ht.TLS.InsecureSkipVerify:
		return errors.New("insecure_skip_verify: certificate checks can't be disabled")
	case ht.ProxyProtocol != "":
		return errors.New("proxy_protocol can't be used: a fetch is not on behalf of one client")
	case ht.Transport.DialTLSContext != nil:
		// it would not use the guarded dial function
		return errors.New("placeholders in the TLS server_name can't be used: a fetch is not on behalf of one client")
	}
	return nil
}

// setTransportDefaults sets what the configuration leaves open. Idle connections
// are kept up to the limit, or else those beyond Caddy's 32 would be closed and
// opened all the time.
func setTransportDefaults(rt *http.Transport, idleConnsSet bool) {
	if rt.MaxConnsPerHost == 0 {
		rt.MaxConnsPerHost = defaultMaxConnsPerHost
	}
	if !idleConnsSet && rt.MaxIdleConnsPerHost < rt.MaxConnsPerHost {
		rt.MaxIdleConnsPerHost = rt.MaxConnsPerHost
	}
	if rt.ResponseHeaderTimeout == 0 {
		rt.ResponseHeaderTimeout = defaultHeaderTimeout
	}
	if rt.MaxResponseHeaderBytes == 0 {
		rt.MaxResponseHeaderBytes = defaultMaxHeader
	}
	if rt.ExpectContinueTimeout == 0 {
		rt.ExpectContinueTimeout = defaultContinueTimeout
	}
	// What is asked for is what the client understands, and what comes is what it is
	// sent: net/http would ask for gzip by itself, and undo it.
	rt.DisableCompression = true
}

// setsIdleConns tells whether a transport's configuration has a limit of its own
// for idle connections, which can't be told from the default once it is loaded.
func setsIdleConns(config json.RawMessage) bool {
	var c struct {
		KeepAlive struct {
			MaxIdleConnsPerHost int `json:"max_idle_conns_per_host"`
		} `json:"keep_alive"`
	}
	// the module itself reports what is malformed
	return json.Unmarshal(config, &c) == nil && c.KeepAlive.MaxIdleConnsPerHost != 0
}

// lookupBy returns a lookup that asks the given DNS servers. The transport asks
// them for the hosts that it dials itself, and the guard resolves the others.
func lookupBy(servers []string) (func(ctx context.Context, network, host string) ([]netip.Addr, error), error) {
	addrs := make([]caddy.NetworkAddress, len(servers))
	for i, server := range servers {
		var err error
		if addrs[i], err = caddy.ParseNetworkAddressWithDefaults(server, "udp", 53); err != nil {
			return nil, err
		}
	}
	var d net.Dialer
	r := &net.Resolver{
		PreferGo: true,
		Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			addr := addrs[rand.IntN(len(addrs))]
			return d.DialContext(ctx, addr.Network, addr.JoinHostPort(0))
		},
	}
	return r.LookupNetIP, nil
}

// guardedTransport lets only requests out that go where the configuration
// allows. As a client sends each hop of a redirect through its transport, each
// hop is checked.
type guardedTransport struct {
	next  http.RoundTripper
	apart http.RoundTripper // for what must not wait for a connection; nil if next does not limit them
	guard *resolver.Guard
	repl  *caddy.Replacer

	// checksDials says that the addresses of untrusted hosts are checked where
	// they are dialled. Where they can't be, untrusted hosts are refused.
	checksDials bool
	proxy       func(*http.Request) (*url.URL, error) // may be nil
}

// RoundTrip implements http.RoundTripper.
func (t *guardedTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	r, err := t.check(r)
	if err != nil {
		// not even then may the body be left open
		if r.Body != nil {
			r.Body.Close()
		}
		return nil, err
	}
	if t.apart != nil && r.Context().Value(apartKey{}) != nil {
		return t.apart.RoundTrip(r)
	}
	return t.next.RoundTrip(r)
}

// apartKey is the context key of a request that must not wait for a connection.
type apartKey struct{}

// unqueued returns a context whose requests do not wait until others leave them one of the
// connections that there may be to a host.
func unqueued(ctx context.Context) context.Context {
	return context.WithValue(ctx, apartKey{}, true)
}

// check tells whether the request may go out, and returns it as it is to go.
func (t *guardedTransport) check(r *http.Request) (*http.Request, error) {
	r = r.WithContext(detachedContext{r.Context(), t.repl})
	trusted, err := t.guard.Check(r.URL)
	if err != nil {
		return r, err
	}
	proxy, err := t.proxyFor(r)
	switch {
	case err != nil:
		return r, err
	case !trusted && proxy != nil:
		return r, fmt.Errorf("%w: its address can't be checked behind a forward proxy", resolver.ErrForbidden)
	case !trusted && !t.checksDials:
		return r, fmt.Errorf("%w: its address can't be checked by this transport", resolver.ErrForbidden)
	}
	return r.WithContext(context.WithValue(r.Context(), proxyKey{}, proxy)), nil
}

func (t *guardedTransport) proxyFor(r *http.Request) (*url.URL, error) {
	if t.proxy == nil {
		return nil, nil
	}
	return t.proxy(r)
}

// detachedContext hides what Caddy keeps in a client's request. Its transport
// would take the address to dial from there, and write to variables that belong
// to the client's own goroutine. Placeholders, as in the URL of a forward proxy,
// are not expanded by what a client sends either.
type detachedContext struct {
	context.Context
	repl *caddy.Replacer
}

// Value implements context.Context.
func (c detachedContext) Value(key any) any {
	if key == caddy.ReplacerCtxKey {
		return c.repl
	}
	if _, ok := key.(caddy.CtxKey); ok {
		return nil
	}
	return c.Context.Value(key)
}

// proxyKey is the context key of the forward proxy (a *url.URL, nil for none)
// that a request goes through. It is decided once for each request, so that
// what is checked is what happens.
type proxyKey struct{}

// guardDials makes the transport dial through the guard. Dialled for a request
// that goes through a forward proxy is the proxy, which the configuration names.
func (t *guardedTransport) guardDials(rt *http.Transport) {
	t.checksDials = true
	t.proxy = rt.Proxy
	rt.Proxy = func(r *http.Request) (*url.URL, error) {
		return proxyOf(r.Context()), nil
	}
	plain := rt.DialContext
	guarded := t.guard.DialContext(plain)
	rt.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if proxyOf(ctx) != nil {
			return plain(ctx, network, addr)
		}
		return guarded(ctx, network, addr)
	}
}

func proxyOf(ctx context.Context) *url.URL {
	u, _ := ctx.Value(proxyKey{}).(*url.URL)
	return u
}

// Interface guard
var _ http.RoundTripper = (*guardedTransport)(nil)
