package voyo

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/voyo-music/caddy-voyo/cache"
	"github.com/voyo-music/caddy-voyo/resolver"
)

func TestProblemOf(t *testing.T) {
	missing := fmt.Errorf("x: %w", cache.ErrNotFound)
	for _, c := range []struct {
		kind resolver.Kind
		err  error
		want problem
	}{
		{resolver.Stream, missing, problem{status: 404, message: "Content not found in VOYO library"}},
		{resolver.Stream, failure{reason: reasonReset}, problem{status: 502, message: "VOYO stream temporarily unavailable"}},
		{resolver.Stream, failure{reason: reasonTimeout}, problem{status: 504, message: "VOYO stream temporarily unavailable"}},
		{resolver.Stream, fmt.Errorf("x: %w", cache.ErrStalled), problem{status: 504, message: "VOYO stream temporarily unavailable"}},
		{resolver.Stream, cache.ErrBadAnswer, problem{status: 502, message: "VOYO stream temporarily unavailable"}},
		{resolver.Art, missing, problem{status: 404, message: "Album art temporarily unavailable"}},
		{resolver.Art, failure{reason: reasonTimeout}, problem{status: 502, message: "Album art temporarily unavailable"}},
		{resolver.Art, errNoImage, problem{status: 502, message: "Album art temporarily unavailable"}},
	} {
		if got := problemOf(c.kind, c.err); got != c.want {
			t.Errorf("%s, %v: got %v", c.kind, c.err, got)
		}
	}
}

func TestErrorAnswer(t *testing.T) {
	for _, method := range []string{"GET", "HEAD"} {
		w := httptest.NewRecorder()
		for _, name := range []string{"Content-Type", "Content-Length", "Etag", "Content-Range", "Last-Modified", "Cache-Status"} {
			w.Header().Set(name, "of the body that is not coming")
		}
		if err := answerError(w, newTestRequest(method, "/", nil), errNoTrack); err != nil {
			t.Fatal(err)
		}
		const body = `{"error":"Content not found in VOYO library"}` + "\n"
		want := map[string]string{
			"Content-Type": "application/json", "Cache-Control": "no-store", "Content-Length": fmt.Sprint(len(body)),
			"Etag": "", "Content-Range": "", "Last-Modified": "", "Cache-Status": "of the body that is not coming",
		}
		for name, value := range want {
			if got := w.Header().Get(name); got != value {
				t.Errorf("%s: got %s %q, want %q", method, name, got, value)
			}
		}
		if got := w.Body.String(); w.Code != 404 || method == "GET" && got != body || method == "HEAD" && got != "" {
			t.Errorf("%s: got %d %s", method, w.Code, got)
		}
	}
}

// errorServer returns a server with the error routes of a Caddyfile.
func errorServer(t *testing.T, config string) *caddyhttp.Server {
	t.Helper()
	adapter := caddyfile.Adapter{ServerType: httpcaddyfile.ServerType{}}
	adapted, _, err := adapter.Adapt([]byte(config), nil)
	if err != nil {
		t.Fatal(err)
	}
	var c struct {
		Apps struct {
			HTTP struct {
				Servers map[string]struct {
					Errors *caddyhttp.HTTPErrorConfig `json:"errors"`
				} `json:"servers"`
			} `json:"http"`
		} `json:"apps"`
	}
	if err := json.Unmarshal(adapted, &c); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	t.Cleanup(cancel)
	for _, srv := range c.Apps.HTTP.Servers {
		if err := srv.Errors.Routes.Provision(ctx); err != nil {
			t.Fatal(err)
		}
		return &caddyhttp.Server{Errors: srv.Errors}
	}
	t.Fatal("no server")
	return nil
}

const twoSites = `
a.example:80 {
	handle_errors 404 {
		header X-Handled yes
		respond "a: {err.status_code} {err.message}" 404
	}
	handle_errors 5xx {
		header X-Handled yes
	}
}
b.example:80 {
	handle_errors {
		handle /b/* {
			respond "" {err.status_code}
		}
		handle /fail/* {
			error "error in the error routes" 500
		}
		handle {
			respond "b: {err.message} at {path}"
		}
	}
}
c.example:80 {
	respond "no error routes"
}
`

func TestHandleErrors(t *testing.T) {
	const (
		voyo404 = `{"error":"Content not found in VOYO library"}` + "\n"
		voyo502 = `{"error":"VOYO stream temporarily unavailable"}` + "\n"
	)
	srv := errorServer(t, twoSites)
	open := errorServer(t, ":80 {\n handle_errors 404 {\n respond \"{err.message}\" 410\n }\n }")
	for _, c := range []struct {
		srv     *caddyhttp.Server
		url     string
		problem problem
		status  int
		body    string
		handled string
	}{
		{srv, "http://a.example/", errNoTrack, 404, "a: 404 Content not found in VOYO library", "yes"},
		{srv, "http://a.example/", errStream, 502, voyo502, "yes"}, // matched, but nothing that answers
		{srv, "http://a.example/", errOrigin, 403, `{"error":"Origin not allowed"}` + "\n", ""},
		{srv, "http://b.example/", errNoTrack, 404, "b: Content not found in VOYO library at /", ""},
		{srv, "http://b.example/b/", errNoTrack, 404, "", ""}, // as the operator wants it
		{srv, "http://c.example/", errNoTrack, 404, voyo404, ""},
		{srv, "http://d.example/", errStream, 502, voyo502, ""},
		{open, "http://d.example/", errNoTrack, 410, "Content not found in VOYO library", ""},
		{open, "http://d.example/", errStream, 502, voyo502, ""},
		{&caddyhttp.Server{}, "http://d.example/", errNoTrack, 404, voyo404, ""},
		{&caddyhttp.Server{Errors: &caddyhttp.HTTPErrorConfig{}}, "http://d.example/", errNoTrack, 404, voyo404, ""},
	} {
		w := httptest.NewRecorder()
		if err := answerError(w, onServer(newTestRequest("GET", c.url, nil), c.srv), c.problem); err != nil {
			t.Errorf("%s %v: %v", c.url, c.problem, err)
		}
		if w.Code != c.status || w.Body.String() != c.body || w.Header().Get("X-Handled") != c.handled {
			t.Errorf("%s %v:\n got %d %q %q\nwant %d %q %q", c.url, c.problem,
				w.Code, w.Body, w.Header().Get("X-Handled"), c.status, c.body, c.handled)
		}
		isJSON := strings.HasPrefix(c.body, "{")
		if got := w.Header().Get("Content-Type"); (got == "application/json") != isJSON {
			t.Errorf("%s %v: got Content-Type %q", c.url, c.problem, got)
		}
	}
}

// Where the error routes fail the answer is the status, and Caddy does not run them
// a second time.
func TestErrorRoutesFail(t *testing.T) {
	w := httptest.NewRecorder()
	r := onServer(newTestRequest("GET", "http://b.example/fail/", nil), errorServer(t, twoSites))
	if err := answerError(w, r, errNoTrack); err != nil || w.Code != 404 {
		t.Errorf("got %d, %v", w.Code, err)
	}
}

// A voyo among the error routes, for a fall-back cover perhaps, answers its own
// errors itself: its error routes are those that it is in.
func TestErrorInErrorRoute(t *testing.T) {
	srv := errorServer(t, twoSites)
	r := onServer(newTestRequest("GET", "http://b.example/", nil), srv)
	r = srv.Errors.WithError(r, caddyhttp.Error(404, errNoTrack))
	w := httptest.NewRecorder()
	if err := answerError(w, r, errArt); err != nil || w.Code != 502 || !strings.Contains(w.Body.String(), errArt.message) {
		t.Errorf("got %d %s, %v", w.Code, w.Body, err)
	}
}

// Error routes see the request as the client sent it.
func TestErrorsAfterRewrite(t *testing.T) {
	r := onServer(newTestRequest("GET", "http://b.example/b/cdn/stream/x", nil), errorServer(t, twoSites))
	r.URL.Path = "/cdn/stream/x" // as handle_path does
	w := httptest.NewRecorder()
	if err := serveRequest(newTestHandler(t, found(nil)), w, r); err != nil {
		t.Fatal(err)
	}
	if w.Code != 400 || w.Body.Len() > 0 {
		t.Errorf("got %d %q", w.Code, w.Body)
	}
}

// onServer returns the request as the server passes it to its routes.
func onServer(r *http.Request, srv *caddyhttp.Server) *http.Request {
	return caddyhttp.PrepareRequest(r, caddy.NewReplacer(), httptest.NewRecorder(), srv)
}
