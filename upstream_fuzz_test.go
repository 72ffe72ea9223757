package voyo

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"golang.org/x/net/http/httpguts"

	"github.com/voyo-music/caddy-voyo/internal/byterange"
)

// clientFields are all that clients may see of an answer about media, of which
// Cache-Status and what follows it is this edge's own.
var clientFields = []string{
	"Accept-Ranges", "Age", "Cache-Control", "Content-Length", "Content-Range", "Content-Type", "Date", "Etag", "Last-Modified",
	"Cache-Status", "Cross-Origin-Resource-Policy", "Server-Timing", "Vary", "X-Content-Type-Options",
}

// cacheFields are all that caches may.
var cacheFields = append(slices.Clone(clientFields[:9]), "Cache-Tag", "Cdn-Cache-Control", "Expires", "Surrogate-Key", "Vary")

// rawUpstream returns a transport whose upstream answers every request with the bytes, and
// closes the connection.
func rawUpstream(raw []byte) *http.Transport {
	return &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		go func() {
			defer theirs.Close()
			if _, err := http.ReadRequest(bufio.NewReader(theirs)); err == nil {
				_, _ = theirs.Write(raw)
			}
		}()
		return ours, nil
	}}
}

// readAnswer reads an upstream's final answer. Whether its body is all there is told by
// whole.
func readAnswer(raw []byte) (resp *http.Response, body []byte, whole bool) {
	r := bufio.NewReader(bytes.NewReader(raw))
	for {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return nil, nil, false
		}
		if resp.StatusCode >= 200 || resp.StatusCode == http.StatusSwitchingProtocols {
			body, err := io.ReadAll(resp.Body)
			return resp, body, err == nil
		}
	}
}

// FuzzUpstream has clients ask for what a server has that may answer anything. They get
// its bytes as it has said them to be, whole or with a broken connection, and no field
// that is not for them.
func FuzzUpstream(f *testing.F) {
	for _, raw := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Type: audio/ogg\r\nEtag: \"1\"\r\nSet-Cookie: a=b\r\n\r\nOggS!",
		"HTTP/1.1 206 Partial Content\r\nContent-Length: 2\r\nContent-Range: bytes 1-2/5\r\nLast-Modified: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\ngg",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nCache-Control: max-age=1, private\r\nVary: *\r\n\r\n5\r\nOggS!\r\n0\r\nSet-Cookie: a=b\r\n\r\n",
		"HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nAge: 5\r\nConnection: Age\r\n\r\n" + string(testPNG),
		"HTTP/1.1 302 Found\r\nLocation: https://other.example/\r\n\r\n", "HTTP/1.1 404 Not Found\r\n\r\n", "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
		"HTTP/1.1 416 No\r\nContent-Range: bytes */5\r\n\r\n", "HTTP/1.0 200\r\nContent-Encoding: gzip\r\n\r\nx", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
		"HTTP/1.1 304 Not Modified\r\nEtag: \"1\"\r\n\r\n", "HTTP/1.1 200 OK\r\nEtag: \"\x01\"\r\nContent-Type: audio/ogg\r\nContent-Length: 2\r\n\r\nOg",
	} {
		for _, target := range []string{"/cdn/stream/", "/cdn/art/"} {
			f.Add([]byte(raw), target == "/cdn/art/", "bytes=1-2", "")
			f.Add([]byte(raw), target == "/cdn/art/", "", "bytes=-1")
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte, art bool, first, second string) {
		h := newTestHandler(t, at("http://upstream.example/song.opus"))
		checkRaw(t, h, raw, art, first, second)
	})
}

// FuzzShield is FuzzUpstream with that server as a shield, too.
func FuzzShield(f *testing.F) {
	const edge = "Cache-Status: voyo; hit; ttl=5\r\nContent-Type: audio/ogg\r\nEtag: \"1\"\r\n"
	for _, raw := range []string{
		"HTTP/1.1 200 OK\r\n" + edge + "Content-Length: 5\r\nVoyo-Cache-Control: max-age=9\r\nAge: 4\r\nCache-Tag: a, b\r\nVary: Origin\r\n\r\nOggS!",
		"HTTP/1.1 206 Partial Content\r\n" + edge + "Content-Length: 2\r\nContent-Range: bytes 1-2/5\r\nVoyo-Cache-Control: no-store\r\n\r\ngg",
		"HTTP/1.1 404 Not Found\r\n" + edge + "Voyo-Cache-Control: max-age=99999999999999999999\r\n\r\n", "HTTP/1.1 404 Not Found\r\n\r\n",
		"HTTP/1.1 416 No\r\n" + edge + "Content-Range: bytes */5\r\n\r\n", "HTTP/1.1 304 Not Modified\r\n" + edge + "\r\n",
		"HTTP/1.1 451 No\r\n" + edge + "\r\n", "HTTP/1.1 451 No\r\n\r\n", "HTTP/1.1 508 Loop\r\n\r\n", "HTTP/1.1 503 No\r\n\r\n", "HTTP/1.1 410 Gone\r\n" + edge + "\r\n",
		"HTTP/1.1 200 OK\r\nCache-Status: \"voyo\"; hit, (voyo a);x=:AA==:, other;fwd=miss\r\nContent-Length: 2\r\n\r\nOg",
		"HTTP/1.1 200 OK\r\nCache-Status: voyo;detail=\"\\\"a, b\", a\r\nCache-Status: b\r\nContent-Length: 9\r\n\r\nshort", "nonsense",
	} {
		f.Add([]byte(raw), false, "bytes=1-2", "")
		f.Add([]byte(raw), true, "", "bytes=-1")
	}
	f.Fuzz(func(t *testing.T, raw []byte, art bool, first, second string) {
		h := newTestHandler(t, at("http://upstream.example/song.opus"))
		h.shields = &shields{policy: reverseproxy.FirstSelection{}}
		for i, at := range tier(2) {
			s := newShield(i, mustURL(t, strings.Replace(at, "https", "http", 1)))
			s.health = new(shieldHealth)
			h.shields.list = append(h.shields.list, s)
		}
		checkRaw(t, h, raw, art, first, second)
	})
}

// checkRaw has clients ask a handler whose upstreams all answer with the bytes.
func checkRaw(t *testing.T, h *Handler, raw []byte, art bool, ranges ...string) {
	t.Helper()
	transport := rawUpstream(raw)
	defer transport.CloseIdleConnections()
	h.client = transport
	upstream, body, whole := readAnswer(raw)
	target := "/cdn/stream/" + testID
	if art {
		target = "/cdn/art/" + testID
	}
	for _, field := range ranges {
		header := make(http.Header)
		if field != "" {
			header.Set("Range", field)
		}
		checkFetched(t, h, header)
		w, aborted := serveOrAbort(t, h, newTestRequest(http.MethodGet, target, header))
		checkHeader(t, w.Header(), clientFields)
		switch {
		case w.Code >= 400:
		case upstream == nil || upstream.StatusCode != http.StatusOK && upstream.StatusCode != http.StatusPartialContent:
			t.Errorf("got %d of %+v", w.Code, upstream)
		case !checkBytes(w, upstream, body):
			t.Errorf("got %d, %q and %q of %d, %q and %q", w.Code, w.Header(), w.Body, upstream.StatusCode, upstream.Header, body)
		case w.Code == http.StatusOK && !aborted && (!whole || w.Body.Len() < len(body)):
			t.Errorf("%q passes for all of %q, which is whole: %t", w.Body, body, whole)
		}
	}
}

// checkFetched fetches as the cache does, whose own checks are not asked for here.
func checkFetched(t *testing.T, h *Handler, header http.Header) {
	t.Helper()
	resp, err := h.upstream(newTestRequest(http.MethodGet, "/", nil), testAsset).fetch(t.Context(), header)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	checkHeader(t, resp.Header, cacheFields)
	_, _, asked := byterange.Answer(header.Get("Range"), resp.Header.Get("Content-Range"), resp.ContentLength)
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusPartialContent:
		if !asked {
			t.Errorf("%q passes for a part that was asked for by %q", resp.Header, header)
		}
	case http.StatusRequestedRangeNotSatisfiable:
		if header.Get("Range") == "" {
			t.Errorf("no range is not satisfiable: %q", resp.Header)
		}
	default:
		t.Errorf("got %d", resp.StatusCode)
	}
	if resp.Request != nil || resp.Trailer != nil {
		t.Errorf("%v, %q are for nobody", resp.Request, resp.Trailer)
	}
}

// serveOrAbort has a request answered, be it by a broken connection.
func serveOrAbort(t *testing.T, h *Handler, r *http.Request) (w *httptest.ResponseRecorder, aborted bool) {
	t.Helper()
	w = httptest.NewRecorder()
	defer func() {
		if v := recover(); v != nil {
			if v != http.ErrAbortHandler {
				panic(v)
			}
			aborted = true
		}
	}()
	if err := serveRequest(h, w, r); err != nil {
		t.Errorf("%s %s: %v", r.Method, r.URL, err)
	}
	return w, false
}

func checkHeader(t *testing.T, header http.Header, allowed []string) {
	t.Helper()
	for name, values := range header {
		if !slices.Contains(allowed, name) {
			t.Errorf("%s: %q is not for %q", name, values, allowed)
		}
		for _, v := range values {
			if !httpguts.ValidHeaderFieldValue(v) {
				t.Errorf("%s: %q is no field", name, v)
			}
		}
	}
}

// checkBytes reports whether the bytes that a client got are those that the upstream has
// said to be there.
func checkBytes(w *httptest.ResponseRecorder, upstream *http.Response, body []byte) bool {
	var got, sent byterange.Range
	if w.Code == http.StatusPartialContent {
		if strings.HasPrefix(w.Header().Get("Content-Type"), "multipart/") {
			return true
		}
		got, _, _ = byterange.ParseContentRange(w.Header().Get("Content-Range"))
	}
	if upstream.StatusCode == http.StatusPartialContent {
		sent, _, _ = byterange.ParseContentRange(upstream.Header.Get("Content-Range"))
	}
	skip := got.Start - sent.Start
	return skip >= 0 && skip <= int64(len(body)) && bytes.HasPrefix(body[skip:], w.Body.Bytes())
}
