package api

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"syscall"
	"testing"

	"github.com/voyo-music/caddy-voyo/resolver"
	"github.com/voyo-music/caddy-voyo/resolver/internal/guest/guesttest"
)

const found = `{"url":"https://media.example.com/a"}`

// serve starts a service and returns its URL.
func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(s.Close)
	return s.URL
}

// load loads an api resolver with a transport of its own.
func load(t *testing.T, segment string) *API {
	t.Helper()
	a := guesttest.MustLoad(t, segment).(*API)
	transport := new(http.Transport)
	t.Cleanup(transport.CloseIdleConnections)
	a.UseTransport(transport)
	return a
}

func TestRequest(t *testing.T) {
	t.Setenv("VOYO_TEST_KEY", "hunter2")
	for _, tc := range []struct {
		name, path, block string
		asset             resolver.Asset
		want              string
	}{
		{"voyo", "/stream", "", guesttest.Audio, "/stream?v=OSBan_sH_b8&type=audio&quality=high"},
		{
			"voyo, low video", "/stream", "format voyo", guesttest.LowVideo,
			"/stream?v=OSBan_sH_b8&type=video&quality=low",
		},
		{
			"voyo, query", "/stream?k={env.VOYO_TEST_KEY}", "", guesttest.Audio,
			"/stream?k=hunter2&v=OSBan_sH_b8&type=audio&quality=high",
		},
		{"voyo, no path", "", "", guesttest.Audio, "/?v=OSBan_sH_b8&type=audio&quality=high"},
		{
			"voyo, placeholders", "/{http.voyo.vyo_id}?b={http.voyo.bitrate}", "", guesttest.LowAudio,
			"/vyo_T1NCYW5fc0hfYjg?b=64",
		},
		{"piped", "", "format piped", guesttest.Audio, "/streams/OSBan_sH_b8"},
		{"piped, path and query", "/api/?k=v", "format piped", guesttest.Art, "/api/streams/OSBan_sH_b8?k=v"},
		{"piped, placeholders", "/{http.voyo.kind}/{http.voyo.id}", "format piped", guesttest.Art, "/art/OSBan_sH_b8"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got string
			var sent http.Header
			service := serve(t, func(w http.ResponseWriter, r *http.Request) {
				got, sent = r.Method+" "+r.RequestURI, r.Header
				fmt.Fprint(w, `{"url":"/a","audioStreams":[{"url":"https://m/a"}],"thumbnailUrl":"https://m/i"}`)
			})
			const header = "header Authorization \"Bearer {env.VOYO_TEST_KEY}\""
			a := load(t, "api "+service+tc.path+" {\n"+tc.block+"\n"+header+"\n}")
			if _, err := a.Resolve(t.Context(), tc.asset); err != nil {
				t.Error(err)
			}
			if got != "GET "+tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
			for name, want := range map[string]string{
				"Accept":        "application/json",
				"User-Agent":    "caddy-voyo",
				"Authorization": "Bearer hunter2",
			} {
				if sent.Get(name) != want {
					t.Errorf("got %s: %s, want %s", name, sent.Get(name), want)
				}
			}
		})
	}
}

func TestStatus(t *testing.T) {
	for _, tc := range []struct {
		name   string
		status int
		body   string
		want   string // error; empty if the asset is found
	}{
		{"found", 200, found, ""},
		{"not found", 404, `{"error":"no such track"}`, resolver.ErrNotFound.Error()},
		{"not found, no JSON", 404, "<html>", resolver.ErrNotFound.Error()},
		{"no URL", 200, `{"error":"no such track"}`, resolver.ErrNotFound.Error()},
		{"empty", 200, "", "service's answer is malformed JSON"},
		{"no JSON", 200, "<html>https://api.example.com", "service's answer is malformed JSON"},
		{"another shape", 200, `["https://api.example.com"]`, "service's answer is malformed JSON"},
		{"broken off", 200, found[:len(found)-1], "service's answer is malformed JSON"},
		{"two values", 200, found + found, "service's answer is malformed JSON"},
		{"at the limit", 200, found + strings.Repeat(" ", maxBody-len(found)), ""},
		{
			"over the limit", 200, found + strings.Repeat(" ", maxBody-len(found)+1),
			"service's answer is larger than 1048576 bytes",
		},
		{"refused", 403, found, "service answered with status 403"},
		{"overloaded", 503, found, "service answered with status 503"},
		{"no content", 204, "", "service answered with status 204"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			service := serve(t, func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(tc.status)
				fmt.Fprint(w, tc.body)
			})
			answer, err := load(t, "api "+service).Resolve(t.Context(), guesttest.Audio)
			if tc.want == "" {
				if err != nil || answer.Computed {
					t.Errorf("got %+v, %v", answer, err)
				}
				return
			}
			if err == nil || err.Error() != tc.want {
				t.Errorf("got %v, want %s", err, tc.want)
			}
			if errors.Is(err, resolver.ErrNotFound) != (tc.want == resolver.ErrNotFound.Error()) {
				t.Errorf("not found: %v", err)
			}
		})
	}
}

func TestTimeout(t *testing.T) {
	for name, headers := range map[string]bool{"before the headers": false, "within the body": true} {
		t.Run(name, func(t *testing.T) {
			service := serve(t, func(w http.ResponseWriter, r *http.Request) {
				if headers {
					w.WriteHeader(http.StatusOK)
					http.NewResponseController(w).Flush()
				}
				<-r.Context().Done()
			})
			_, err := load(t, "api "+service+" {\n timeout 50ms\n}").Resolve(t.Context(), guesttest.Audio)
			var timeout net.Error
			if !errors.As(err, &timeout) || !timeout.Timeout() || err.Error() != "asking the service: timed out" {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestCanceled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	service := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	_, err := load(t, "api "+service).Resolve(ctx, guesttest.Audio)
	if !errors.Is(err, context.Canceled) || err.Error() != "asking the service: canceled" {
		t.Errorf("got %v", err)
	}
}

// roundTripper answers every request with an error.
type roundTripper struct{ err error }

func (rt roundTripper) RoundTrip(*http.Request) (*http.Response, error) { return nil, rt.err }

func TestFailure(t *testing.T) {
	addr := &net.TCPAddr{IP: net.IPv4(10, 0, 0, 1), Port: 80}
	refused := &net.OpError{Op: "dial", Net: "tcp", Addr: addr, Err: syscall.ECONNREFUSED}
	for _, tc := range []struct {
		err  error
		want string
	}{
		{refused, "asking the service: connection refused"},
		{&net.DNSError{Err: "no such host", Name: "api.example.com"}, "asking the service: host name not resolved"},
		{&net.DNSError{Err: "i/o timeout", Name: "api.example.com", IsTimeout: true}, "asking the service: timed out"},
		{errors.New("api.example.com is not allowed"), "asking the service: request failed"},
	} {
		a := load(t, "api https://api.example.com/stream?key=hunter2")
		a.UseTransport(roundTripper{tc.err})
		_, err := a.Resolve(t.Context(), guesttest.Audio)
		if err == nil || err.Error() != tc.want || !errors.Is(err, tc.err) {
			t.Errorf("got %v, want %s", err, tc.want)
		}
	}
}

func TestRedirect(t *testing.T) {
	t.Setenv("VOYO_TEST_KEY", "hunter2")
	// Another port is another host, which Go's client would trust.
	var elsewhere http.Header
	other := serve(t, func(w http.ResponseWriter, r *http.Request) {
		elsewhere = r.Header
		fmt.Fprint(w, `{"url":"/a"}`)
	})
	var hops int
	var last http.Header
	service := serve(t, func(w http.ResponseWriter, r *http.Request) {
		last = r.Header
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, other+"/x/y", http.StatusFound)
		case "/near":
			http.Redirect(w, r, "/there", http.StatusFound)
		case "/loop":
			hops++
			http.Redirect(w, r, "/loop", http.StatusFound)
		default:
			fmt.Fprint(w, found)
		}
	})
	resolve := func(path string) (*resolver.Answer, error) {
		a := load(t, "api "+service+path+` {
			header X-Api-Key {env.VOYO_TEST_KEY}
			header Authorization {env.VOYO_TEST_KEY}
		}`)
		return a.Resolve(t.Context(), guesttest.Audio)
	}

	answer, err := resolve("/away")
	if err != nil {
		t.Fatal(err)
	}
	if got := answer.Targets[0].URL.String(); got != other+"/a" {
		t.Errorf("relative URL resolved to %s", got)
	}
	for _, name := range []string{"X-Api-Key", "Authorization", "Referer"} {
		if elsewhere.Get(name) != "" {
			t.Errorf("%s was sent to another host", name)
		}
	}
	if elsewhere.Get("Accept") != "application/json" {
		t.Errorf("got Accept: %s", elsewhere.Get("Accept"))
	}
	if _, err := resolve("/near"); err != nil || last.Get("X-Api-Key") != "hunter2" || last.Get("Referer") != "" {
		t.Errorf("got %v, headers %v", err, last)
	}
	_, err = resolve("/loop")
	if err == nil || err.Error() != "asking the service: too many redirects" || hops != maxRedirects+1 {
		t.Errorf("got %v after %d hops", err, hops-1)
	}
}

// The key must not follow to the same host and port without TLS.
func TestRedirectDowngrade(t *testing.T) {
	a := &API{header: http.Header{"X-Api-Key": {"hunter2"}}}
	var err error
	if a.url, err = formats["voyo"].compile("https://a:8443/stream"); err != nil {
		t.Fatal(err)
	}
	request := func(rawURL string) *http.Request {
		u, err := url.Parse(rawURL)
		if err != nil {
			t.Fatal(err)
		}
		return &http.Request{URL: u, Header: a.header.Clone()}
	}
	for target, keep := range map[string]bool{
		"https://A:8443/b": true,
		"http://a:8443/b":  false,
		"https://a/b":      false,
	} {
		next := request(target)
		if err := a.checkRedirect(next, []*http.Request{request("https://a:8443/stream")}); err != nil {
			t.Fatal(err)
		}
		if (next.Header.Get("X-Api-Key") != "") != keep {
			t.Errorf("%s: got %v", target, next.Header)
		}
	}
}
