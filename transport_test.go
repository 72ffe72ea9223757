package voyo

import (
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/voyo-music/caddy-voyo/resolver"
)

func init() {
	caddy.RegisterModule(fakeTransport{})
	caddy.RegisterModule(noTransport{})
}

// fakeTransport stands for a transport whose dials can't be guarded.
type fakeTransport struct{}

func (fakeTransport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.transport.fake",
		New: func() caddy.Module { return new(fakeTransport) },
	}
}

func (fakeTransport) RoundTrip(*http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Body: http.NoBody}, nil
}

// noTransport is in the namespace by mistake.
type noTransport struct{ noResolver }

func (noTransport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.transport.none",
		New: func() caddy.Module { return new(noTransport) },
	}
}

// newGuard returns a guard to which all names are those of this machine.
func newGuard(t *testing.T, trusted, allowed []string) *resolver.Guard {
	t.Helper()
	guard, err := resolver.NewGuard(trusted, allowed)
	if err != nil {
		t.Fatal(err)
	}
	guard.Lookup = func(context.Context, string, string) ([]netip.Addr, error) {
		return []netip.Addr{netip.MustParseAddr("127.0.0.1")}, nil
	}
	return guard
}

// newTransport loads a transport, the default one without a configuration.
func newTransport(t *testing.T, config string, guard *resolver.Guard) (*guardedTransport, error) {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	h := new(Handler)
	if config != "" {
		h.TransportRaw = json.RawMessage(config)
	}
	rt, err := h.loadTransport(ctx, guard)
	if err != nil {
		return nil, err
	}
	return rt.(*guardedTransport), nil
}

func mustTransport(t *testing.T, config string, guard *resolver.Guard) *guardedTransport {
	t.Helper()
	rt, err := newTransport(t, config, guard)
	if err != nil {
		t.Fatal(err)
	}
	return rt
}

// counter is a server that counts the connections to it, and says its name.
type counter struct {
	*httptest.Server
	conns atomic.Int64
}

func newCounter(t *testing.T, name string) *counter {
	c := new(counter)
	c.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if to := r.FormValue("to"); to != "" {
			http.Redirect(w, r, to, http.StatusFound)
			return
		}
		_, _ = io.WriteString(w, name+" "+r.RequestURI)
	}))
	c.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			c.conns.Add(1)
		}
	}
	c.Start()
	t.Cleanup(c.Close)
	return c
}

func (c *counter) addr() string { return c.Listener.Addr().String() }

// at returns a URL of the server under another name.
func (c *counter) at(host string) string {
	_, port, _ := net.SplitHostPort(c.addr())
	return "http://" + net.JoinHostPort(host, port)
}

// What must not wait for a connection is asked over another one than there may be, and
// leaves nothing behind.
func TestUnqueued(t *testing.T) {
	for _, protocol := range []string{"HTTP/1.1", "HTTP/2.0"} {
		came, release := make(chan struct{}), make(chan struct{})
		var open, conns atomic.Int64
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/waits" {
				close(came)
				<-release
			}
			_, _ = io.WriteString(w, r.Proto)
		}))
		server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
			switch s {
			case http.StateNew:
				conns.Add(1)
				open.Add(1)
			case http.StateClosed:
				open.Add(-1)
			}
		}
		config := `{"protocol": "http", "max_conns_per_host": 1}`
		if server.EnableHTTP2 = protocol == "HTTP/2.0"; server.EnableHTTP2 {
			server.StartTLS()
			ca := base64.StdEncoding.EncodeToString(server.Certificate().Raw)
			config = `{"protocol": "http", "max_conns_per_host": 1, "tls": {"ca": {"provider": "inline", "trusted_ca_certs": ["` + ca + `"]}}}`
		} else {
			server.Start()
		}
		rt := mustTransport(t, config, newGuard(t, []string{server.Listener.Addr().String()}, nil))
		answered := make(chan string, 1)
		go func() {
			got, err := get(t, rt, server.URL+"/waits")
			answered <- fmt.Sprint(got, err)
		}()
		<-came
		for i := range int64(2) {
			r, err := http.NewRequestWithContext(unqueued(t.Context()), http.MethodGet, server.URL, nil)
			if err != nil {
				t.Fatal(err)
			}
			resp, err := rt.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			b, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			if string(b) != protocol || err != nil || conns.Load() != i+2 {
				t.Errorf("%s: got %q, %v over %d connections", protocol, b, err, conns.Load())
			}
		}
		for deadline := time.Now().Add(20 * time.Second); open.Load() > 1; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: %d connections are open", protocol, open.Load())
			}
		}
		close(release)
		if got := <-answered; got != protocol+"<nil>" {
			t.Errorf("%s: who has waited got %s", protocol, got)
		}
		server.Close()
	}
}

func get(t *testing.T, rt http.RoundTripper, url string) (string, error) {
	t.Helper()
	resp, err := (&http.Client{Transport: rt}).Get(url)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body), nil
}

func TestTransportGuards(t *testing.T) {
	upstream, other := newCounter(t, "upstream"), newCounter(t, "other")
	for _, c := range []struct {
		name, url string
		allowed   []string
		want      string // empty: is refused
	}{
		{"trusted, private", upstream.URL + "/x", nil, "upstream /x"},
		{"other port of a trusted host", other.URL, nil, ""},
		{"not listed", other.at("cdn.example"), nil, ""},
		{"listed, private", other.at("cdn.example"), []string{strings.TrimPrefix(other.at("cdn.example"), "http://")}, ""},
		{"listed, in a listed range", other.at("cdn.example") + "/y", []string{strings.TrimPrefix(other.at("cdn.example"), "http://"), "127.0.0.0/8"}, "other /y"},
		{"redirect to what is not listed", upstream.URL + "/?to=" + other.URL, nil, ""},
		{"redirect to what is listed, private", upstream.URL + "/?to=" + other.at("cdn.example"), []string{strings.TrimPrefix(other.at("cdn.example"), "http://")}, ""},
		{"redirect to what is listed", upstream.URL + "/?to=" + other.URL + "/z", []string{"127.0.0.0/8"}, "other /z"},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := other.conns.Load()
			rt := mustTransport(t, "", newGuard(t, []string{upstream.addr()}, c.allowed))
			got, err := get(t, rt, c.url)
			switch {
			case c.want == "" && !errors.Is(err, resolver.ErrForbidden):
				t.Errorf("got %q, error %v", got, err)
			case c.want == "" && other.conns.Load() != before:
				t.Error("was refused, but connected")
			case c.want != "" && (err != nil || got != c.want):
				t.Errorf("got %q, error %v, want %q", got, err, c.want)
			}
		})
	}
}

// What can't be checked where it is dialled is refused, unless it is trusted.
func TestTransportUnguarded(t *testing.T) {
	guard := newGuard(t, []string{"media.example:443"}, []string{"cdn.example"})
	if _, err := get(t, mustTransport(t, `{"protocol": "fake"}`, guard), "https://media.example/"); err != nil {
		t.Error(err)
	}
	for _, config := range []string{
		`{"protocol": "fake"}`,
		`{"protocol": "http", "tls": {}, "versions": ["3"]}`,
	} {
		_, err := get(t, mustTransport(t, config, guard), "https://cdn.example/")
		if !errors.Is(err, resolver.ErrForbidden) {
			t.Errorf("%s: %v", config, err)
		}
	}
}

func TestTransportProxy(t *testing.T) {
	proxy := newCounter(t, "proxy")
	t.Setenv("VOYO_TEST_PROXY", proxy.URL)
	guard := newGuard(t, []string{"media.example:80"}, []string{"cdn.example", "127.0.0.0/8"})
	for _, url := range []string{proxy.URL, "{env.VOYO_TEST_PROXY}"} {
		config := `{"protocol": "http", "network_proxy": {"from": "url", "url": "` + url + `"}}`
		rt := mustTransport(t, config, guard)
		got, err := get(t, rt, "http://media.example/x")
		if err != nil || got != "proxy http://media.example/x" {
			t.Errorf("%s: got %q, error %v", url, got, err)
		}
		before := proxy.conns.Load()
		if _, err := get(t, rt, "http://cdn.example/x"); !errors.Is(err, resolver.ErrForbidden) {
			t.Errorf("%s: untrusted: %v", url, err)
		}
		if proxy.conns.Load() != before {
			t.Errorf("%s: was refused, but connected", url)
		}
	}
}

// Where another handler makes a client's request go does not matter here, and
// what is kept in that request stays as it is: other goroutines may use it.
func TestTransportIgnoresClientsRequest(t *testing.T) {
	upstream, other, proxy := newCounter(t, "upstream"), newCounter(t, "other"), newCounter(t, "proxy")
	vars := make(map[string]any)
	ctx := context.WithValue(t.Context(), caddyhttp.VarsCtxKey, vars)
	ctx = context.WithValue(ctx, caddy.CtxKey("reverse_proxy.dial_info"), reverseproxy.DialInfo{Network: "tcp", Address: other.addr()})
	if _, ok := reverseproxy.GetDialInfo(ctx); !ok {
		t.Fatal("Caddy has another name for it")
	}
	guard := newGuard(t, []string{upstream.addr(), "media.example:80"}, nil)
	for config, url := range map[string]string{
		`{"protocol": "http"}`: upstream.URL,
		`{"protocol": "http", "network_proxy": {"from": "url", "url": "` + proxy.URL + `"}}`: "http://media.example",
	} {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := mustTransport(t, config, guard).RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	if other.conns.Load() != 0 || upstream.conns.Load() != 1 || proxy.conns.Load() != 1 {
		t.Error("went to where the client's request was to go")
	}
	if len(vars) > 0 {
		t.Errorf("variables were set in the client's request: %v", vars)
	}
}

type closeRecorder struct {
	io.Reader
	closed bool
}

func (c *closeRecorder) Close() error {
	c.closed = true
	return nil
}

func TestTransportClosesBody(t *testing.T) {
	body := &closeRecorder{Reader: strings.NewReader("")}
	r := &http.Request{Method: http.MethodPost, URL: mustURL(t, "http://cdn.example/"), Body: body}
	if _, err := mustTransport(t, "", newGuard(t, nil, nil)).RoundTrip(r); !errors.Is(err, resolver.ErrForbidden) {
		t.Error(err)
	}
	if !body.closed {
		t.Error("the body was left open")
	}
}

func TestTransportChecksCertificates(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.NotFoundHandler())
	srv.Config.ErrorLog = log.New(io.Discard, "", 0) // it complains
	srv.StartTLS()
	t.Cleanup(srv.Close)
	_, err := get(t, mustTransport(t, "", newGuard(t, []string{srv.Listener.Addr().String()}, nil)), srv.URL)
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); !ok {
		t.Errorf("got %v", err)
	}
}

// The DNS servers of the transport are asked for all hosts.
func TestTransportResolvers(t *testing.T) {
	upstream := newCounter(t, "upstream")
	host := strings.TrimPrefix(upstream.at("cdn.example"), "http://")
	guard, err := resolver.NewGuard(nil, []string{host, "127.0.0.0/8"})
	if err != nil {
		t.Fatal(err)
	}
	config := `{"protocol": "http", "resolver": {"addresses": ["` + serveDNS(t, thisMachine) + `"]}}`
	got, err := get(t, mustTransport(t, config, guard), "http://"+host+"/x")
	if err != nil || got != "upstream /x" {
		t.Errorf("got %q, error %v", got, err)
	}
}

func httpTransport(t *guardedTransport) *http.Transport {
	return t.next.(*reverseproxy.HTTPTransport).Transport
}

func TestTransportDefaults(t *testing.T) {
	for _, c := range []struct {
		config      string
		conns, idle int
		header      time.Duration
		most        int64
	}{
		{``, 50, 50, 15 * time.Second, 1 << 20},
		{`{"protocol": "http"}`, 50, 50, 15 * time.Second, 1 << 20},
		{`{"protocol": "http", "max_conns_per_host": 10}`, 10, 32, 15 * time.Second, 1 << 20},
		{`{"protocol": "http", "max_conns_per_host": 100}`, 100, 100, 15 * time.Second, 1 << 20},
		{`{"protocol": "http", "max_conns_per_host": -1}`, -1, 32, 15 * time.Second, 1 << 20},
		{`{"protocol": "http", "keep_alive": {"max_idle_conns_per_host": 32}}`, 50, 32, 15 * time.Second, 1 << 20},
		{`{"protocol": "http", "response_header_timeout": "3s"}`, 50, 50, 3 * time.Second, 1 << 20},
		{`{"protocol": "http", "max_response_header_size": 8192}`, 50, 50, 15 * time.Second, 8192},
	} {
		rt := httpTransport(mustTransport(t, c.config, newGuard(t, nil, nil)))
		if rt.MaxConnsPerHost != c.conns || rt.MaxIdleConnsPerHost != c.idle || rt.ResponseHeaderTimeout != c.header {
			t.Errorf("%s: connections %d, idle %d, timeout %s", c.config, rt.MaxConnsPerHost, rt.MaxIdleConnsPerHost, rt.ResponseHeaderTimeout)
		}
		if rt.MaxResponseHeaderBytes != c.most {
			t.Errorf("%s: headers of up to %d bytes", c.config, rt.MaxResponseHeaderBytes)
		}
	}
}

// What the client is sent is what the upstream sends, and the body waits until the
// upstream wants it.
func TestTransportManners(t *testing.T) {
	for config, want := range map[string]time.Duration{
		``: time.Second,
		`{"protocol": "http", "compression": true, "expect_continue_timeout": "3s"}`: 3 * time.Second,
	} {
		rt := httpTransport(mustTransport(t, config, newGuard(t, nil, nil)))
		if !rt.DisableCompression || rt.ExpectContinueTimeout != want {
			t.Errorf("%s: compression off: %t, timeout %s", config, rt.DisableCompression, rt.ExpectContinueTimeout)
		}
	}
}

func TestTransportRefused(t *testing.T) {
	for config, want := range map[string]string{
		`{"protocol": "http", "tls": {"insecure_skip_verify": true}}`:                           "certificate checks can't be disabled",
		`{"protocol": "http", "tls": {"server_name": "{http.request.host}"}}`:                   "server_name can't be used",
		`{"protocol": "http", "proxy_protocol": "v1"}`:                                          "proxy_protocol can't be used",
		`{"protocol": "http", "versions": ["1.1", "3"]}`:                                        "no other HTTP versions",
		`{"protocol": "http", "resolver": {"addresses": ["127.0.0.1:1-2"]}}`:                    "exactly one address",
		`{"protocol": "http", "network_proxy": {"from": "url", "url": "http://u:secret@%zz/"}}`: "url: not an absolute URL",
		`{"protocol": "http", "network_proxy": {"from": "url", "url": "{env.VOYO_UNSET}"}}`:     "VOYO_UNSET is not set",
		`{"protocol": "http", "forward_proxy_url": "secret"}`:                                   "forward_proxy_url: not an absolute URL",
		`{"protocol": "http", "network_proxy": {"from": "unheard_of"}}`:                         "unknown module",
		`{"protocol": "none"}`:                                                   "is not a transport",
		`{"protocol": "unheard_of"}`:                                             "unknown module",
		`{"protocol": "http", "unheard_of": true}`:                               "unknown field",
		`{"protocol": "http", "tls": {"insecure_skip_verify": true, "ca": null}`: "unexpected end of JSON",
		`{}`: "module name not specified",
	} {
		_, err := newTransport(t, config, newGuard(t, nil, nil))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, want %q", config, err, want)
		}
	}
}
