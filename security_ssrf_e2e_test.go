package voyo_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"

	voyo "github.com/voyo-music/caddy-voyo"
)

// lookups is what a DNS server answers, and how often it was asked.
type lookups struct {
	mu      sync.Mutex
	asked   int
	answers [][]string // one after the other; the last one is given from then on
}

func (l *lookups) answer(string) (addrs []netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.answers[min(l.asked, len(l.answers)-1)] {
		addrs = append(addrs, netip.MustParseAddr(s))
	}
	l.asked++
	return addrs
}

func (l *lookups) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.asked
}

// twins listens on a port of 127.0.0.1 and on the same one of 127.0.0.2.
func twins(t *testing.T) (one, two net.Listener) {
	t.Helper()
	for range 100 {
		two, err := net.Listen("tcp", "127.0.0.2:0")
		must(t, err)
		_, port, err := net.SplitHostPort(two.Addr().String())
		must(t, err)
		if one, err := net.Listen("tcp", "127.0.0.1:"+port); err == nil {
			return one, two
		}
		two.Close()
	}
	t.Fatal("no port is free on both addresses")
	return nil, nil
}

// hostAt is an upstream on a listener, which closes each connection after its answer.
func hostAt(t *testing.T, l net.Listener, body string) *origin {
	t.Helper()
	o := new(origin)
	o.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		o.requests = append(o.requests, r)
		o.mu.Unlock()
		w.Header().Set("Content-Type", "audio/ogg")
		w.Header().Set("Connection", "close")
		_, _ = w.Write([]byte(body))
	}))
	o.Listener.Close()
	o.Listener = l
	o.Start()
	t.Cleanup(o.Close)
	return o
}

// A name whose address changes between two look-ups is connected to at the address that
// was checked, and not at all where that is private; of several addresses, at those that
// are not.
func TestSSRFRebinding(t *testing.T) {
	track := fakeTrack(1000)
	one, two := twins(t)
	private, public := hostAt(t, one, track), hostAt(t, two, track)
	_, port, err := net.SplitHostPort(two.Addr().String())
	must(t, err)
	for _, c := range []struct {
		name    string
		answers [][]string
		ok      []bool // of one request after the other
	}{
		{"private from the second on", [][]string{{"127.0.0.2"}, {"127.0.0.1"}}, []bool{true, false, false}},
		{"private at first", [][]string{{"127.0.0.1"}, {"127.0.0.2"}}, []bool{false, true}},
		{"private besides", [][]string{{"127.0.0.1", "127.0.0.2", "10.0.0.1"}}, []bool{true, true}},
		{"private alone", [][]string{{"127.0.0.1", "0.0.0.0", "169.254.169.254"}}, []bool{false}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dns := &lookups{answers: c.answers}
			s := newService(t)
			// all of 127.0.0.2 stands for the public network
			e := startEdge(t, fmt.Sprintf("voyo {\n%s\nallowed_upstreams rebind.test:%s 127.0.0.2/32\ntransport http {\nresolvers %s\n}\n}",
				s.config(), port, voyo.ServeDNS(t, dns.answer)))
			for i, ok := range c.ok {
				before := len(public.asked("/"))
				s.tell(sourceID(i), "http://rebind.test:"+port+"/t")
				want, asks := http.StatusBadGateway, 0
				if ok {
					want, asks = http.StatusOK, 1
				}
				if a := e.get(t, "/cdn/stream/"+sourceID(i)); a.status != want {
					t.Errorf("request %d: got %s", i, a)
				}
				if n := len(public.asked("/")) - before; n != asks {
					t.Errorf("request %d: the public host was asked %d times", i, n)
				}
			}
			if n := dns.count(); n != len(c.ok) {
				t.Errorf("looked up %d times for %d connections", n, len(c.ok))
			}
		})
	}
	if n := len(private.asked("/")); n != 0 {
		t.Errorf("the private host was asked %d times", n)
	}
	if a := (node{private.URL, http.DefaultClient}).get(t, "/"); a.status != http.StatusOK {
		t.Errorf("it can't be reached at all: %s", a)
	}
}

// However a URL in an answer is written, it leads to no host that is not listed. All
// names are this machine's, whose addresses are open here, so that the name alone
// decides.
func TestSSRFHosts(t *testing.T) {
	track := fakeTrack(1000)
	o := newOrigin(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "audio/ogg")
		_, _ = w.Write([]byte(track))
	})
	_, port, err := net.SplitHostPort(o.host())
	must(t, err)
	dns := &lookups{answers: [][]string{{"127.0.0.1"}}}
	s := newService(t)
	e := startEdge(t, fmt.Sprintf("voyo {\n%s\nallowed_upstreams cdn.test:%s *.example.test:%[2]s plain.test 127.0.0.1/32\ntransport http {\nresolvers %[3]s\n}\n}",
		s.config(), port, voyo.ServeDNS(t, dns.answer)))
	asked := 0
	for i, c := range []struct {
		url string
		ok  bool
	}{
		{"http://cdn.test:PORT/", true},
		{"HTTP://CDN.test.:PORT/", true},
		{"http://a.b.example.test:PORT/", true},
		{"http://127.0.0.1:PORT/", true},
		{"http://[::ffff:127.0.0.1]:PORT/", true},
		{"http://cdn.test:PORT/?x=http://evil.test/", true},

		// dots and their look-alikes
		{"http://evilexample.test:PORT/", false},
		{"http://example.test:PORT/", false},
		{"http://.example.test:PORT/", false},
		{"http://a..example.test:PORT/", false},
		{"http://example.test.evil.test:PORT/", false},
		{"http://a.example.test.evil.test:PORT/", false},
		{"http://cdn.test..:PORT/", false},
		{"http://cdn。test:PORT/", false},
		{"http://cdn%2etest:PORT/", false},
		{"http://cdn.test%00.evil.test:PORT/", false},
		{"http://cdn.test%2f.evil.test:PORT/", false},
		{"http://ｃdn.test:PORT/", false},
		{"http://cdn.tеst:PORT/", false}, // the second e is Cyrillic
		{"http://xn--cdn-test:PORT/", false},

		// what is before and behind the host
		{"http://user@cdn.test:PORT/", false},
		{"http://user:secret@cdn.test:PORT/", false},
		{"http://@cdn.test:PORT/", false},
		{"http://cdn.test:PORT@evil.test:PORT/", false},
		{"http://cdn.test:PORT\\@evil.test:PORT/", false},
		{"http://evil.test:PORT\\@cdn.test:PORT/", false},
		{"http://evil.test:PORT#@cdn.test:PORT/", false},
		{"http://evil.test:PORT?@cdn.test:PORT/", false},
		{"http://cdn.test:PORT:PORT/", false},
		{"http://cdn.test:0/", false},
		{"http://cdn.test:99999/", false},
		{"http://cdn.test:-PORT/", false},
		{"http://cdn.test:+PORT/", false},
		{"http://cdn.test:/", false},
		{"http://cdn.test/", false},
		{"http://plain.test:PORT/", false},
		{"http://:PORT/", false},
		{"http:///cdn.test:PORT/", false},
		{"http:cdn.test:PORT/", false},
		{"//evil.test:PORT/", false},
		{"http://cdn.test:PORT\r\nHost: evil.test/", false},
		{"http://evil.test:PORT\tcdn.test:PORT/", false},
		{" http://evil.test:PORT/", false},

		// addresses
		{"http://2130706433:PORT/", false},
		{"http://0x7f000001:PORT/", false},
		{"http://0x7f.1:PORT/", false},
		{"http://0177.0.0.1:PORT/", false},
		{"http://127.1:PORT/", false},
		{"http://127.0.0.01:PORT/", false},
		{"http://１２７.0.0.1:PORT/", false},
		{"http://127.0.0.1.:PORT/", false},
		{"http://127.0.0.2:PORT/", false},
		{"http://0.0.0.0:PORT/", false},
		{"http://[::1]:PORT/", false},
		{"http://[::]:PORT/", false},
		{"http://[::127.0.0.1]:PORT/", false},
		{"http://[fe80::1%25lo]:PORT/", false},
		{"http://[::ffff:127.0.0.1%25lo]:PORT/", false},
		{"http://[127.0.0.1]:PORT/", false},
		{"http://::1:PORT/", false},

		// what is not HTTP
		{"ftp://cdn.test:PORT/", false},
		{"file:///etc/passwd", false},
		{"gopher://cdn.test:PORT/", false},
		{"unix:///run/secret.sock", false},
		{"javascript:alert(1)", false},
		{"data:audio/ogg;base64,T2dnUw==", false},
	} {
		s.tell(sourceID(i), strings.ReplaceAll(c.url, "PORT", port))
		a := e.get(t, "/cdn/stream/"+sourceID(i))
		if c.ok {
			asked++
		}
		if ok := a.status == http.StatusOK; ok != c.ok || !ok && a.status != http.StatusBadGateway && a.status != http.StatusNotFound {
			t.Errorf("%q: got %s", c.url, a)
		}
		if n := len(o.asked("")); n != asked {
			t.Errorf("%q: a host was asked", c.url)
			asked = n
		}
	}
}

// A redirect leads no further than an answer does, in whatever scheme. The edge follows
// those of media and of a service, and none of the origin's.
func TestSSRFRedirects(t *testing.T) {
	addr, touched := forbiddenHost(t)
	var location string
	o := newOrigin(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Location"] = []string{location}
		w.WriteHeader(http.StatusFound)
	})
	e := startEdge(t, fmt.Sprintf("voyo {\n%s\nresolver api %s/stream\norigin %[2]s\nallowed_upstreams cdn.test\n}", template(o.URL), o.URL))
	for i, to := range []string{
		"http://" + addr + "/x", "//" + addr + "/x", "https://" + addr + "/x", "HTTP://" + addr, "http://cdn.test@" + addr + "/",
		"http://localhost:" + addr[strings.LastIndexByte(addr, ':')+1:] + "/", "http://169.254.169.254/latest/meta-data/",
		"ftp://" + addr + "/x", "file:///etc/passwd", "gopher://" + addr + "/_x", "unix:/run/x.sock", "data:audio/ogg,x", "javascript:x",
		"http://[::ffff:7f00:1]:80/", "http://2130706433/", "http://user@cdn.test/", "", "%zz", "http://" + addr + "\\@cdn.test/",
	} {
		location = to
		if a := e.get(t, "/cdn/stream/"+sourceID(i)); a.status != http.StatusBadGateway {
			t.Errorf("%q: got %s", to, a)
		}
	}
	location = "http://" + addr + "/page"
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.url+"/page", nil)
	must(t, err)
	resp, err := e.client.Transport.RoundTrip(r)
	must(t, err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusFound || resp.Header.Get("Location") != location {
		t.Errorf("the origin's redirect: got %d to %s", resp.StatusCode, resp.Header.Get("Location"))
	}
	if n := touched.Load(); n != 0 {
		t.Errorf("%d connections to the forbidden host", n)
	}
}
