package voyo_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// What is no target URI of HTTP's gets no further: its parts, put together again, may
// be those of another one, whose page it would then be kept as.
func TestOriginTargets(t *testing.T) {
	o := reflecting(t)
	e := startGateway(t, o.URL, "")
	for _, c := range []struct {
		target, host string
		status       int
	}{
		{"http:ww.test/page", "w", http.StatusBadRequest},
		{"other:page", "www.test", http.StatusBadRequest},
		{"http://user@www.test/page", "www.test", http.StatusBadRequest},
		{"/page", "www.test:http", http.StatusBadRequest},
		{"/page", "www.test%2f", http.StatusBadRequest},
		{"http://www.test/page", "evil.test", http.StatusOK},
		{"*", "www.test", http.StatusOK},
	} {
		for _, method := range []string{"GET", "POST"} {
			before := len(o.asked(""))
			_, from := e.raw(t, fmt.Sprintf("%s %s HTTP/1.1\nHost: %s\nContent-Length: 0\n\n", method, c.target, c.host))
			resp := readRaw(t, from, method)
			if asked := len(o.asked("")) > before; resp.StatusCode != c.status || asked != (c.status == http.StatusOK) {
				t.Errorf("%s %s at %q: got %s, asked the origin: %t", method, c.target, c.host, resp.Status, asked)
			}
		}
	}
	_, from := e.raw(t, "GET /hostless HTTP/1.0\n\n")
	if resp := readRaw(t, from, "GET"); resp.StatusCode != http.StatusOK {
		t.Errorf("HTTP/1.0: got %s", resp.Status)
	}
	if got := o.asked("/page")[0].Header.Get("X-Forwarded-Host"); got != "www.test" {
		t.Errorf("of two hosts, the origin is told %s", got)
	}
}

// However a request is framed, the origin gets none that this edge does not know of.
func TestOriginSmuggling(t *testing.T) {
	const inner = "GET /inner HTTP/1.1\nHost: www.test\n\n"
	o := reflecting(t)
	e := startGateway(t, o.URL, "")
	for _, request := range []string{
		"POST / HTTP/1.1\nHost: www.test\nContent-Length: 6\nTransfer-Encoding: chunked\n\n0\n\n" + inner,
		"POST / HTTP/1.1\nHost: www.test\nContent-Length: 0\nContent-Length: 60\n\n" + inner,
		"POST / HTTP/1.1\nHost: www.test\nContent-Length: 5, 60\n\n" + inner,
		"POST / HTTP/1.1\nHost: www.test\nTransfer-Encoding : chunked\n\n0\n\n" + inner,
		"POST / HTTP/1.1\nHost: www.test\nTransfer-Encoding: xchunked\n\n0\n\n" + inner,
		"POST / HTTP/1.1\nHost: www.test\nTransfer-Encoding: chunked, identity\n\n0\n\n" + inner,
		"POST / HTTP/1.1\nHost: www.test\nConnection: Content-Length\nContent-Length: 39\n\n" + inner,
		"POST / HTTP/1.1\nHost: www.test\nConnection: Transfer-Encoding\nTransfer-Encoding: chunked\n\n27\n" + inner + "\n0\n\n",
		"GET / HTTP/1.1\nHost: www.test\nContent-Length: 39\n\n" + inner,
		"GET / other HTTP/1.1\nHost: www.test\n\n" + inner,
		"GET / HTTP/1.1\nHost: www.test\nX: a\n Content-Length: 39\n\n" + inner,
		"GET / HTTP/1.1\nHost: www.test\nConnection: Upgrade\nUpgrade: h2c\nHTTP2-Settings: AAMAAABkAAQAAP__\n\n" + inner,
		"GET / HTTP/1.1\nHost: www.test\nConnection: Upgrade\nUpgrade: websocket\n\n" + inner,
		"POST / HTTP/1.1\nHost: www.test\nTransfer-Encoding: chunked\nTrailer: Content-Length\n\n0\nContent-Length: 39\n\n" + inner,
	} {
		conn, from := e.raw(t, request)
		must(t, conn.(*net.TCPConn).CloseWrite())
		if _, err := io.ReadAll(from); err != nil {
			t.Errorf("%q: %v", request, err)
		}
	}
	for _, r := range o.asked("") {
		if len(r.Header["Via"]) != 1 || len(r.Header["X-Forwarded-For"]) != 1 {
			t.Errorf("%s %s has got past: %v", r.Method, r.RequestURI, r.Header)
		}
	}
}

// Of HTTP/2 and 3, too, the host is one, whatever the client calls it.
func TestOriginAuthority(t *testing.T) {
	o := reflecting(t)
	e := newEdge(t)
	site := fmt.Sprintf("voyo {\n%s\norigin %s\n}", template("http://127.0.0.1:9"), o.URL)
	must(t, e.loadJSON(t, []byte(strings.Replace(string(e.adapt(t, site)), `"listen":`, `"protocols":["h1","h2c"],"listen":`, 1))))
	for authority, want := range map[string]string{
		"www.test":                      "200",
		"www.test:port":                 "400",
		"www.test/page?":                "PROTOCOL_ERROR",
		"www.test:" + e.port + "/page?": "PROTOCOL_ERROR",
		"user@www.test":                 "PROTOCOL_ERROR",
	} {
		if got := e.statusOverHTTP2(t, authority, "/page"); got != want {
			t.Errorf("%s: got %s", authority, got)
		}
	}
	o.onlyAsked(t)
}

// statusOverHTTP2 makes a GET with an authority that Go's client would not send.
func (e *edge) statusOverHTTP2(t *testing.T, authority, path string) (status string) {
	t.Helper()
	conn, err := net.Dial("tcp", "127.0.0.1:"+e.port)
	must(t, err)
	defer conn.Close()
	_, err = io.WriteString(conn, http2.ClientPreface)
	must(t, err)
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", "GET"}, {":scheme", "http"}, {":authority", authority}, {":path", path}} {
		must(t, enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}))
	}
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	must(t, framer.WriteSettings())
	must(t, framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true}))
	for {
		frame, err := framer.ReadFrame()
		must(t, err)
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			return f.PseudoValue("status")
		case *http2.RSTStreamFrame:
			return f.ErrCode.String()
		}
	}
}
