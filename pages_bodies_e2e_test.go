package voyo_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"testing"
)

// upload makes a request with a body.
func (n node) upload(t *testing.T, method, path string, body io.Reader, header http.Header) *http.Response {
	t.Helper()
	return n.uploadTraced(t.Context(), t, method, path, body, header)
}

func (n node) uploadTraced(ctx context.Context, t *testing.T, method, path string, body io.Reader, header http.Header) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, n.url+path, body)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(r.Header, header)
	resp, err := n.client.Do(r)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// The body goes to the origin while it comes, and the answer to the client likewise,
// each with its trailers.
func TestOriginStreams(t *testing.T) {
	first, answered := make(chan string, 1), make(chan struct{})
	trailers := make(chan http.Header, 1)
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		buf := make([]byte, 5)
		_, _ = io.ReadFull(r.Body, buf)
		first <- string(buf)
		rest, _ := io.ReadAll(r.Body)
		trailers <- r.Trailer
		w.Header().Set("Trailer", "X-Sum")
		_, _ = w.Write(rest)
		_ = http.NewResponseController(w).Flush()
		<-answered
		_, _ = io.WriteString(w, " and more")
		w.Header().Set("X-Sum", "42")
		w.Header().Set(http.TrailerPrefix+"X-Unannounced", "43")
	})
	e := startGateway(t, o.URL, "")
	conn, from := e.raw(t, "POST / HTTP/1.1\nHost: www.test\nTransfer-Encoding: chunked\nTrailer: X-Digest, X-Forwarded-For, X-Forwarded-Port, X_Forwarded_Host\n\n5\nfirst\n")
	if got := await(t, "the first chunk", first); got != "first" {
		t.Errorf("got %q", got)
	}
	_, _ = io.WriteString(conn, "6\r\nsecond\r\n0\r\nX-Digest: 41\r\nX-Forwarded-For: 192.0.2.1\r\nX-Forwarded-Port: 1\r\nX_Forwarded_Host: evil.test\r\nX-Stray: 1\r\n\r\n")
	if got := await(t, "the request's trailers", trailers); got.Get("X-Digest") != "41" || len(got) != 1 {
		t.Errorf("the origin got trailers %v", got)
	}
	resp := readRaw(t, from, "POST")
	buf := make([]byte, 6)
	if _, err := io.ReadFull(resp.Body, buf); err != nil || string(buf) != "second" {
		t.Errorf("got %q, error %v", buf, err)
	}
	close(answered)
	rest, err := io.ReadAll(resp.Body)
	if err != nil || string(rest) != " and more" {
		t.Errorf("got %q, error %v", rest, err)
	}
	if resp.Trailer.Get("X-Sum") != "42" || resp.Trailer.Get("X-Unannounced") != "43" {
		t.Errorf("the client got trailers %v", resp.Trailer)
	}
}

// A body is sent when the origin wants it, and not at all if it does not.
func TestOriginExpect(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		_, _ = io.Copy(w, r.Body)
	})
	e := startGateway(t, o.URL, "")
	const request = "POST %s HTTP/1.1\nHost: www.test\nContent-Length: 4\nExpect: 100-continue\n\n"
	_, from := e.raw(t, fmt.Sprintf(request, "/no"))
	if resp := readRaw(t, from, "POST"); resp.StatusCode != http.StatusUnauthorized || !resp.Close {
		t.Errorf("got %s, connection to be closed: %t", resp.Status, resp.Close)
	}
	conn, from := e.raw(t, fmt.Sprintf(request, "/yes"))
	if resp := readRaw(t, from, "POST"); resp.StatusCode != http.StatusContinue {
		t.Fatalf("got %s", resp.Status)
	}
	_, _ = io.WriteString(conn, "body")
	resp := readRaw(t, from, "POST")
	if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusOK || string(body) != "body" {
		t.Errorf("got %s and %q, error %v", resp.Status, body, err)
	}
	if n := len(o.asked("")); n != 2 {
		t.Errorf("the origin was asked %d times", n)
	}
}

// Interim answers get through, and what is set for the final one stays out of them.
func TestOriginInterim(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Set("X-Final", "yes")
		_, _ = io.WriteString(w, "done")
	})
	e := startGateway(t, o.URL, "header X-Edge yes")
	var hints []textproto.MIMEHeader
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(status int, header textproto.MIMEHeader) error {
		if status == http.StatusEarlyHints {
			hints = append(hints, header)
		}
		return nil
	}})
	resp := e.uploadTraced(ctx, t, "POST", "/", strings.NewReader("x"), nil)
	if len(hints) != 1 || hints[0].Get("Link") == "" || len(hints[0]) != 1 {
		t.Errorf("got hints %v", hints)
	}
	if resp.Header.Get("X-Final") != "yes" || resp.Header.Get("X-Edge") != "yes" {
		t.Errorf("got header %v", resp.Header)
	}
	// an old client would take it for the answer
	_, from := e.raw(t, "POST / HTTP/1.0\nHost: www.test\nContent-Length: 0\n\n")
	if resp := readRaw(t, from, "POST"); resp.StatusCode != http.StatusOK {
		t.Errorf("HTTP/1.0: got %s", resp.Status)
	}
}

// A client that leaves takes its request with it, which is no failure of the origin's.
func TestOriginClientLeaves(t *testing.T) {
	for name, request := range map[string]string{
		"waits for a page":        "GET /page HTTP/1.1\nHost: www.test\n\n",
		"waits for a HEAD":        "HEAD /page HTTP/1.1\nHost: www.test\n\n",
		"waits for a POST":        "POST / HTTP/1.1\nHost: www.test\nContent-Length: 1\n\nx",
		"in the middle of a POST": "POST / HTTP/1.1\nHost: www.test\nContent-Length: 10\n\nx",
	} {
		t.Run(name, func(t *testing.T) {
			arrived, gone := make(chan struct{}), make(chan struct{})
			o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Cache-Control", "no-store")
				close(arrived)
				_, _ = io.ReadAll(r.Body)
				<-r.Context().Done()
				close(gone)
			})
			e := startGateway(t, o.URL, "")
			conn, _ := e.raw(t, request)
			await(t, "the origin is asked", arrived)
			conn.Close()
			await(t, "the origin knows that the client has left", gone)
			if strings.Contains(e.logged(t), "could not fetch from origin") {
				t.Error("it counts as the origin's failure")
			}
		})
	}
}

func TestOriginUploadRefused(t *testing.T) {
	o := reflecting(t)
	e := startEdge(t, fmt.Sprintf("route {\nrequest_body {\nmax_size 10\n}\nvoyo {\n%s\norigin %s\n}\n}", template("http://127.0.0.1:9"), o.URL))
	resp := e.upload(t, "POST", "/", io.MultiReader(strings.NewReader(strings.Repeat("x", 100))), nil)
	if resp.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("got %s", resp.Status)
	}
	_, from := e.raw(t, "POST / HTTP/1.1\nHost: www.test\nTransfer-Encoding: chunked\n\nnot a number\n")
	if resp := readRaw(t, from, "POST"); resp.StatusCode != http.StatusBadRequest {
		t.Errorf("got %s", resp.Status)
	}
	if strings.Contains(e.logged(t), "could not fetch from origin") {
		t.Error("it counts as the origin's failure")
	}
}
