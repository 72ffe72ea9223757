package voyo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/voyo-music/caddy-voyo/cache"
	"github.com/voyo-music/caddy-voyo/internal/ports/portstest"
	"github.com/voyo-music/caddy-voyo/resolver"
)

// resolverFunc is a resolver made of a function.
type resolverFunc func(resolver.Asset) (*resolver.Answer, error)

func (f resolverFunc) Resolve(_ context.Context, a resolver.Asset) (*resolver.Answer, error) {
	return f(a)
}

// at is a resolver that knows one list of places for every asset, as an API would
// tell them.
func at(urls ...string) resolverFunc {
	return func(resolver.Asset) (*resolver.Answer, error) {
		return &resolver.Answer{Targets: targets(urls...)}, nil
	}
}

func targets(urls ...string) (list []resolver.Target) {
	for _, s := range urls {
		u, err := url.Parse(s)
		if err != nil {
			panic(err)
		}
		list = append(list, resolver.Target{URL: u})
	}
	return list
}

// found is a resolver that always says the same, and knows nothing without an
// answer to give.
func found(ans *resolver.Answer) resolverFunc {
	return func(resolver.Asset) (*resolver.Answer, error) {
		if ans == nil {
			return nil, resolver.ErrNotFound
		}
		return ans, nil
	}
}

// unused returns an address at which nobody listens, nor will before the test has ended.
func unused(t *testing.T) string {
	t.Helper()
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(portstest.Reserve(t)))
}

// newTestHandler returns a handler with resolvers named test0, test1, ... that
// talks to anything.
func newTestHandler(t testing.TB, resolvers ...resolver.Resolver) *Handler {
	t.Helper()
	transport := &http.Transport{}
	h := &Handler{
		logger:       zap.NewNop(),
		memoTTL:      time.Hour,
		client:       transport,
		rawIDs:       true,
		artPolicy:    cache.Policy{TTL: time.Hour, NegativeTTL: time.Minute, MaxAge: time.Hour, MaxObject: 1 << 20, Admit: admitImage},
		streamPolicy: cache.Policy{TTL: time.Hour, NegativeTTL: time.Minute, MaxAge: time.Hour},
		state: &state{
			art:     cache.New(cache.Limits{Entries: 100, Memory: 1 << 20}),
			streams: cache.New(cache.Limits{Memory: 4 << 20, Slice: 64 << 10}),
			pages:   cache.New(cache.Limits{Memory: 1 << 20}),
			memo:    resolver.NewMemo(100),
			warming: newMarks(),
			started: time.Now(),
		},
		limiter: newLimiter(rates{}),
	}
	for i, r := range resolvers {
		name := "test" + strconv.Itoa(i)
		h.resolvers = append(h.resolvers, namedResolver{Resolver: r, name: strconv.Itoa(i) + "/" + name, display: name})
	}
	t.Cleanup(func() {
		if err := h.state.Destruct(); err != nil {
			t.Error(err)
		}
		transport.CloseIdleConnections()
	})
	return h
}

// observe returns what the handler logs.
func observe(h *Handler) *observer.ObservedLogs {
	core, logs := observer.New(zapcore.DebugLevel)
	h.logger = zap.New(core)
	return logs
}

// dump returns all that was logged, as text.
func dump(t *testing.T, logs *observer.ObservedLogs) string {
	t.Helper()
	var b strings.Builder
	for _, e := range logs.All() {
		fields, err := json.Marshal(e.ContextMap())
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString(e.Message + " " + string(fields) + "\n")
	}
	return b.String()
}

// newTestRequest returns a request as Caddy's server passes it on.
func newTestRequest(method, target string, header http.Header) *http.Request {
	r := httptest.NewRequest(method, target, nil)
	maps.Copy(r.Header, header)
	if len(r.Header["Origin"]) == 0 {
		delete(r.Header, "Origin")
	}
	return r.WithContext(withReplacer(r.Context()))
}

func withReplacer(ctx context.Context) context.Context {
	return context.WithValue(ctx, caddy.ReplacerCtxKey, caddy.NewReplacer())
}

var errNext = errors.New("next handler")

// serve has a request answered.
func serve(t *testing.T, h *Handler, method, target string, header http.Header) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	if err := serveRequest(h, w, newTestRequest(method, target, header)); err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	return w
}

func serveRequest(h *Handler, w http.ResponseWriter, r *http.Request) error {
	return h.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error { return errNext }))
}

// placeholder returns what {http.voyo.<name>} is for the request.
func placeholder(r *http.Request, name string) string {
	s, _ := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer).GetString("http.voyo." + name)
	return s
}

func TestNextHandler(t *testing.T) {
	h := newTestHandler(t, found(nil))
	h.EnforceOrigins = true
	w := httptest.NewRecorder()
	err := serveRequest(h, w, newTestRequest("POST", "/other", http.Header{"Origin": {"https://evil.example"}}))
	if err != errNext || len(w.Header()) > 0 {
		t.Errorf("got %v and header %v", err, w.Header())
	}
}

func TestMethods(t *testing.T) {
	h := newTestHandler(t, found(nil))
	for _, method := range []string{"POST", "PUT", "DELETE", "PATCH", "TRACE", "PURGE"} {
		for _, target := range []string{"/health", "/cdn/stream/" + testID, "/proxy", "/cdn/art/not-an-id"} {
			w := serve(t, h, method, target, nil)
			if w.Code != http.StatusMethodNotAllowed || w.Header().Get("Allow") != "GET, HEAD, OPTIONS" {
				t.Errorf("%s %s: got %d, Allow %q", method, target, w.Code, w.Header().Get("Allow"))
			}
			if got := w.Body.String(); got != `{"error":"Method not allowed"}`+"\n" {
				t.Errorf("%s %s: got %s", method, target, got)
			}
		}
	}
}

func TestStream(t *testing.T) {
	song := bytes.Repeat([]byte("voyo"), 50_000)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", `"1"`)
		w.Header().Set("Set-Cookie", "session=1")
		w.Header().Set("X-Amz-Request-Id", "1")
		w.Header().Set("Content-Type", "application/octet-stream")
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(song))
	}))
	defer srv.Close()
	h := newTestHandler(t, at(srv.URL+"/song.opus"))

	for _, c := range []struct {
		method, rng string
		status      int
		length      string
		body        []byte
		cache       string
	}{
		{"GET", "bytes=-5", 206, "5", song[199995:], "miss"},
		{"GET", "", 200, "200000", song, "partial"},
		{"GET", "bytes=0-1", 206, "2", song[:2], "hit"},
		{"GET", "bytes=0-", 206, "200000", song, "hit"},
		{"GET", "bytes=200000-", 416, "", nil, "hit"},
		{"HEAD", "", 200, "200000", nil, "hit"},
	} {
		header := http.Header{"Cookie": {"a=b"}}
		if c.rng != "" {
			header.Set("Range", c.rng)
		}
		r := newTestRequest(c.method, "/cdn/stream/"+testVOYO+"?quality=medium", header)
		w := httptest.NewRecorder()
		if err := serveRequest(h, w, r); err != nil {
			t.Fatalf("%s %q: %v", c.method, c.rng, err)
		}
		if w.Code != c.status || c.status != 416 && !bytes.Equal(w.Body.Bytes(), c.body) {
			t.Errorf("%s %q: got %d and %d bytes", c.method, c.rng, w.Code, w.Body.Len())
		}
		got := w.Header()
		if got.Get("Content-Length") != c.length || got.Get("Vary") != "Origin" {
			t.Errorf("%s %q: got header %v", c.method, c.rng, got)
		}
		if c.status != 416 && (got.Get("Content-Type") != "audio/ogg" || got.Get("Etag") != `"1"`) {
			t.Errorf("%s %q: got header %v", c.method, c.rng, got)
		}
		if got.Get("Set-Cookie") != "" || got.Get("X-Amz-Request-Id") != "" {
			t.Errorf("%s %q: got header %v", c.method, c.rng, got)
		}
		source := "test0"
		if c.cache == "hit" {
			source = ""
		}
		for name, want := range map[string]string{
			"id": testID, "vyo_id": testVOYO, "kind": "stream", "type": "audio", "quality": "medium", "bitrate": "128",
			"image": "", "cache": c.cache, "resolver": source,
		} {
			if got := placeholder(r, name); got != want {
				t.Errorf("%s %q: {http.voyo.%s} is %q, want %q", c.method, c.rng, name, got, want)
			}
		}
	}
	if n := h.state.activeStreams.Load(); n != 0 {
		t.Errorf("%d streams are left", n)
	}
	if s := h.state.streams.Stats(); s.Hits != 4 || s.Misses != 2 {
		t.Errorf("got %d hits and %d misses", s.Hits, s.Misses)
	}
}

func TestArt(t *testing.T) {
	var fetches int
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fetches++
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write(testPNG)
	}))
	defer srv.Close()
	h := newTestHandler(t, at(srv.URL))

	for _, c := range []struct{ cache, resolver string }{{"miss", "test0"}, {"hit", ""}} {
		r := newTestRequest("GET", "/thumbnail?id="+testID+"&quality=max", nil)
		w := httptest.NewRecorder()
		if err := serveRequest(h, w, r); err != nil {
			t.Fatal(err)
		}
		if w.Code != 200 || w.Header().Get("Content-Type") != "image/png" || !bytes.Equal(w.Body.Bytes(), testPNG) {
			t.Errorf("got %d, %v", w.Code, w.Header())
		}
		for name, want := range map[string]string{
			"kind": "art", "type": "", "bitrate": "", "quality": "max", "image": "maxresdefault", "cache": c.cache, "resolver": c.resolver,
		} {
			if got := placeholder(r, name); got != want {
				t.Errorf("{http.voyo.%s} is %q, want %q", name, got, want)
			}
		}
		awaitArt(h, resolver.Asset{ID: testID, Kind: resolver.Art, Image: "maxresdefault"})
	}
	if fetches != 1 {
		t.Errorf("fetched %d times", fetches)
	}
}

// awaitArt waits until the cover is kept, which may be after it was answered with.
func awaitArt(h *Handler, a resolver.Asset) {
	for {
		if info, ok := h.state.art.Peek(context.Background(), a.Key()); ok && info.Head == info.Size {
			return
		}
		runtime.Gosched()
	}
}

// A stream that breaks off after its header ends in an aborted connection, and is
// no longer counted as active.
func TestAbortedStream(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		_, _ = w.Write(make([]byte, 100))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	defer srv.Close()
	h := newTestHandler(t, at(srv.URL))
	func() {
		defer func() {
			if v := recover(); v != http.ErrAbortHandler {
				t.Errorf("got %v", v)
			}
		}()
		serve(t, h, "GET", "/cdn/stream/"+testID, nil)
	}()
	if n := h.state.activeStreams.Load(); n != 0 {
		t.Errorf("%d streams are left", n)
	}
}

// A client that leaves while the upstream is waited for is no error of anyone's.
func TestClientGone(t *testing.T) {
	asked, leave := make(chan struct{}, 1), make(chan struct{})
	srv := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		asked <- struct{}{}
		<-leave
	}))
	defer srv.Close()
	defer close(leave)
	h := newTestHandler(t, at(srv.URL))
	logs := observe(h)

	for _, target := range []string{"/cdn/stream/" + testID, "/cdn/art/" + testID, "/exists/" + testID} {
		r := newTestRequest("GET", target, nil)
		ctx, cancel := context.WithCancel(r.Context())
		go func() {
			<-asked
			cancel()
		}()
		w := httptest.NewRecorder()
		err := serveRequest(h, w, r.WithContext(ctx))
		if he, ok := errors.AsType[caddyhttp.HandlerError](err); !ok || he.StatusCode != 499 || w.Body.Len() > 0 {
			t.Errorf("%s: got %v and %q", target, err, w.Body)
		}
	}
	if logs.Len() > 0 || h.ailments(time.Now()) != nil || len(h.state.pulses.byName) > 0 {
		t.Errorf("it counts as a failure:\n%s", dump(t, logs))
	}
}
