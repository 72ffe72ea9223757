package voyo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"

	"github.com/voyo-music/caddy-voyo/cache"
	"github.com/voyo-music/caddy-voyo/resolver"
)

var testAsset = resolver.Asset{ID: testID, Kind: resolver.Stream, Type: resolver.Audio, Bitrate: resolver.HighBitrate}

// fetch has a handler fetch the test's asset.
func fetch(t *testing.T, h *Handler, header http.Header) (string, *http.Response, error) {
	t.Helper()
	up := h.upstream(newTestRequest("GET", "/", nil), testAsset)
	resp, err := up.fetch(t.Context(), header)
	if err != nil {
		return "", nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Error(err)
	}
	return string(body), resp, nil
}

func TestFailover(t *testing.T) {
	origin := newTestOrigin(t)
	const nobody = "/nobody"
	unanswered := "http://" + unused(t) + "?secret"

	rangeOf := func(s string) http.Header { return http.Header{"Range": {s}} }
	conditional := http.Header{"If-None-Match": {`"1"`}}
	notFound := errors.New("not found")
	for _, c := range []struct {
		name   string
		paths  [][]string // of each resolver
		header http.Header
		want   string // the body
		err    error  // reason of a failure, or notFound
		asked  []string
	}{
		{"first place", [][]string{{"/ok", "/other"}}, nil, "ok", nil, []string{"/ok"}},
		{"second place", [][]string{{"/status/404", "/ok"}}, nil, "ok", nil, []string{"/status/404", "/ok"}},
		{"second resolver", [][]string{{"/status/410"}, {"/ok"}}, nil, "ok", nil, []string{"/status/410", "/ok"}},
		{"refused", [][]string{{"/status/403", "/ok"}}, nil, "ok", nil, []string{"/status/403", "/ok"}},
		{"failing place", [][]string{{"/status/503", "/ok"}}, nil, "ok", nil, []string{"/status/503", "/ok"}},
		{"failing resolver", [][]string{{"/status/500"}, {"/ok"}}, nil, "ok", nil, []string{"/status/500", "/ok"}},
		{"busy", [][]string{{"/status/429"}, {"/ok"}}, nil, "ok", nil, []string{"/status/429", "/ok"}},
		{"broken connection", [][]string{{"/abort", "/ok"}}, nil, "ok", nil, []string{"/abort", "/ok"}},
		{"no connection", [][]string{{nobody, "/ok"}}, nil, "ok", nil, []string{"/ok"}},
		{"encoded", [][]string{{"/gzip", "/ok"}}, nil, "ok", nil, []string{"/gzip", "/ok"}},
		{"page", [][]string{{"/type/text/html", "/ok"}}, nil, "ok", nil, []string{"/type/text/html", "/ok"}},
		{"JSON", [][]string{{"/type/application/json", "/ok"}}, nil, "ok", nil, []string{"/type/application/json", "/ok"}},
		{"no content", [][]string{{"/status/204", "/ok"}}, nil, "ok", nil, []string{"/status/204", "/ok"}},
		{"empty", [][]string{{"/empty", "/ok"}}, nil, "ok", nil, []string{"/empty", "/ok"}},
		{"empty in chunks", [][]string{{"/empty/chunked", "/ok"}}, nil, "ok", nil, []string{"/empty/chunked", "/ok"}},
		{"part of the empty", [][]string{{"/unsatisfied/0", "/ok"}}, rangeOf("bytes=0-"), "ok", nil, []string{"/unsatisfied/0", "/ok"}},
		{"beyond the end", [][]string{{"/unsatisfied/10"}}, rangeOf("bytes=10-"), "unsatisfied", nil, []string{"/unsatisfied/10"}},
		{"unasked part", [][]string{{"/range/0-4/10", "/ok"}}, nil, "ok", nil, []string{"/range/0-4/10", "/ok"}},
		{"unasked 304", [][]string{{"/status/304", "/ok"}}, nil, "ok", nil, []string{"/status/304", "/ok"}},
		{"unasked 416", [][]string{{"/status/416", "/ok"}}, nil, "ok", nil, []string{"/status/416", "/ok"}},
		{"304", [][]string{{"/status/304", "/ok"}}, conditional, "", nil, []string{"/status/304"}},
		{"416", [][]string{{"/status/416"}}, rangeOf("bytes=9-"), "status", nil, []string{"/status/416"}},
		{"part", [][]string{{"/range/5-9/10"}}, rangeOf("bytes=5-"), "range", nil, []string{"/range/5-9/10"}},
		{"suffix", [][]string{{"/range/5-9/10"}}, rangeOf("bytes=-5"), "range", nil, []string{"/range/5-9/10"}},
		{"shorter part", [][]string{{"/range/5-9/20"}}, rangeOf("bytes=5-15"), "range", nil, []string{"/range/5-9/20"}},
		{"range ignored", [][]string{{"/ok"}}, rangeOf("bytes=5-"), "ok", nil, []string{"/ok"}},
		{"wrong part", [][]string{{"/range/0-4/10", "/ok"}}, rangeOf("bytes=5-"), "ok", nil, []string{"/range/0-4/10", "/ok"}},
		{"larger part", [][]string{{"/range/5-9/10", "/ok"}}, rangeOf("bytes=5-6"), "ok", nil, []string{"/range/5-9/10", "/ok"}},
		{"mislabelled part", [][]string{{"/range/5-7/10", "/ok"}}, rangeOf("bytes=5-7"), "ok", nil, []string{"/range/5-7/10", "/ok"}},
		{"part of the unknown", [][]string{{"/range/5-9/*", "/ok"}}, rangeOf("bytes=5-"), "ok", nil, []string{"/range/5-9/*", "/ok"}},
		{"nonsense", [][]string{{"/range/x", "/ok"}}, rangeOf("bytes=5-"), "ok", nil, []string{"/range/x", "/ok"}},
		{"redirects", [][]string{{"/redirect/5"}}, nil, "ok", nil,
			[]string{"/redirect/5", "/redirect/4", "/redirect/3", "/redirect/2", "/redirect/1", "/ok"}},
		{"too many redirects", [][]string{{"/redirect/6"}}, nil, "", errRedirects,
			[]string{"/redirect/6", "/redirect/5", "/redirect/4", "/redirect/3", "/redirect/2", "/redirect/1"}},
		{"nowhere", [][]string{{"/status/404", "/status/403"}, {"/status/410"}}, nil, "", notFound,
			slices.Repeat([]string{"/status/404", "/status/403", "/status/410"}, 2)},
		{"nothing in it", [][]string{{"/empty"}}, nil, "", notFound, slices.Repeat([]string{"/empty"}, 2)},
		{"nothing in its chunks", [][]string{{"/empty/chunked"}}, nil, "", errBadAnswer, []string{"/empty/chunked"}},
		{"no other bitrate after a failure", [][]string{{"/status/404", "/status/502"}, {"/status/404"}}, nil, "", failure{reasonStatus, 502},
			[]string{"/status/404", "/status/502", "/status/404"}},
		{"failure", [][]string{{"/abort"}}, nil, "", failure{reason: reasonReset}, []string{"/abort"}},
		{"nobody there", [][]string{{nobody}}, nil, "", failure{reason: reasonRefused}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			origin.asked()
			var resolvers []resolver.Resolver
			for _, paths := range c.paths {
				places := origin.all(paths...)
				if paths[0] == nobody {
					places[0] = unanswered
				}
				resolvers = append(resolvers, at(places...))
			}
			h := newTestHandler(t, resolvers...)
			logs := observe(h)
			// A request over a used connection that breaks may be sent twice.
			h.client.(*http.Transport).DisableKeepAlives = true
			body, resp, err := fetch(t, h, c.header)
			if c.err == notFound {
				c.err = cache.ErrNotFound
			}
			if body != c.want || !errors.Is(err, c.err) {
				t.Errorf("got %q, %v", body, err)
			}
			if asked := origin.asked(); !slices.Equal(asked, c.asked) {
				t.Errorf("asked %q, want %q", asked, c.asked)
			}
			if resp != nil && (resp.Request != nil || resp.Header.Get("Set-Cookie") != "") {
				t.Errorf("got header %v of %v", resp.Header, resp.Request)
			}
			checkNoSecrets(t, origin, err, dump(t, logs))
			warned := logs.FilterLevelExact(zapcore.WarnLevel).Len()
			if want := isA[failure](err); warned > 1 || (warned == 1) != want {
				t.Errorf("logged:\n%s", dump(t, logs))
			}
		})
	}
}

// checkNoSecrets fails if an upstream shows in an error or in a log.
func checkNoSecrets(t *testing.T, o *testOrigin, err error, logs string) {
	t.Helper()
	if err != nil {
		logs += err.Error()
	}
	u, _ := url.Parse(o.URL)
	for _, word := range []string{"secret", "http:", u.Hostname(), u.Port(), "/status", "/ok"} {
		if strings.Contains(logs, word) {
			t.Errorf("%q shows in:\n%s", word, logs)
		}
	}
}

func TestOtherBitrate(t *testing.T) {
	origin := newTestOrigin(t)
	bitrates := func(high, low string) resolverFunc {
		return func(a resolver.Asset) (*resolver.Answer, error) {
			path := high
			if a.Bitrate == resolver.LowBitrate {
				path = low
			}
			if path == "" {
				return nil, resolver.ErrNotFound
			}
			return &resolver.Answer{Targets: targets(origin.all(path)...), Computed: true}, nil
		}
	}
	for _, c := range []struct {
		name      string
		resolvers []resolver.Resolver
		asked     []string
		err       error
	}{
		{"there", []resolver.Resolver{bitrates("/high", "/low")}, []string{"/high"}, nil},
		{"not known", []resolver.Resolver{bitrates("", "/low")}, []string{"/low"}, nil},
		{"not there", []resolver.Resolver{bitrates("/status/404", "/low")}, []string{"/status/404", "/low"}, nil},
		{"there in the second place", []resolver.Resolver{bitrates("", "/low"), bitrates("/high", "")}, []string{"/high"}, nil},
		{"failing", []resolver.Resolver{bitrates("/status/503", "/low")}, []string{"/status/503"}, failure{reasonStatus, 503}},
		{"neither", []resolver.Resolver{bitrates("", ""), bitrates("", "")}, nil, cache.ErrNotFound},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := fetch(t, newTestHandler(t, c.resolvers...), nil)
			if asked := origin.asked(); !errors.Is(err, c.err) || !slices.Equal(asked, c.asked) {
				t.Errorf("asked %q, got %v", asked, err)
			}
		})
	}
}

// A remembered place that refuses is looked up anew, once.
func TestLookUpAnew(t *testing.T) {
	origin := newTestOrigin(t)
	for _, c := range []struct {
		name     string
		computed bool
		places   [][]string // that each look-up answers; the last one is repeated
		want     []string   // of two fetches
		lookups  int
	}{
		{"good", false, [][]string{{"/ok"}}, []string{"/ok", "/ok"}, 1},
		{"outdated", false, [][]string{{"/ok"}, {"/new"}}, []string{"/ok", "/status/403", "/new"}, 2},
		{"outdated for good", false, [][]string{{"/ok"}, {"/status/410"}}, []string{"/ok", "/status/403", "/status/410"}, 2},
		{"one of two is outdated", false, [][]string{{"/ok", "/other"}}, []string{"/ok", "/status/403", "/other"}, 1},
		{"computed", true, [][]string{{"/ok"}}, []string{"/ok", "/status/403"}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			lookups := 0
			r := resolverFunc(func(a resolver.Asset) (*resolver.Answer, error) {
				if a.Bitrate != resolver.HighBitrate {
					return nil, resolver.ErrNotFound
				}
				places := c.places[min(lookups, len(c.places)-1)]
				lookups++
				return &resolver.Answer{Targets: targets(origin.all(places...)...), Computed: c.computed}, nil
			})
			h := newTestHandler(t, r)
			if _, _, err := fetch(t, h, nil); err != nil {
				t.Fatal(err)
			}
			if len(c.places) > 1 || len(c.places[0]) > 1 || c.computed {
				// what /ok was is now refused
				outdate(t, h)
			}
			_, _, err := fetch(t, h, nil)
			if asked := origin.asked(); !slices.Equal(asked, c.want) || lookups != c.lookups {
				t.Errorf("asked %q with %d look-ups, got %v", asked, lookups, err)
			}
		})
	}
}

// outdate makes the origin refuse the first place that is remembered.
func outdate(t *testing.T, h *Handler) {
	t.Helper()
	ans, remembered, err := h.state.memo.Resolve(t.Context(), h.resolvers[0].name, h.resolvers[0], testAsset, h.memoTTL)
	if err != nil || !remembered {
		t.Fatal(err, remembered)
	}
	ans.Targets[0].URL.Path = "/status/403"
}

func TestRedirectHeader(t *testing.T) {
	first, second := newTestOrigin(t), newTestOrigin(t)
	target := targets(first.all("/to/" + second.URL + "/to/" + first.URL + "/ok")...)[0]
	target.Header = http.Header{"Authorization": {"secret"}, "X-Api-Key": {"secret"}, "User-Agent": {"theirs"}}
	h := newTestHandler(t, found(&resolver.Answer{Targets: []resolver.Target{target}}))
	if body, _, err := fetch(t, h, http.Header{"Range": {"bytes=0-"}, "If-Range": {`"1"`}}); body != "ok" {
		t.Fatal(body, err)
	}
	for i, r := range append(first.requests, second.requests...) {
		if r.Header.Get("Referer") != "" || r.Header.Get("Cookie") != "" {
			t.Errorf("%d: got header %v", i, r.Header)
		}
		if r.Header.Get("Range") != "bytes=0-" || r.Header.Get("If-Range") != `"1"` || r.Header.Get("Accept-Encoding") != "identity" {
			t.Errorf("%d: got header %v", i, r.Header)
		}
	}
	for i, want := range []string{"theirs", "theirs"} { // at its own host
		if got := first.requests[i].Header; got.Get("X-Api-Key") != "secret" || got.Get("Authorization") != "secret" || got.Get("User-Agent") != want {
			t.Errorf("%d: got header %v", i, got)
		}
	}
	if got := second.requests[0].Header; got.Get("X-Api-Key") != "" || got.Get("Authorization") != "" || got.Get("User-Agent") != edgeName {
		t.Errorf("at another host: got header %v", got)
	}
	want := http.Header{"Authorization": {"secret"}, "X-Api-Key": {"secret"}, "User-Agent": {"theirs"}}
	if !reflect.DeepEqual(target.Header, want) || target.URL.Host != strings.TrimPrefix(first.URL, "http://") {
		t.Errorf("the target has changed: %v", target)
	}
}

// Connections outlive answers that are not used, as long as those are small.
func TestConnectionReuse(t *testing.T) {
	origin := newTestOrigin(t)
	h := newTestHandler(t, at(origin.all("/status/404", "/status/503", "/type/text/html", "/ok")...))
	for range 3 {
		if body, _, err := fetch(t, h, nil); body != "ok" {
			t.Fatal(body, err)
		}
	}
	if origin.conns != 1 {
		t.Errorf("took %d connections", origin.conns)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestFailures(t *testing.T) {
	resolved := at("https://upstream.example/song?X-Amz-Signature=secret")
	broken := func(err error) resolverFunc {
		return func(resolver.Asset) (*resolver.Answer, error) { return nil, err }
	}
	for _, c := range []struct {
		name     string
		resolver resolver.Resolver
		err      error // of the transport
		status   int
		reason   string
	}{
		{"forbidden", resolved, fmt.Errorf("%w: upstream.example", resolver.ErrForbidden), 502, "forbidden"},
		{"timeout", resolved, &net.OpError{Op: "dial", Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}, Err: context.DeadlineExceeded}, 504, "timeout"},
		{"name", resolved, &net.DNSError{Name: "upstream.example", Server: "192.0.2.1:53"}, 502, "dns"},
		{"resolver", broken(errors.New("upstream.example: secret")), nil, 502, "other"},
		{"slow resolver", broken(fmt.Errorf("upstream.example: %w", context.DeadlineExceeded)), nil, 504, "timeout"},
		{"resolver without places", found(&resolver.Answer{}), nil, 502, "other"},
		{"panic", resolverFunc(func(resolver.Asset) (*resolver.Answer, error) { panic("secret") }), nil, 502, "panic"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newTestHandler(t, c.resolver)
			h.client = roundTripper(func(*http.Request) (*http.Response, error) { return nil, c.err })
			logs := observe(h)
			w := serve(t, h, "GET", "/cdn/stream/"+testID, nil)
			if got := w.Body.String(); w.Code != c.status || got != `{"error":"VOYO stream temporarily unavailable"}`+"\n" {
				t.Errorf("got %d %s", w.Code, got)
			}
			warnings := logs.FilterLevelExact(zapcore.WarnLevel).All()
			if len(warnings) != 1 {
				t.Fatalf("logged:\n%s", dump(t, logs))
			}
			want := map[string]any{"id": testVOYO, "kind": "stream", "resolvers": []any{"test0"}, "reasons": []any{c.reason}}
			if got := warnings[0].ContextMap(); !reflect.DeepEqual(got, want) {
				t.Errorf("logged %v", got)
			}
			for _, word := range []string{"secret", "upstream.example", "192.0.2.1"} {
				if text := dump(t, logs); strings.Contains(text, word) {
					t.Errorf("%q shows in:\n%s", word, text)
				}
			}
			if got := len(logs.FilterLevelExact(zapcore.ErrorLevel).All()); got != map[bool]int{true: 1}[c.name == "panic"] {
				t.Errorf("logged %d errors", got)
			}
			serve(t, h, "GET", "/cdn/stream/"+testID, nil)
			serve(t, h, "GET", "/cdn/stream/"+testID, nil)
			w = serve(t, h, "GET", "/health", nil)
			if w.Code != 503 || !strings.Contains(w.Body.String(), `"reasons":["resolver test0: `+c.reason+`"]`) {
				t.Errorf("health says %s", w.Body)
			}
		})
	}
}

// What takes all the time there is has timed out, and costs no other resolver its
// good name.
func TestOutOfTime(t *testing.T) {
	for _, name := range []string{"resolver", "upstream"} {
		ctx, cancel := context.WithCancelCause(t.Context())
		first := resolverFunc(func(resolver.Asset) (*resolver.Answer, error) {
			if name == "resolver" {
				cancel(cache.ErrStalled)
			}
			return &resolver.Answer{Targets: targets("https://upstream.example")}, nil
		})
		h := newTestHandler(t, first, found(nil))
		h.client = roundTripper(func(r *http.Request) (*http.Response, error) {
			cancel(cache.ErrStalled)
			return nil, r.Context().Err()
		})
		logs := observe(h)
		_, err := h.upstream(newTestRequest("GET", "/", nil), testAsset).fetch(ctx, nil)
		if !errors.Is(err, failure{reason: reasonTimeout}) || problemOf(resolver.Stream, err) != errSlow {
			t.Errorf("%s: got %v", name, err)
		}
		if logs.FilterLevelExact(zapcore.WarnLevel).Len() != 1 || len(h.state.pulses.byName) != 1 {
			t.Errorf("%s: %v, logged:\n%s", name, h.state.pulses.byName, dump(t, logs))
		}
	}
}

func TestNotFound(t *testing.T) {
	origin := newTestOrigin(t)
	for name, r := range map[string]resolver.Resolver{"resolver": found(nil), "upstream": at(origin.all("/status/404")...)} {
		h := newTestHandler(t, r)
		logs := observe(h)
		for target, message := range map[string]string{
			"/cdn/stream/" + testID: "Content not found in VOYO library",
			"/cdn/art/" + testID:    "Album art temporarily unavailable",
		} {
			w := serve(t, h, "GET", target, nil)
			if got := w.Body.String(); w.Code != 404 || got != `{"error":"`+message+`"}`+"\n" {
				t.Errorf("%s, %s: got %d %s", name, target, w.Code, got)
			}
		}
		if logs.Len() > 0 || len(h.state.pulses.byName) > 0 {
			t.Errorf("%s: it counts as a failure:\n%s", name, dump(t, logs))
		}
	}
}

// A page where a cover should be is not the end of the search.
func TestMislabelledCoverFailsOver(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/page" {
			w.Header().Set("Content-Type", "image/png")
			_, _ = w.Write([]byte("<html>not here</html>"))
			return
		}
		_, _ = w.Write(testPNG)
	}))
	defer srv.Close()
	h := newTestHandler(t, at(srv.URL+"/page", srv.URL+"/png"))
	if w := serve(t, h, "GET", "/cdn/art/"+testID, nil); w.Code != 200 || !bytes.Equal(w.Body.Bytes(), testPNG) {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

// A place whose error answer hangs does not keep the next one from being asked.
func TestHangingErrorFailsOver(t *testing.T) {
	asked := make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/hang" {
			w.Header().Set("Content-Length", "100")
			w.WriteHeader(http.StatusServiceUnavailable)
			_ = http.NewResponseController(w).Flush()
			<-asked
			return
		}
		close(asked)
		http.ServeContent(w, r, "song.mp3", time.Time{}, bytes.NewReader(make([]byte, 1000)))
	}))
	defer srv.Close()
	h := newTestHandler(t, at(srv.URL+"/hang", srv.URL+"/song.mp3"))
	if w := serve(t, h, "GET", "/cdn/stream/"+testID, nil); w.Code != 200 {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}

// Only the type that was checked is passed on.
func TestOneContentType(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Content-Type"] = []string{"audio/ogg", "text/html"}
		_, _ = w.Write([]byte("<script>"))
	}))
	defer srv.Close()
	h := newTestHandler(t, at(srv.URL+"/song.opus"))
	w := serve(t, h, "GET", "/cdn/stream/"+testID, nil)
	if got := w.Header()["Content-Type"]; w.Code != 200 || len(got) != 1 || got[0] != "audio/ogg" {
		t.Errorf("got %d %q", w.Code, got)
	}
}

// A substitute may have been modified at the same time as what it stands in for, so that
// neither can be confirmed by the other.
func TestSubstituteIsNotConfirmedByDate(t *testing.T) {
	modified := time.Date(2020, 1, 2, 3, 4, 5, 0, time.UTC)
	there := map[string]bool{"/64": true}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !there[r.URL.Path] {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "audio/ogg")
		http.ServeContent(w, r, "", modified, strings.NewReader(r.URL.Path))
	}))
	defer srv.Close()
	h := newTestHandler(t, resolverFunc(func(a resolver.Asset) (*resolver.Answer, error) {
		return &resolver.Answer{Targets: targets(fmt.Sprintf("%s/%d", srv.URL, a.Bitrate))}, nil
	}))
	h.streamPolicy.TTL = time.Nanosecond // all that is kept is stale
	path := "/cdn/stream/" + testID
	for _, c := range []struct {
		there string
		want  string
	}{{"/64", "/64"}, {"/128", "/128"}, {"/64", "/64"}, {"/128", "/128"}} {
		clear(there)
		there[c.there] = true
		if got := serve(t, h, "GET", path, nil).Body.String(); got != c.want {
			t.Errorf("%s is there: got %s", c.there, got)
		}
	}
	_, resp, err := fetch(t, h, nil)
	if date := modified.Format(http.TimeFormat); err != nil || resp.Header.Get("Last-Modified") != date {
		t.Errorf("what is no substitute has lost its date: %v, %v", resp, err)
	}
}
