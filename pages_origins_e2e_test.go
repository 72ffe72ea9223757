package voyo_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
)

// An origin that speaks HTTP/2 over TLS is known by the CA of the configuration, and by
// no other.
func TestPagesOverTLS(t *testing.T) {
	protos := make(chan string, 2)
	o := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		protos <- r.Proto
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(w, r.Method)
	}))
	o.EnableHTTP2 = true
	cert, key, _ := newCertificate(t)
	pair, err := tls.LoadX509KeyPair(cert, key)
	must(t, err)
	o.TLS = &tls.Config{Certificates: []tls.Certificate{pair}}
	o.StartTLS()
	t.Cleanup(o.Close)
	site := func(transport string) string {
		return fmt.Sprintf("voyo {\n%s\norigin %s\ntransport http {\n%s\n}\n}", template("http://127.0.0.1:9"), o.URL, transport)
	}
	e := startEdge(t, site(fmt.Sprintf("tls_trust_pool file {\npem_file %s\n}", cert)))
	e.mustGet(t, "/page", "GET")
	if !e.mustGet(t, "/page", "GET") {
		t.Error("no hit")
	}
	if a := e.do(t, "POST", "/page", nil); string(a.body) != "POST" {
		t.Errorf("got %s", a)
	}
	for range 2 {
		if proto := <-protos; proto != "HTTP/2.0" {
			t.Errorf("the origin was asked over %s", proto)
		}
	}
	must(t, e.load(t, site("")))
	for _, method := range []string{"GET", "POST"} {
		if a := e.do(t, method, "/other", nil); a.status != http.StatusBadGateway {
			t.Errorf("%s: got %s", method, a)
		}
	}
	logged := e.log(t)
	if strings.Count(logged, `"could not fetch from origin"`) != 2 || strings.Count(logged, `"reason":"tls"`) != 2 {
		t.Errorf("logged: %s", logged)
	}
}

// A header that is larger than any client would take is passed on all the same, and one
// beyond the transport's limit is the origin's failure.
func TestPagesWithLargeHeaders(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		size, _ := strconv.Atoi(r.URL.Query().Get("size"))
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("X-Large", strings.Repeat("x", size))
		_, _ = io.WriteString(w, "page")
	})
	e := startEdge(t, fmt.Sprintf("voyo {\n%s\norigin %s\ntransport http {\nmax_response_header 1MiB\n}\n}", template("http://127.0.0.1:9"), o.URL))
	for _, method := range []string{"GET", "GET", "POST"} {
		if a := e.do(t, method, "/page?size=500000", nil); a.status != http.StatusOK || len(a.header.Get("X-Large")) != 500000 {
			t.Errorf("%s: got %d and %d bytes of header", method, a.status, len(a.header.Get("X-Large")))
		}
		if a := e.do(t, method, "/page?size=2000000", nil); a.status != http.StatusBadGateway {
			t.Errorf("%s: got %d", method, a.status)
		}
	}
}
