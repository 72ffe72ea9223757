package voyo_test

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

// startGateway starts an edge with an origin. Its resolver is never asked.
func startGateway(t *testing.T, origin, more string) *edge {
	t.Helper()
	return startEdge(t, gatewaySite(origin, more))
}

// gatewaySite configures one. The origin may have a block.
func gatewaySite(origin, more string) string {
	return fmt.Sprintf(`voyo {
		%s
		origin %s
		allowed_origins https://voyo.test
		enforce_origins
		transport http {
			response_header_timeout 5s
		}
	}
	%s`, template("http://127.0.0.1:9"), origin, more)
}

// reflecting is an origin that tells how it was asked.
func reflecting(t *testing.T) *origin {
	t.Helper()
	return newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Cache-Control", "max-age=60")
		fmt.Fprintf(w, "%s %s %s %d %q", r.Method, r.RequestURI, r.Host, r.ContentLength, body)
	})
}

// onlyAsked returns the only request that the origin got.
func (o *origin) onlyAsked(t *testing.T) *http.Request {
	t.Helper()
	requests := o.asked("")
	if len(requests) != 1 {
		t.Fatalf("the origin got %d requests", len(requests))
	}
	return requests[0]
}

// raw sends a request as it is written, and returns the connection with what comes
// back.
func (e *edge) raw(t *testing.T, request string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn, err := net.Dial("tcp", "127.0.0.1:"+e.port)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	must(t, conn.SetDeadline(time.Now().Add(patience)))
	if _, err := io.WriteString(conn, strings.ReplaceAll(request, "\n", "\r\n")); err != nil {
		t.Fatal(err)
	}
	return conn, bufio.NewReader(conn)
}

// readRaw reads the next answer from a connection.
func readRaw(t *testing.T, from *bufio.Reader, method string) *http.Response {
	t.Helper()
	resp, err := http.ReadResponse(from, &http.Request{Method: method})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// The request line, the body and the fields that are for the origin get there as they
// are, whatever the method, and none that the client has not sent.
func TestOriginGetsWhatIsAsked(t *testing.T) {
	o := reflecting(t)
	e := startGateway(t, o.URL, "")
	for _, uri := range []string{
		"/", "/elsewhere", "/a%2Fb/%7e/~/%20?x=%2f&y=a+b&&z", "//two//slashes/", "/?", "/?a;b&%zz", "/a/./b/../c", "/streams", "/cdn",
	} {
		for _, c := range []struct{ method, header, body, want string }{
			{"GET", "", "", "0 \"\""},
			{"POST", "Content-Length: 3\n", "abc", "3 \"abc\""},
			{"PURGE", "", "", "0 \"\""},
			{"GET", "Content-Length: 3\n", "abc", "3 \"abc\""},
			{"PUT", "Transfer-Encoding: chunked\n", "2\nab\n1\nc\n0\n\n", "-1 \"abc\""},
			{"OPTIONS", "Origin: https://elsewhere.test\n", "", "0 \"\""},
		} {
			_, from := e.raw(t, fmt.Sprintf("%s %s HTTP/1.1\nHost: www.test\n%s\n%s", c.method, uri, c.header, c.body))
			body, err := io.ReadAll(readRaw(t, from, c.method).Body)
			want := fmt.Sprintf("%s %s %s %s", c.method, uri, o.host(), c.want)
			if err != nil || string(body) != want {
				t.Errorf("got %s, want %s, error %v", body, want, err)
			}
		}
	}
	for _, r := range o.asked("") {
		for _, invented := range []string{"User-Agent", "Accept-Encoding", "Accept", "Connection"} {
			if v, ok := r.Header[invented]; ok {
				t.Errorf("%s %s: %s: %s", r.Method, r.RequestURI, invented, v)
			}
		}
	}
}

func TestOriginGetsHeader(t *testing.T) {
	for _, method := range []string{"GET", "POST"} {
		t.Run(method, func(t *testing.T) {
			o := reflecting(t)
			e := startGateway(t, o.URL, "")
			_, from := e.raw(t, method+` / HTTP/1.1
Host: www.test
Connection: X-Hop, keep-alive
X-Hop: 1
Keep-Alive: timeout=9
Proxy-Authorization: Basic eA==
TE: trailers
Authorization: Bearer token
Cookie: a=b
User-Agent: player
Accept-Encoding: br
Via: 1.0 before
CDN-Loop: cdn.test
X-Forwarded-For: 192.0.2.1
X-Forwarded-Host: evil.test
X-Forwarded-Proto: https
Forwarded: for=192.0.2.1;host=evil.test
X-Custom: 1
X-Custom: 2

`)
			readRaw(t, from, method)
			got := maps.Clone(o.onlyAsked(t).Header)
			loop := strings.Join(got["Cdn-Loop"], ", ")
			if !strings.Contains(loop, "caddy-voyo; id=") || strings.Contains(loop, "cdn.test") != (method == "POST") {
				t.Errorf("CDN-Loop: %s", loop)
			}
			delete(got, "Cdn-Loop")
			delete(got, "Content-Length")
			want := with("Te", "trailers", "Authorization", "Bearer token", "Cookie", "a=b", "User-Agent", "player", "Accept-Encoding", "br",
				"Via", "1.0 before", "Via", "1.1 caddy-voyo", "X-Custom", "1", "X-Custom", "2",
				"X-Forwarded-For", "127.0.0.1", "X-Forwarded-Host", "www.test", "X-Forwarded-Proto", "http")
			if !maps.EqualFunc(got, want, slices.Equal) {
				t.Errorf("got\n%v, want\n%v", got, want)
			}
		})
	}
}

// What a proxy says that Caddy trusts is passed on.
func TestOriginBehindProxy(t *testing.T) {
	o := reflecting(t)
	e := newEdge(t)
	site := fmt.Sprintf("voyo {\n%s\norigin %s\n}", template("http://127.0.0.1:9"), o.URL)
	config := strings.Replace(string(e.adapt(t, site)), `"srv0":{`, `"srv0":{"trusted_proxies":{"source":"static","ranges":["127.0.0.0/8"]},`, 1)
	if err := e.loadJSON(t, []byte(config)); err != nil {
		t.Fatal(err)
	}
	e.do(t, "GET", "/", with("X-Forwarded-For", "192.0.2.1", "X-Forwarded-Host", "WWW.test:443", "X-Forwarded-Proto", "https", "Forwarded", "for=192.0.2.1"))
	got := o.onlyAsked(t).Header
	for name, want := range map[string]string{
		"X-Forwarded-For": "192.0.2.1, 127.0.0.1", "X-Forwarded-Host": "www.test", "X-Forwarded-Proto": "https", "Forwarded": "for=192.0.2.1",
	} {
		if got.Get(name) != want {
			t.Errorf("%s: %s, want %s", name, got[name], want)
		}
	}
}

func TestOriginLoop(t *testing.T) {
	o := reflecting(t)
	e := startGateway(t, o.URL, "")
	e.get(t, "/")
	a := e.do(t, "POST", "/", with("Cdn-Loop", o.onlyAsked(t).Header.Get("Cdn-Loop")))
	if a.status != http.StatusLoopDetected {
		t.Errorf("got %s", a)
	}
	o.onlyAsked(t)
}

// What the origin answers gets to the client, all but what is for the edge's own
// connection; and VOYO's rules are not for it.
func TestOriginAnswers(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, _ *http.Request) {
		for _, field := range []string{
			"Connection: X-Hop", "X-Hop: 1", "Keep-Alive: timeout=9", "Proxy-Authenticate: Basic", "Upgrade: h2c", "Via: 1.0 behind",
			"Cache-Status: behind; hit", "Server: origin", "Set-Cookie: a=b", "Set-Cookie: c=d", "X-Frame-Options: DENY",
		} {
			name, value, _ := strings.Cut(field, ": ")
			w.Header().Add(name, value)
		}
		w.WriteHeader(http.StatusTeapot)
		_, _ = io.WriteString(w, "short and stout")
	})
	e := startGateway(t, o.URL, "")
	a := e.do(t, "POST", "/", with("Origin", "https://elsewhere.test"))
	delete(a.header, "Date")
	want := with("Via", "1.0 behind", "Via", "1.1 caddy-voyo", "Cache-Status", "behind; hit", "Cache-Status", "voyo; fwd=method",
		"Server", "origin", "Set-Cookie", "a=b", "Set-Cookie", "c=d", "X-Frame-Options", "DENY",
		"Content-Length", "15", "Content-Type", "text/plain; charset=utf-8")
	if a.status != http.StatusTeapot || string(a.body) != "short and stout" || !maps.EqualFunc(a.header, want, slices.Equal) {
		t.Errorf("got %s", a)
	}
	resp := e.upload(t, "GET", "/", strings.NewReader("x"), nil)
	if got := resp.Header.Values("Cache-Status"); len(got) != 2 || got[1] != "voyo; fwd=bypass" {
		t.Errorf("GET with a body: %s", got)
	}
}

// A page is asked for once, and no client makes it another one's.
func TestOriginPages(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Etag", `"v1"`)
		fmt.Fprintf(w, "page of %s, %s", r.Header.Get("X-Forwarded-Host"), r.RequestURI)
	})
	e := startGateway(t, o.URL, "")
	get := func(host, uri string, header http.Header) (body string, hit bool) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.url+uri, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Host = host
		maps.Copy(r.Header, header)
		resp, err := e.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("got %d, error %v", resp.StatusCode, err)
		}
		return string(b), strings.Contains(resp.Header.Get("Cache-Status"), "; hit")
	}
	for _, c := range []struct {
		host, uri string
		header    http.Header
		want      string
		hit       bool
	}{
		{"www.test", "/a", with("X-Forwarded-Host", "evil.test"), "page of www.test, /a", false},
		{"www.test", "/a", nil, "page of www.test, /a", true},
		{"WWW.test:80", "/a", nil, "page of www.test, /a", true},
		{"other.test", "/a", nil, "page of other.test, /a", false},
		{"www.test", "/a?", nil, "page of www.test, /a?", false},
		{"www.test", "/%61", nil, "page of www.test, /%61", false},
	} {
		if got, hit := get(c.host, c.uri, c.header); got != c.want || hit != c.hit {
			t.Errorf("%s %s: got %q, hit %t", c.host, c.uri, got, hit)
		}
	}
	if n := len(o.asked("")); n != 4 {
		t.Errorf("the origin was asked %d times", n)
	}
}

func TestOriginRedirects(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/there", http.StatusSeeOther) })
	e := startGateway(t, o.URL, "")
	e.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	a := e.do(t, "POST", "/here", nil)
	if a.status != http.StatusSeeOther || a.header.Get("Location") != "/there" {
		t.Errorf("got %s", a)
	}
	o.onlyAsked(t)
}

// An origin that can't be asked is an error of Caddy's, and no URL of it is told.
func TestOriginFails(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/hangs":
			<-r.Context().Done()
		case "/breaks":
			panic(http.ErrAbortHandler)
		case "/no-status":
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 099 Nothing\r\nContent-Length: 0\r\n\r\n")
			conn.Close()
		case "/breaks-late":
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, "the beginning")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}
	})
	refusing := refusingHost(t)
	for _, origin := range []string{o.URL, "http://" + refusing} {
		e := startEdge(t, fmt.Sprintf(`voyo {
			%s
			origin %s
			transport http {
				response_header_timeout 100ms
			}
		}
		handle_errors {
			respond "{err.status_code} {err.message}"
		}`, template("http://127.0.0.1:9"), origin))
		for _, method := range []string{"GET", "POST"} {
			for path, want := range map[string]string{
				"/hangs?secret":     "504 VOYO page temporarily unavailable",
				"/breaks?secret":    "502 VOYO page temporarily unavailable",
				"/no-status?secret": "502 VOYO page temporarily unavailable",
			} {
				if origin != o.URL {
					want = "502 VOYO page temporarily unavailable"
				}
				if a := e.do(t, method, path, nil); fmt.Sprint(a.status, " ", string(a.body)) != want[:4]+want {
					t.Errorf("%s %s: got %s, want %s", method, path, a, want)
				}
			}
			if origin != o.URL {
				continue
			}
			resp := e.request(t, method, "/breaks-late", nil)
			if body, err := io.ReadAll(resp.Body); err == nil || string(body) != "the beginning" {
				t.Errorf("%s: got %q, error %v", method, body, err)
			}
		}
		logged := e.logged(t)
		for line := range strings.Lines(logged) {
			if strings.Contains(line, "could not fetch from origin") && (strings.Contains(line, "secret") || strings.Contains(line, "127.0.0.1")) {
				t.Errorf("logged: %s", line)
			}
		}
		if !strings.Contains(logged, "could not fetch from origin") || strings.Contains(logged, refusing) || strings.Contains(logged, o.host()) {
			t.Errorf("logged:\n%s", logged)
		}
	}
}

// What is not to be passed on is answered here.
func TestOriginNotAsked(t *testing.T) {
	o := reflecting(t)
	e := startGateway(t, o.URL, "")
	for _, c := range []struct {
		request string
		status  int
		left    string // what the origin is told; empty if it is not asked
	}{
		{"OPTIONS / HTTP/1.1\nHost: www.test\nMax-Forwards: 0\n\n", http.StatusNoContent, ""},
		{"TRACE / HTTP/1.1\nHost: www.test\nMax-Forwards: 0\n\n", http.StatusMethodNotAllowed, ""},
		{"CONNECT www.test:443 HTTP/1.1\nHost: www.test:443\n\n", http.StatusNotImplemented, ""},
		{"OPTIONS / HTTP/1.1\nHost: www.test\nMax-Forwards: 7\n\n", http.StatusOK, "6"},
		{"TRACE / HTTP/1.1\nHost: www.test\nMax-Forwards: 1\n\n", http.StatusOK, "0"},
		{"POST / HTTP/1.1\nHost: www.test\nMax-Forwards: 0\nContent-Length: 0\n\n", http.StatusOK, "0"},
	} {
		before := len(o.asked(""))
		_, from := e.raw(t, c.request)
		resp := readRaw(t, from, strings.Fields(c.request)[0])
		asked := o.asked("")[before:]
		if resp.StatusCode != c.status || len(asked) != min(len(c.left), 1) || len(asked) > 0 && asked[0].Header.Get("Max-Forwards") != c.left {
			t.Errorf("%q: got %s, origin was asked %d times", c.request, resp.Status, len(asked))
		}
	}
}
