package voyo

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"golang.org/x/net/http/httpguts"

	"github.com/voyo-music/caddy-voyo/cache"
)

// pipes is a listener in memory.
type pipes chan net.Conn

func (p pipes) Accept() (net.Conn, error) {
	c, ok := <-p
	if !ok {
		return nil, net.ErrClosed
	}
	return c, nil
}

func (p pipes) Close() error   { return nil }
func (p pipes) Addr() net.Addr { return &net.TCPAddr{} }

// wellUpstream always has what is asked for.
func wellUpstream(r *http.Request) (*http.Response, error) {
	w := httptest.NewRecorder()
	w.Header().Set("Etag", `"1"`)
	w.Header().Set("Set-Cookie", "session=1")
	body := bytes.Repeat([]byte("OggS"), 1000)
	if r.Header.Get("Accept") == "image/*" {
		body = testPNG
	}
	if r.Body != nil {
		_, _ = io.Copy(io.Discard, r.Body)
		_ = r.Body.Close()
	}
	http.ServeContent(w, r, "x.opus", time.Time{}, bytes.NewReader(body))
	resp := w.Result()
	resp.Request = r
	return resp, nil
}

// startWell serves a handler whose upstreams are well, as Caddy does. A panic is reported
// to the test.
func startWell(f *testing.F) pipes {
	f.Helper()
	h := newTestHandler(f, at("http://upstream.example/song.opus"))
	h.client = roundTripper(wellUpstream)
	h.origin = &gateway{url: &url.URL{Scheme: "http", Host: "origin.example"}, policy: cache.Policy{Gateway: true, MaxAge: -1}, ended: f.Context()}
	conns := make(pipes)
	srv := &http.Server{ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			if v := recover(); v != nil && v != http.ErrAbortHandler {
				w.Header().Set("X-Panic", "yes")
				w.WriteHeader(http.StatusInternalServerError)
			}
		}()
		err := serveRequest(h, w, r.WithContext(withReplacer(r.Context())))
		if e, ok := errors.AsType[caddyhttp.HandlerError](err); ok {
			w.WriteHeader(e.StatusCode)
		} else if err != nil {
			w.WriteHeader(http.StatusInternalServerError)
		}
	})}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = srv.Serve(conns)
	}()
	f.Cleanup(func() {
		close(conns)
		<-served
		_ = srv.Close()
	})
	return conns
}

// FuzzRequest sends anything that is a request to net/http. While all upstreams are well
// none is answered with a server's error, and errors have the form that players read.
func FuzzRequest(f *testing.F) {
	const host = " HTTP/1.1\r\nHost: edge.example\r\n"
	for _, s := range []string{
		"GET /cdn/stream/" + testID + "?type=audio&quality=low" + host + "Range: bytes=0-1,5-\r\nIf-Range: \"1\"\r\n\r\n",
		"HEAD /cdn/art/" + testVOYO + host + "Origin: https://a.example\r\nIf-None-Match: \"1\", W/\"2\"\r\n\r\n",
		"GET /cdn/stream/..%2f" + testID + host + "\r\n", "GET /proxy?v=" + testID + "%00" + host + "\r\n", "GET /audio/" + testID + host + "If-Match: \"2\"\r\n\r\n",
		"GET /stream?v=" + testID + " HTTP/1.1\r\nHost: a<b>&\"c\r\n\r\n", "GET /prefetch?v=" + testVOYO + "&quality=%ff" + host + "\r\n",
		"GET /exists/" + testID + " HTTP/1.0\r\n\r\n", "OPTIONS /health" + host + "Access-Control-Request-Method: GET\r\n\r\n", "GET /health" + host + "\r\n",
		"POST /cdn/stream/x" + host + "Content-Length: 1\r\n\r\nx", "PUT /page" + host + "Transfer-Encoding: chunked\r\nTrailer: A\r\n\r\n1\r\nx\r\n0\r\nA: b\r\n\r\n",
		"GET http://u:p@other.example:81/a%2Fb?c" + host + "Connection: upgrade, a\r\nUpgrade: websocket\r\nA: b\r\n\r\n", "CONNECT a:1" + host + "\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: a/b\r\nMax-Forwards: 0\r\n\r\n", "TRACE /x" + host + "Max-Forwards: 0\r\n\r\n", "GET //a//../?%zz" + host + "Expect: 100-continue\r\n\r\n",
		"GET /p" + host + "X-Forwarded-Host: evil\r\nForwarded: for=x\r\nRange: bytes=-1\r\nCookie: a\r\nTe: trailers\r\nVia: 1.1 x\r\nCdn-Loop: caddy-voyo; id=a\r\n\r\n",
	} {
		f.Add([]byte(s))
	}
	conns := startWell(f)
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
		if err != nil || r.ProtoMajor != 1 {
			return
		}
		if _, err = io.Copy(io.Discard, r.Body); err != nil {
			return // the server would wait for the rest
		}
		resp, body := send(t, conns, raw, r)
		_, ours := locate(r.URL)
		switch {
		case resp.StatusCode == http.StatusLoopDetected && len(r.Header["Cdn-Loop"]) > 0:
		case resp.StatusCode == http.StatusNotImplemented && (r.Method == http.MethodConnect || len(r.TransferEncoding) > 0 || r.Header.Get("Transfer-Encoding") != ""):
		case resp.StatusCode >= 500:
			t.Errorf("%q is answered with %d, %q", raw, resp.StatusCode, resp.Header)
		case ours && resp.Header.Get("Set-Cookie") != "":
			t.Errorf("%q is given a cookie", raw)
		}
		for name, values := range resp.Header {
			if !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(strings.Join(values, "")) {
				t.Errorf("%q is answered with the field %q: %q", raw, name, values)
			}
		}
		// what net/http refuses itself has none of our fields
		if own := resp.Header.Get("Cross-Origin-Resource-Policy") != ""; own && isProblem(resp.StatusCode) && r.Method != http.MethodHead {
			var problem struct{ Error string }
			if err := json.Unmarshal(body, &problem); err != nil || problem.Error == "" || resp.Header.Get("Content-Type") != "application/json" {
				t.Errorf("%q is answered with %d, %q and %q", raw, resp.StatusCode, resp.Header, body)
			}
		}
	})
}

func isProblem(status int) bool {
	return status >= 400 && status != http.StatusRequestedRangeNotSatisfiable && status != http.StatusPreconditionFailed
}

// send has a request, which r is too, answered over a connection of its own.
func send(t *testing.T, conns pipes, raw []byte, r *http.Request) (*http.Response, []byte) {
	t.Helper()
	client, server := net.Pipe()
	defer client.Close()
	const patience = 30 * time.Second
	_ = client.SetDeadline(time.Now().Add(patience))
	conns <- server
	go func() { _, _ = client.Write(raw) }() // which ends with the connection, if not before
	for in := bufio.NewReader(client); ; {
		resp, err := http.ReadResponse(in, r)
		if err != nil {
			t.Fatalf("%q: %v", raw, err)
		}
		if resp.StatusCode < 200 {
			continue
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			t.Errorf("%q is answered with %d, %q and not all of a body: %v", raw, resp.StatusCode, resp.Header, err)
		}
		return resp, body
	}
}
