package voyo_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// A client of HTTP/1.0 gets whole songs and parts of them, with a length and without
// chunks, and its connection ends unless it wants to keep it.
func TestClientsHTTP10(t *testing.T) {
	s := newSong(songID, 1<<20)
	a := newArchive(t, s)
	c := startChild(t, "voyo {\n"+template(a.URL)+"\n}")
	for _, q := range []struct {
		fields     string
		status     int
		start, end int64
		kept       bool
	}{
		{"", http.StatusOK, 0, s.size, false},
		{"Range: bytes=5-99999\r\n", http.StatusPartialContent, 5, 100_000, false},
		{"Range: bytes=-10\r\nConnection: keep-alive\r\n", http.StatusPartialContent, s.size - 10, s.size, true},
	} {
		conn, err := dialRaw(c.url, 0)
		must(t, err)
		from := bufio.NewReader(conn)
		for again := range 2 {
			_, err = fmt.Fprintf(conn, "GET %s HTTP/1.0\r\nHost: 127.0.0.1\r\n%s\r\n", s.path(), q.fields)
			must(t, err)
			resp, err := http.ReadResponse(from, nil)
			if again == 1 && !q.kept {
				if err == nil {
					t.Errorf("%q: the connection was kept", q.fields)
				}
				break
			}
			must(t, err)
			if resp.StatusCode != q.status || resp.ContentLength != q.end-q.start || resp.TransferEncoding != nil {
				t.Errorf("%q: %s, %d bytes, %q", q.fields, resp.Status, resp.ContentLength, resp.TransferEncoding)
			}
			if _, err := s.verify(resp.Body, q.start, q.end); err != nil {
				t.Errorf("%q: %v", q.fields, err)
			}
		}
		conn.Close()
	}
}

// What is no request, or too large for one, is answered by Caddy or not at all, costs
// nothing afterwards, and disturbs nobody.
func TestClientsMalformed(t *testing.T) {
	s := newSong(songID, 1<<20)
	a := newArchive(t, s)
	c := startChild(t, "voyo {\n"+template(a.URL)+"\n}")
	c.mustHear(t, s)
	a.CloseClientConnections()
	before := c.settledUsage(t)
	head := "GET " + s.path() + " HTTP/1.1\r\nHost: 127.0.0.1\r\n"
	for name, q := range map[string]struct {
		sent   string
		status int // 0: none
	}{
		"a field over the limit":  {head + "X-Large: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", http.StatusRequestHeaderFieldsTooLarge},
		"fields over the limit":   {head + strings.Repeat("X-Many: x\r\n", 10_000) + "\r\n", http.StatusRequestHeaderFieldsTooLarge},
		"a path over the limit":   {"GET /" + strings.Repeat("x", 64<<10) + " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", http.StatusRequestHeaderFieldsTooLarge},
		"many fields within it":   {head + strings.Repeat("X: x\r\n", 1000) + "\r\n", http.StatusOK},
		"many ranges within it":   {head + "Range: bytes=" + strings.Repeat("0-0,", 1500) + "1-1\r\n\r\n", http.StatusOK},
		"no host":                 {"GET " + s.path() + " HTTP/1.1\r\n\r\n", http.StatusBadRequest},
		"two hosts":               {head + "Host: 127.0.0.1\r\n\r\n", http.StatusBadRequest},
		"a field without a name":  {head + ": x\r\n\r\n", http.StatusBadRequest},
		"a field without a colon": {head + "x\r\n\r\n", http.StatusBadRequest},
		"a space in a name":       {head + "X Y: x\r\n\r\n", http.StatusBadRequest},
		"a control character":     {head + "X: a\x00b\r\n\r\n", http.StatusBadRequest},
		"no version":              {"GET " + s.path() + "\r\n\r\n", http.StatusBadRequest},
		"a version to come":       {"GET " + s.path() + " HTTP/4.0\r\nHost: 127.0.0.1\r\n\r\n", http.StatusHTTPVersionNotSupported},
		"two lengths":             {head + "Content-Length: 1\r\nContent-Length: 2\r\n\r\n", http.StatusBadRequest},
		"a length below zero":     {head + "Content-Length: -1\r\n\r\n", http.StatusBadRequest},
		"an unknown coding":       {head + "Transfer-Encoding: x\r\n\r\n", http.StatusNotImplemented},
		"a chunk that is none":    {"POST " + s.path() + " HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", http.StatusMethodNotAllowed},
		"an escape that is none":  {"GET /cdn/stream/%zz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", http.StatusBadRequest},
		"an expectation":          {head + "Expect: a miracle\r\n\r\n", http.StatusExpectationFailed},
		"noise":                   {strings.Repeat("\xff\x00\r\n", 100), http.StatusBadRequest},
		"TLS where there is none": {"\x16\x03\x01\x00\x05hello\r\n\r\n", http.StatusBadRequest},
	} {
		conn, err := dialRaw(c.url, 0)
		must(t, err)
		_, _ = io.WriteString(conn, q.sent) // it need not be read to its end
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		switch {
		case err != nil && q.status != 0:
			t.Errorf("%s: %v, want %d", name, err, q.status)
		case err == nil && resp.StatusCode != q.status:
			t.Errorf("%s: %s, want %d", name, resp.Status, q.status)
		case q.status == http.StatusOK:
			if _, err := s.verify(resp.Body, 0, s.size); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		conn.Close()
	}
	a.reset()
	if !c.mustHear(t, s) {
		t.Error("it is not cached any more")
	}
	a.mustRest(t)
	c.mustUseNoMore(t, before)
}
