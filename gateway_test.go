package voyo

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/voyo-music/caddy-voyo/cache"
)

func TestOriginPolicy(t *testing.T) {
	for settings, want := range map[string]cache.Policy{
		``: {MaxAge: -1, MaxObject: 16 << 20, Gateway: true},
		`, "ttl": "1m", "override_ttl": "2m", "negative_ttl": "3m", "max_age": 0, "max_object": 67108864,
			"stale_while_revalidate": "4m", "stale_if_error": "5m"`: {
			TTL: time.Minute, OverrideTTL: 2 * time.Minute, NegativeTTL: 3 * time.Minute, MaxObject: 64 << 20,
			StaleWhileRevalidate: 4 * time.Minute, StaleIfError: 5 * time.Minute, Gateway: true,
		},
	} {
		h, _ := mustLoad(t, withResolver(`"origin": {"url": "https://www.example"`+settings+`}`))
		if got, want := fmt.Sprintf("%+v", h.origin.policy), fmt.Sprintf("%+v", want); got != want {
			t.Errorf("%s: got %s, want %s", settings, got, want)
		}
	}
}

func TestOriginURL(t *testing.T) {
	for raw, want := range map[string]string{
		"http://www.example":        "http://www.example www.example:80",
		"https://www.example/":      "https://www.example www.example:443",
		"HTTP://WWW.Example:80":     "http://www.example www.example:80",
		"https://www.example:443/":  "https://www.example www.example:443",
		"https://www.example:":      "https://www.example www.example:443",
		"http://www.example:443":    "http://www.example:443 www.example:443",
		"http://[2001:DB8::1]:8080": "http://[2001:db8::1]:8080 [2001:db8::1]:8080",
		"http://[::1]":              "http://[::1] [::1]:80",
	} {
		u, err := parseOriginURL(raw)
		if err != nil {
			t.Errorf("%s: %v", raw, err)
			continue
		}
		g := &gateway{url: u}
		if got := g.String() + " " + g.hostPort(); got != want {
			t.Errorf("%s: got %s, want %s", raw, got, want)
		}
	}
}

// forwardingOf makes a forwarding of a request of the given kind.
func forwardingOf(method, uri, host string, header http.Header, secure, trusted bool) *forwarding {
	r := httptest.NewRequest(method, uri, nil)
	r.Host, r.RemoteAddr = host, "203.0.113.9:4711"
	if header != nil {
		r.Header = header
	}
	if secure {
		r.TLS = new(tls.ConnectionState)
	}
	vars := map[string]any{caddyhttp.TrustedProxyVarKey: trusted}
	return newForwarding(r.WithContext(context.WithValue(r.Context(), caddyhttp.VarsCtxKey, vars)), originURL)
}

var originURL, _ = parseOriginURL("https://origin.example")

func TestKey(t *testing.T) {
	for _, c := range []struct {
		name, uri, host string
		header          http.Header
		secure, trusted bool
		want            string
	}{
		{"plain", "/a?b", "www.example", nil, false, false, "http://www.example/a?b"},
		{"TLS", "/a?b", "www.example", nil, true, false, "https://www.example/a?b"},
		{"case of the host", "/A?B", "WWW.Example", nil, false, false, "http://www.example/A?B"},
		{"default port", "/", "www.example:80", nil, false, false, "http://www.example/"},
		{"default port of TLS", "/", "www.example:443", nil, true, false, "https://www.example/"},
		{"empty port", "/", "www.example:", nil, false, false, "http://www.example/"},
		{"other port", "/", "www.example:443", nil, false, false, "http://www.example:443/"},
		{"IPv6", "/", "[::1]:80", nil, false, false, "http://[::1]/"},
		{"no host", "/", "", nil, false, false, "http:///"},
		{"no path", "http://www.example", "www.example", nil, false, false, "http://www.example/"},
		{"no path, a query", "http://www.example?a", "www.example", nil, false, false, "http://www.example/?a"},
		{"empty query", "/a?", "www.example", nil, false, false, "http://www.example/a?"},
		{"escaped", "/%7Ea%2fb%2Fc?%7E", "www.example", nil, false, false, "http://www.example/%7Ea%2fb%2Fc?%7E"},
		{"not escaped", "/~a/b?~", "www.example", nil, false, false, "http://www.example/~a/b?~"},
		{"slashes", "//a//b/", "www.example", nil, false, false, "http://www.example//a//b/"},
		{"dots", "/a/../b/./", "www.example", nil, false, false, "http://www.example/a/../b/./"},
		{"query that can't be parsed", "/?a;b&%zz", "www.example", nil, false, false, "http://www.example/?a;b&%zz"},
		{"untrusted", "/", "www.example", with("X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "https"), false, false, "http://www.example/"},
		{"trusted", "/", "edge.internal", with("X-Forwarded-Host", "WWW.example:443", "X-Forwarded-Proto", "HTTPS"), false, true, "https://www.example/"},
		{"trusted, says nothing", "/", "www.example", nil, false, true, "http://www.example/"},
		{"trusted, says it twice", "/", "a.example", with("X-Forwarded-Host", "b.example", "X-Forwarded-Host", "c.example"), false, true, "http://c.example/"},
		{"trusted, says nonsense", "/", "www.example", with("X-Forwarded-Host", "a.example/b", "X-Forwarded-Proto", "gopher"), true, true, "https://www.example/"},
		{"trusted, a user", "/", "www.example", with("X-Forwarded-Host", "u@a.example"), false, true, "http://www.example/"},
		{"trusted, a list", "/", "www.example", with("X-Forwarded-Host", "a.example, b.example"), false, true, "http://www.example/"},
		{"trusted, empty", "/", "www.example", with("X-Forwarded-Host", "", "X-Forwarded-Proto", ""), false, true, "http://www.example/"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := forwardingOf("GET", c.uri, c.host, c.header, c.secure, c.trusted)
			if got := f.key(); got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
			// what the origin is told of the target is in the key
			told := f.header.Get("X-Forwarded-Proto") + "://" + f.header.Get("X-Forwarded-Host") + f.url.RequestURI()
			if told != c.want {
				t.Errorf("the origin is told %s, the key is %s", told, c.want)
			}
			if f.url.Scheme != "https" || f.url.Host != "origin.example" {
				t.Errorf("goes to %s", &f.url)
			}
		})
	}
}

// Clients can't fill the memory with keys, nor have one take the place of another.
func TestKeyOfLongTarget(t *testing.T) {
	long := "/" + strings.Repeat("x", 1<<20)
	keys := make(map[string]bool)
	for _, uri := range []string{long, long + "y", long + "?", "/" + strings.Repeat("x", maxKey)} {
		key := forwardingOf("GET", uri, "www.example", nil, false, false).key()
		if len(key) > 100 || !strings.HasPrefix(key, "#") || keys[key] {
			t.Errorf("%d bytes: got %.200q", len(uri), key)
		}
		keys[key] = true
	}
}

func TestHasTarget(t *testing.T) {
	for host, want := range map[string]bool{
		"": true, "www.example": true, "WWW.example:8080": true, "[::1]:80": true, "a_b.example:": true,
		"www.example/page?": false, "www.example:443/page": false, "www.example#": false, "user@www.example": false,
		"www.example:http": false, "www example": false, "www.example\r\nX: y": false,
	} {
		r := httptest.NewRequest("GET", "/page", nil)
		r.Host = host
		if got := hasTarget(r); got != want {
			t.Errorf("%q: got %t", host, got)
		}
	}
}

// A path that another handler has cut must not become part of the host.
func TestKeyOfCutPath(t *testing.T) {
	r := httptest.NewRequest("GET", "/x", nil)
	r.URL.Path, r.Host = "b/", "a"
	if got := newForwarding(r, originURL).key(); got != "http://a/b/" {
		t.Errorf("got %s", got)
	}
}

func TestRelated(t *testing.T) {
	f := forwardingOf("POST", "/dir/page?q=1", "www.example:80", nil, false, false)
	for uri, want := range map[string]string{
		"":                                    "",
		"?q=1":                                "http://www.example/dir/page?q=1",
		"other":                               "http://www.example/dir/other",
		"../up#part":                          "http://www.example/up",
		"/%7Ea":                               "http://www.example/%7Ea",
		"http://www.example/dir/page?q=1":     "http://www.example/dir/page?q=1",
		"HTTP://WWW.EXAMPLE:80":               "http://www.example/",
		"//www.example/a":                     "http://www.example/a",
		"https://www.example/dir/page":        "",
		"http://www.example:8080/":            "",
		"http://other.example/dir/page":       "",
		"https://origin.example/dir/page?q=1": "",
		"mailto:a@www.example":                "",
		"http://[bad/":                        "",
	} {
		got, ok := f.related(uri)
		if got != want || ok != (want != "") {
			t.Errorf("%s: got %s, %t, want %s", uri, got, ok, want)
		}
	}
}

func TestForwardedHeader(t *testing.T) {
	sent := func() http.Header {
		return with(
			"Connection", "close, X-Hop", "Connection", "x-other", "X-Hop", "1", "X-Other", "2", "Keep-Alive", "timeout=5",
			"Proxy-Authorization", "Basic eA==", "Proxy-Connection", "keep-alive", "Te", "gzip, Trailers", "Trailer", "X-Sum",
			"Transfer-Encoding", "chunked", "Upgrade", "h2c", "Http2-Settings", "AAMAAABk",
			"Authorization", "Bearer x", "Cookie", "a=b", "Accept", "text/*", "Accept", "image/*", "Range", "bytes=0-1",
			"If-None-Match", `"x"`, "Expect", "100-continue",
			"Via", "2.0 before", "Cdn-Loop", "cdn.example", "Forwarded", "for=192.0.2.1",
			"X-Forwarded-For", "192.0.2.1", "X-Forwarded-For", "192.0.2.2", "X-Forwarded-Host", "evil.example", "X-Forwarded-Proto", "https",
			"X-Forwarded-Port", "8443", "X_Forwarded_Host", "evil.example", "X-Forwarded_Port", "8444")
	}
	want := with(
		"Te", "trailers", "Authorization", "Bearer x", "Cookie", "a=b", "Accept", "text/*", "Accept", "image/*", "Range", "bytes=0-1",
		"If-None-Match", `"x"`, "Expect", "100-continue",
		"Via", "2.0 before", "Via", "1.1 caddy-voyo", "Cdn-Loop", "cdn.example", "Cdn-Loop", loopEntry,
		"X-Forwarded-For", "203.0.113.9", "X-Forwarded-Host", "www.example", "X-Forwarded-Proto", "http")
	want["User-Agent"] = nil

	f := forwardingOf("POST", "/", "www.example", sent(), false, false)
	if !reflect.DeepEqual(f.header, want) {
		t.Errorf("untrusted: got\n%v, want\n%v", f.header, want)
	}
	f = forwardingOf("POST", "/", "www.example", sent(), false, true)
	want["Forwarded"] = []string{"for=192.0.2.1"}
	want["X-Forwarded-For"] = []string{"192.0.2.1, 192.0.2.2, 203.0.113.9"}
	want["X-Forwarded-Host"], want["X-Forwarded-Proto"] = []string{"evil.example"}, []string{"https"}
	want["X-Forwarded-Port"] = []string{"8443"}
	if !reflect.DeepEqual(f.header, want) {
		t.Errorf("trusted: got\n%v, want\n%v", f.header, want)
	}

	fetch := f.fetchHeader(with("If-None-Match", `"y"`, "If-Range", `"y"`, "Cookie", "not=this"))
	delete(want, "Range")
	delete(want, "Expect")
	want["If-None-Match"], want["If-Range"] = []string{`"y"`}, []string{`"y"`}
	if !reflect.DeepEqual(fetch, want) {
		t.Errorf("the cache's: got\n%v, want\n%v", fetch, want)
	}
	if f.header.Get("Range") == "" || f.header.Get("If-None-Match") != `"x"` {
		t.Error("the client's conditions are gone")
	}
}

func TestForwardedFor(t *testing.T) {
	for remote, want := range map[string]string{
		"192.0.2.7:1":       "192.0.2.7",
		"[2001:db8::7]:1":   "2001:db8::7",
		"[fe80::7%eth0]:1":  "fe80::7",
		"@":                 "",
		"from another host": "",
	} {
		h := with("X-Forwarded-For", "192.0.2.1")
		setForwarded(h, remote, false, "http", "www.example")
		if got := h.Get("X-Forwarded-For"); got != want {
			t.Errorf("%s: got %q, want %q", remote, got, want)
		}
		h = with("X-Forwarded-For", "192.0.2.1")
		setForwarded(h, remote, true, "http", "www.example")
		if got, want := h.Get("X-Forwarded-For"), strings.TrimSuffix("192.0.2.1, "+want, ", "); got != want {
			t.Errorf("%s, trusted: got %q, want %q", remote, got, want)
		}
	}
}

func TestCacheable(t *testing.T) {
	for _, c := range []struct {
		method  string
		proto   string
		length  int64
		header  http.Header
		want    bool
		upgrade string
	}{
		{"GET", "HTTP/1.1", 0, nil, true, ""},
		{"HEAD", "HTTP/2.0", 0, nil, true, ""},
		{"GET", "HTTP/1.1", 0, with("Accept", "text/event-stream"), false, ""},
		{"GET", "HTTP/1.1", 0, with("Accept", "text/html, text/event-stream"), true, ""},
		{"GET", "HTTP/1.1", 1, nil, false, ""},
		{"GET", "HTTP/1.1", -1, nil, false, ""},
		{"POST", "HTTP/1.1", 0, nil, false, ""},
		{"OPTIONS", "HTTP/1.1", 0, nil, false, ""},
		{"get", "HTTP/1.1", 0, nil, false, ""},
		{"GET", "HTTP/1.1", 0, with("Connection", "keep-alive, Upgrade", "Upgrade", "WebSocket"), false, "websocket"},
		{"GET", "HTTP/1.1", 0, with("Connection", "Upgrade", "Upgrade", "h2c, websocket, other"), false, "websocket"},
		{"GET", "HTTP/1.1", 0, with("Connection", "Upgrade, HTTP2-Settings", "Upgrade", "h2c"), true, ""},
		{"GET", "HTTP/1.1", 0, with("Upgrade", "websocket"), true, ""},
		{"GET", "HTTP/1.0", 0, with("Connection", "Upgrade", "Upgrade", "websocket"), true, ""},
	} {
		r := httptest.NewRequest(c.method, "/", nil)
		r.ProtoMajor, r.ProtoMinor, _ = http.ParseHTTPVersion(c.proto)
		r.ContentLength = c.length
		if c.header != nil {
			r.Header = c.header
		}
		f := newForwarding(r, originURL)
		if f.cacheable != c.want || f.upgrade != c.upgrade {
			t.Errorf("%s, %d bytes, %v: cacheable %t, upgrade %q", c.method, c.length, c.header, f.cacheable, f.upgrade)
		}
	}
}

// with returns a header, of pairs of a name and a value.
func with(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}
