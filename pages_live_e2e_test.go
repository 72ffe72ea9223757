package voyo_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"testing"
	"time"

	"go.uber.org/goleak"

	voyo "github.com/voyo-music/caddy-voyo"
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

// Events come as they happen, for as long as they do, and end with the client. One that
// asks for events gets nothing of another's, whatever the policy.
func TestPagesOfEvents(t *testing.T) {
	event, gone := make(chan string), make(chan struct{}, 1)
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		if control := r.URL.RawQuery; control != "" {
			w.Header().Set("Cache-Control", control)
		}
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
	happens := func(data string) { await(t, "the origin sends an event", send(event, data)) }
	onProtocols(t, gatewaySite(o.URL+" {\nttl 1h\n}", ""), func(t *testing.T, e *edge) {
		listen := func(uri string, header http.Header, first <-chan struct{}) {
			resp := e.request(t, "GET", uri, header)
			if first == nil { // there is a header before there are events
				first = send(event, "0")
			}
			await(t, "the first event", first)
			from := bufio.NewReader(resp.Body)
			checkLine(t, from, "data: 0\n")
			checkLine(t, from, "\n")
			for range 3 {
				happens("next")
				checkLine(t, from, "data: next\n")
				checkLine(t, from, "\n")
			}
			resp.Body.Close()
			await(t, "the origin knows that the client has left", gone)
		}
		for range 2 {
			listen("/events", with("Accept", "text/event-stream"), nil)
			listen("/events?no-cache", nil, send(event, "0"))
		}
	})
	if n := len(o.asked("")); n != 8 {
		t.Errorf("the origin was asked %d times", n)
	}
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

// What a client is being sent goes on to its end, whatever is loaded meanwhile.
func TestPagesUnderWayOutliveReload(t *testing.T) {
	for _, method := range []string{"GET", "POST"} {
		for _, control := range []string{"max-age=60", "no-store"} {
			goOn := make(chan struct{})
			o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Cache-Control", control)
				_, _ = io.WriteString(w, "first")
				_ = http.NewResponseController(w).Flush()
				select {
				case <-goOn:
					_, _ = io.WriteString(w, " and last")
				case <-r.Context().Done():
				}
			})
			e := startGateway(t, o.URL, "")
			resp := e.request(t, method, "/page", nil)
			first := make([]byte, 5)
			if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "first" {
				t.Fatalf("%s, %s: got %q, error %v", method, control, first, err)
			}
			must(t, e.load(t, gatewaySite(o.URL, "")))
			must(t, e.load(t, "respond nothing"))
			if err := e.loadWithFailingApp(t, gatewaySite(o.URL, "")); err == nil {
				t.Fatal("it was loaded")
			}
			close(goOn)
			if rest, err := io.ReadAll(resp.Body); err != nil || string(rest) != " and last" {
				t.Errorf("%s, %s: got %q, error %v", method, control, rest, err)
			}
			resp.Body.Close()
			eventually(t, "no state is in use", func() bool { return voyo.StatesInUse() == 0 })
			o.onlyAsked(t)
			e.stop(t)
		}
	}
}

// Whatever way pages come, are reloaded and are left, nothing stays open of them.
func TestPagesLeakNothing(t *testing.T) {
	arrived, gone := make(chan struct{}, 1), make(chan struct{}, 1)
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", r.URL.RawQuery)
		switch r.URL.Path {
		case "/breaks":
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, "page")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		case "/hangs":
			_, _ = io.WriteString(w, "page")
			_ = http.NewResponseController(w).Flush()
			arrived <- struct{}{}
			<-r.Context().Done()
			gone <- struct{}{}
		}
	})
	e := newEdge(t)
	use := func() {
		must(t, e.load(t, gatewaySite(o.URL, "")))
		for range 3 {
			for _, control := range []string{"max-age=60", "no-store", "no-cache"} {
				e.get(t, "/page?"+control)
				e.do(t, "HEAD", "/head?"+control, nil)
				e.do(t, "PUT", "/page?"+control, nil)
				_, _ = io.ReadAll(e.request(t, "GET", "/breaks?"+control, nil).Body)
			}
			conn, _ := e.raw(t, "GET /hangs?no-store HTTP/1.1\nHost: www.test\n\n")
			await(t, "the origin is asked", arrived)
			conn.Close()
			await(t, "the origin knows that the client has left", gone)
			must(t, e.load(t, gatewaySite(o.URL+" {\nttl 1m\n}", "")))
		}
		e.stop(t)
		e.client.CloseIdleConnections()
		o.CloseClientConnections()
	}
	use() // what is started once
	eventually(t, "no state is in use", func() bool { return voyo.StatesInUse() == 0 })
	leaks, files := goleak.IgnoreCurrent(), measureUsage(t).files
	for range 3 {
		use()
	}
	eventually(t, "no state is in use", func() bool { return voyo.StatesInUse() == 0 })
	goleak.VerifyNone(t, leaks,
		// it sleeps for 5 seconds before it sees that its lock is gone
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"))
	eventually(t, "no more files are open than before", func() bool { return measureUsage(t).files <= files })
}

// The header of a page that is not kept does not wait for its body.
func TestPagesHeaderFirst(t *testing.T) {
	goOn := make(chan struct{})
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Cache-Control", "no-store")
		_ = http.NewResponseController(w).Flush()
		select {
		case <-goOn:
		case <-r.Context().Done():
		}
	})
	onProtocols(t, gatewaySite(o.URL, ""), func(t *testing.T, e *edge) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, "GET", e.url+"/events", nil)
		must(t, err)
		resp, err := e.client.Do(r)
		must(t, err)
		await(t, "the origin ends", send(goOn, struct{}{}))
		resp.Body.Close()
	})
}
