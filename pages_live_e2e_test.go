package voyo_test

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"testing"
)

// onProtocols runs a test with an edge as clients of HTTP/1.1 and of HTTP/2 see it.
func onProtocols(t *testing.T, site string, test func(t *testing.T, e *edge)) {
	t.Helper()
	t.Run("HTTP/1.1", func(t *testing.T) { test(t, startEdge(t, site)) })
	t.Run("HTTP/2", func(t *testing.T) { test(t, startSecure(t, site, true)) })
}

// Interim answers to a GET that the cache makes get to the client, without what is for
// the edge's own connection.
func TestPagesInterim(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.Header().Set("Connection", "X-Hop")
		w.Header().Set("X-Hop", "1")
		w.Header().Set("Keep-Alive", "timeout=9")
		w.WriteHeader(http.StatusEarlyHints)
		clear(w.Header())
		w.Header().Set("Cache-Control", r.URL.Query().Get("cc"))
		_, _ = io.WriteString(w, "done")
	})
	onProtocols(t, gatewaySite(o.URL, ""), func(t *testing.T, e *edge) {
		for _, path := range []string{"/kept?cc=max-age=60", "/passed?cc=no-store", "/passed?cc=no-store"} {
			hints := e.hints(t, path)
			if len(hints) != 1 || hints[0].Get("Link") == "" || len(hints[0]) != 1 {
				t.Errorf("%s: got hints %v", path, hints)
			}
		}
		if hints := e.hints(t, "/kept?cc=max-age=60"); len(hints) != 0 {
			t.Errorf("a hit has hints: %v", hints)
		}
	})
}

// hints gets a page and returns the headers of the 103s before it.
func (n node) hints(t *testing.T, path string) (hints []textproto.MIMEHeader) {
	t.Helper()
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(status int, header textproto.MIMEHeader) error {
		if status == http.StatusEarlyHints {
			hints = append(hints, header)
		}
		return nil
	}})
	resp := n.uploadTraced(ctx, t, http.MethodGet, path, nil, nil)
	if body, err := io.ReadAll(resp.Body); err != nil || string(body) != "done" {
		t.Errorf("%s: got %q, error %v", path, body, err)
	}
	return hints
}

// Trailers of a page that is not kept get through.
func TestPagesTrailers(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Trailer", "X-Sum")
		_, _ = io.WriteString(w, "page")
		w.Header().Set("X-Sum", "42")
		w.Header().Set(http.TrailerPrefix+"X-Unannounced", "43")
	})
	onProtocols(t, gatewaySite(o.URL, ""), func(t *testing.T, e *edge) {
		for range 2 {
			resp := e.request(t, "GET", "/page", nil)
			body, err := io.ReadAll(resp.Body)
			if err != nil || string(body) != "page" || resp.Trailer.Get("X-Sum") != "42" || resp.Trailer.Get("X-Unannounced") != "43" {
				t.Errorf("got %q and trailers %v, error %v", body, resp.Trailer, err)
			}
		}
	})
}

// Events come as they happen, for as long as they do, and end with the client.
func TestPagesOfEvents(t *testing.T) {
	event, gone := make(chan string), make(chan struct{}, 1)
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Cache-Control", "no-cache")
		_ = http.NewResponseController(w).Flush()
		for {
			select {
			case data := <-event:
				fmt.Fprintf(w, "data: %s\n\n", data)
				_ = http.NewResponseController(w).Flush()
			case <-r.Context().Done():
				gone <- struct{}{}
				return
			}
		}
	})
	onProtocols(t, gatewaySite(o.URL, ""), func(t *testing.T, e *edge) {
		for range 2 { // the first one shows that there is nothing to keep
			event := func(data string) { await(t, "the origin sends an event", send(event, data)) }
			go event("first")
			resp := e.request(t, "GET", "/events", nil)
			from := bufio.NewReader(resp.Body)
			checkLine(t, from, "data: first\n")
			checkLine(t, from, "\n")
			for range 3 {
				event("next")
				checkLine(t, from, "data: next\n")
				checkLine(t, from, "\n")
			}
			resp.Body.Close()
			await(t, "the origin knows that the client has left", gone)
		}
	})
}

// send sends a value, and returns what is closed when it has been received.
func send[T any](c chan<- T, v T) <-chan struct{} {
	sent := make(chan struct{})
	go func() {
		c <- v
		close(sent)
	}()
	return sent
}
