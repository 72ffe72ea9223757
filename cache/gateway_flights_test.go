package cache

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// page is a cache with a gateway's policy in front of a handler that is called in
// the same process.
type page struct {
	c       *Cache
	policy  Policy
	handler http.HandlerFunc
	count   atomic.Int64 // requests to the handler
}

func newPage(t testing.TB, h http.HandlerFunc) *page {
	t.Helper()
	return &page{c: newTest(t, Limits{Memory: 1 << 20, Slice: 4096}), policy: Policy{Gateway: true, MaxAge: -1}, handler: h}
}

func (p *page) get(ctx context.Context, fields ...string) string {
	rec := p.ask(ctx, fields...)
	return fmt.Sprintf("%s =%s", rec.status, rec.Body)
}

// pageAnswer is what a client got.
type pageAnswer struct {
	*httptest.ResponseRecorder
	status Status // or the error
}

func (p *page) ask(ctx context.Context, fields ...string) pageAnswer {
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "http://origin.test/", nil)
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	rec := httptest.NewRecorder()
	status, err := p.c.Serve(rec, r, Request{
		Key: "http://origin.test/", Policy: &p.policy, Header: r.Header,
		Fetch: func(ctx context.Context, header http.Header) (*http.Response, error) {
			p.count.Add(1)
			rec := httptest.NewRecorder()
			out := r.Clone(ctx)
			for _, name := range ConditionFields {
				out.Header.Del(name)
			}
			maps.Copy(out.Header, header)
			p.handler(rec, out)
			if ctx.Err() != nil {
				return nil, context.Cause(ctx)
			}
			resp := rec.Result()
			resp.ContentLength = int64(rec.Body.Len())
			return resp, nil
		},
	})
	if err != nil {
		status = Status(err.Error())
	}
	return pageAnswer{rec, status}
}

// many asks n times at once, with a number as the field N. It returns how many were
// answered with their own.
func (p *page) many(t *testing.T, n int) (own int) {
	answers := make(chan bool)
	for i := range n {
		go func() { answers <- strings.HasSuffix(p.get(t.Context(), "N", fmt.Sprint(i)), fmt.Sprint(" =", i)) }()
	}
	for range n {
		if <-answers {
			own++
		}
	}
	return own
}

// TestGatewayCollapses has many ask at once: they share what may be shared, and what
// may not goes to the one that it is for.
func TestGatewayCollapses(t *testing.T) {
	tests := []struct {
		name     string
		header   string
		requests int64
		own      int
	}{
		{"shared", "max-age=60", 1, 1},
		{"not stored", "no-store", 50, 50},
		{"private", "private, max-age=60", 50, 50},
		{"to be confirmed each time", "no-cache", 50, 50},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPage(t, func(w http.ResponseWriter, r *http.Request) {
					time.Sleep(time.Second)
					w.Header().Set("Cache-Control", tt.header)
					fmt.Fprint(w, r.Header.Get("N"))
				})
				if own := p.many(t, 50); own != tt.own {
					t.Errorf("%d have got their own answer, want %d", own, tt.own)
				}
				if n := p.count.Load(); n != tt.requests {
					t.Errorf("%d requests to the origin, want %d", n, tt.requests)
				}
			})
		})
	}
}

// TestGatewayCollapsesVariants has many ask for two variants at once.
func TestGatewayCollapsesVariants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPage(t, func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Second)
			w.Header().Set("Cache-Control", "max-age=60")
			w.Header().Set("Vary", "Accept")
			fmt.Fprint(w, r.Header.Get("Accept"))
		})
		done := make(chan bool)
		for i := range 50 {
			go func() {
				want := fmt.Sprint("text/", i%2)
				done <- strings.HasSuffix(p.get(t.Context(), "Accept", want), "="+want)
			}()
		}
		for range 50 {
			if !<-done {
				t.Error("another variant")
			}
		}
		if n := p.count.Load(); n != 2 {
			t.Errorf("%d requests to the origin", n)
		}
	})
}

// TestGatewayInvalidate invalidates what is stored and what is on its way: whoever
// asks later gets neither.
func TestGatewayInvalidate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var version atomic.Int64
		p := newPage(t, func(w http.ResponseWriter, _ *http.Request) {
			v := version.Load()
			time.Sleep(time.Second)
			w.Header().Set("Cache-Control", "max-age=3600")
			w.Header().Set("Vary", "Accept")
			fmt.Fprint(w, v)
		})
		change := func() {
			version.Add(1)
			p.c.Invalidate("http://origin.test/")
		}
		check := func(want string) {
			t.Helper()
			if got := p.get(t.Context()); got != want {
				t.Errorf("%s, want %s", got, want)
			}
		}
		for range 2 { // what is not known yet, and what is
			early := make(chan string)
			go func() { early <- p.get(t.Context()) }()
			synctest.Wait() // it is at the origin
			before := version.Load()
			change()
			check(fmt.Sprintf("miss =%d", version.Load()))
			if got := <-early; got != fmt.Sprintf("miss =%d", before) {
				t.Errorf("who asked before: %s", got)
			}
			check(fmt.Sprintf("hit =%d", version.Load()))
			change()
			if got := p.get(t.Context(), "Accept", "other"); got != fmt.Sprintf("miss =%d", version.Load()) {
				t.Errorf("another variant: %s", got)
			}
			check(fmt.Sprintf("miss =%d", version.Load()))
			change()
		}
		if n := len(p.c.store.resources.flying); n != 0 {
			t.Errorf("%d openings are left", n)
		}
	})
}

// TestGatewayForgets pushes a resource out that was invalidated: what was asked for
// before stays of no use.
func TestGatewayForgets(t *testing.T) {
	r := newResources(2)
	r.launched("a")
	r.invalidate("a")
	r.get("b")
	r.get("c") // pushes a out
	if r.known.Contains("a") || r.since("a") != 1 {
		t.Errorf("since %d", r.since("a"))
	}
	r.invalidate("unknown")
	if r.known.Contains("unknown") {
		t.Error("what is not known was remembered")
	}
}

// TestGatewayForgetsNoInvalidation invalidates a resource that was pushed out while there
// still are pages of it: they don't come back with it.
func TestGatewayForgetsNoInvalidation(t *testing.T) {
	p := newPage(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Vary", "Accept")
		fmt.Fprint(w, "made ", r.Header.Get("N"))
	})
	p.get(t.Context(), "Accept", "a", "N", "1")
	p.c.store.resources.known.Remove("http://origin.test/")
	p.c.Invalidate("http://origin.test/")
	p.get(t.Context(), "Accept", "b", "N", "2")
	if got := p.ask(t.Context(), "Accept", "a", "N", "3"); got.Body.String() != "made 3" {
		t.Errorf("%s =%s", got.status, got.Body)
	}
}

// TestGatewayLeave has all clients leave: the origin is told.
func TestGatewayLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var ended atomic.Bool
		p := newPage(t, func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
				ended.Store(true)
			case <-time.After(time.Minute):
				fmt.Fprint(w, "late")
			}
		})
		first, leaveFirst := context.WithCancel(t.Context())
		second, leaveSecond := context.WithCancel(t.Context())
		for _, ctx := range []context.Context{first, second} {
			go p.get(ctx)
		}
		synctest.Wait()
		leaveFirst()
		synctest.Wait()
		if ended.Load() || p.count.Load() != 1 {
			t.Errorf("ended: %t, with a client left; %d requests", ended.Load(), p.count.Load())
		}
		leaveSecond()
		synctest.Wait()
		if !ended.Load() {
			t.Error("the origin goes on for nobody")
		}
		p.handler = func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "new") }
		if got := p.get(t.Context()); got != "pass =new" {
			t.Error(got)
		}
	})
}

// TestGatewayPut stores the answer to a POST.
func TestGatewayPut(t *testing.T) {
	p := newPage(t, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "got") })
	put := func(cacheControl string, meanwhile func(e *Expected)) {
		e := p.c.Expect("http://origin.test/")
		defer e.Done()
		meanwhile(e)
		req := Request{Key: "http://origin.test/", Policy: &p.policy, Header: http.Header{}}
		e.Put(req, &http.Response{StatusCode: 200, Header: http.Header{"Cache-Control": {cacheControl}}}, []byte("posted"))
		p.c.work.Wait() // until then whoever asks gets it as it is being stored, which is no hit yet
	}
	check := func(want string) {
		t.Helper()
		if got := p.get(t.Context()); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
	put("no-store", (*Expected).Invalidate)
	check("pass =got")
	// another one has changed it while the answer was on its way
	put("max-age=60", func(e *Expected) { p.c.Invalidate("http://origin.test/"); e.Invalidate() })
	check("pass =got")
	put("max-age=60", func(e *Expected) { e.Invalidate(); p.c.Invalidate("http://origin.test/") })
	check("pass =got")
	put("max-age=60", func(*Expected) {
		if err := p.c.PurgeAll(t.Context()); err != nil {
			t.Error(err)
		}
	})
	check("pass =got")
	put("max-age=60", (*Expected).Invalidate)
	check("hit =posted")
	if n := len(p.c.store.resources.flying); n != 0 {
		t.Errorf("%d answers are still expected", n)
	}
}

// TestGatewayConnection passes interim responses and trailers on, over connections as
// they are.
func TestGatewayConnection(t *testing.T) {
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Link", "</style.css>; rel=preload")
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
		w.Header().Set("Trailer", "Digest")
		w.Header().Set("Vary", "Y")
		w.Header().Set("Cache-Control", r.URL.Query().Get("cc"))
		fmt.Fprint(w, "body")
		w.Header().Set("Digest", "sum")
		w.Header().Set(http.TrailerPrefix+"Late", "yes")
	}))
	t.Cleanup(origin.Close)
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	c := newTest(t, Limits{Memory: 1 << 20})
	edge := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Server", "edge") // of another handler
		w.Header().Set("Vary", "X")
		fetch := func(ctx context.Context, header http.Header) (*http.Response, error) {
			out, err := http.NewRequestWithContext(ctx, http.MethodGet, origin.URL+r.URL.RequestURI(), nil)
			if err != nil {
				return nil, err
			}
			out.Header = header
			return transport.RoundTrip(out)
		}
		policy := &Policy{Gateway: true, MaxAge: -1}
		if _, err := c.Serve(w, r, Request{Key: r.URL.String(), Policy: policy, Header: r.Header, Fetch: fetch}); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(edge.Close)

	for _, tt := range []struct {
		uri      string
		interims int
		trailers string
	}{
		{"/?cc=no-store", 1, "sum yes"},
		{"/?cc=max-age%3D60", 1, " "}, // trailers are not stored
		{"/?cc=max-age%3D60", 0, " "},
	} {
		interims := 0
		ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
			Got1xxResponse: func(status int, h textproto.MIMEHeader) error {
				if interims++; status != http.StatusEarlyHints || h.Get("Link") == "" || h.Get("Server") != "" {
					t.Errorf("%d %v", status, h)
				}
				return nil
			},
		})
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, edge.URL+tt.uri, nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := edge.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(body) != "body" || resp.Header.Get("Link") != "" || resp.Header.Get("Server") != "edge" || strings.Join(resp.Header.Values("Vary"), ",") != "X,Y" {
			t.Errorf("%s: %v %q, %v", tt.uri, resp.Header, body, err)
		}
		if got := resp.Trailer.Get("Digest") + " " + resp.Trailer.Get("Late"); interims != tt.interims || got != tt.trailers {
			t.Errorf("%s: %d interim responses, trailers %q", tt.uri, interims, got)
		}
	}
}
