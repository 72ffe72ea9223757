package voyo_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/voyo-music/caddy-voyo"
)

// The tests in this package see the edge as clients do: through a Caddy that
// runs in this process, or in one of its own where that matters. There is one
// Caddy in a process, so none of them runs in parallel with another.

// The IDs of a track of the demo, and of tests that need no more than one.
const (
	songID   = "OSBan_sH_b8"
	songVOYO = "vyo_T1NCYW5fc0hfYjg"
)

// patience is how long the tests wait for what is certain to happen.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	status := m.Run()
	if dir := caddyDir(); dir != "" {
		os.RemoveAll(dir)
	}
	os.Exit(status)
}

// eventually waits for what other goroutines are about to do.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	retry := time.NewTicker(5 * time.Millisecond)
	defer retry.Stop()
	deadline := time.After(patience)
	for !done() {
		select {
		case <-retry.C:
		case <-deadline:
			t.Fatalf("still not after %s: %s", patience, what)
		}
	}
}

// await waits for a channel to be closed, or for a value from it.
func await[T any](t *testing.T, what string, c <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-c:
	case <-time.After(patience):
		t.Fatalf("still not after %s: %s", patience, what)
	}
	return v
}

// node is an edge as its clients see it.
type node struct {
	url    string
	client *http.Client
}

func newNode(t *testing.T, port string) node {
	t.Helper()
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return node{"http://127.0.0.1:" + port, &http.Client{Transport: transport}}
}

// answer is what a client got.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// String is the answer as it was on the wire.
func (a answer) String() string {
	var b strings.Builder
	fmt.Fprintln(&b, a.status)
	_ = a.header.Write(&b)
	b.Write(a.body)
	return b.String()
}

// with returns a header, of pairs of a name and a value.
func with(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

// request makes a request and leaves it to the test to read the answer's body.
func (n node) request(t *testing.T, method, path string, header http.Header) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, n.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		r.Header = header
	}
	resp, err := n.client.Do(r)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// isUnanswered reports whether a connection was closed with a request on it that nobody
// had looked at. A server that net/http shuts down does that to those whose request it has
// read but not begun to handle, and the system to those that it had not accepted.
func isUnanswered(err error) bool {
	_, ok := errors.AsType[*url.Error](err) // which an error of a body is not
	return ok && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET))
}

// do makes a request and reads the answer to its end.
func (n node) do(t *testing.T, method, path string, header http.Header) answer {
	t.Helper()
	resp := n.request(t, method, path, header)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	return answer{resp.StatusCode, resp.Header, body}
}

func (n node) get(t *testing.T, path string) answer {
	t.Helper()
	return n.do(t, http.MethodGet, path, nil)
}

// mustGet gets what must be there, and reports whether it came out of the cache.
func (n node) mustGet(t *testing.T, path, want string) (hit bool) {
	t.Helper()
	a := n.get(t, path)
	if a.status != http.StatusOK || string(a.body) != want {
		t.Fatalf("GET %s: got %d and %d bytes %.40q, want 200 and %d bytes %.40q", path, a.status, len(a.body), a.body, len(want), want)
	}
	return strings.Contains(a.header.Get("Cache-Status"), "; hit")
}

// health is what the tests read of /health.
type health struct {
	Status string
	Cache  struct {
		StreamCacheSize, ThumbnailCacheSize, PrefetchCacheSize int
		Stats                                                  struct {
			ThumbnailHits, ThumbnailMisses, ActiveStreams int
		}
	}
}

func (n node) health(t *testing.T) (h health) {
	t.Helper()
	a := n.get(t, "/health")
	if err := json.Unmarshal(a.body, &h); err != nil {
		t.Fatalf("/health: %v: %s", err, a)
	}
	return h
}

// edge is a Caddy in this process.
type edge struct {
	node

	port    string
	admin   string // where the admin API is; "off" if there is none
	dir     string
	running bool
}

// startEdge starts Caddy with a site that is given as in a Caddyfile.
func startEdge(t *testing.T, site string) *edge {
	t.Helper()
	e := newEdge(t)
	if err := e.load(t, site); err != nil {
		t.Fatal(err)
	}
	return e
}

// newEdge returns an edge that has no configuration yet. It is stopped when the
// test ends.
func newEdge(t *testing.T) *edge {
	t.Helper()
	port := holdPort(t)
	e := &edge{node: newNode(t, port), port: port, admin: "off", dir: t.TempDir()}
	t.Cleanup(func() { e.stop(t) })
	return e
}

// adapt returns the configuration as JSON of a site that has no mistake which can be seen
// before it is loaded.
func (e *edge) adapt(t *testing.T, site string) []byte {
	t.Helper()
	config, err := e.tryAdapt(site)
	if err != nil {
		t.Fatalf("%v in:\n%s", err, site)
	}
	return config
}

func (e *edge) tryAdapt(site string) ([]byte, error) {
	caddyfile := fmt.Sprintf(`{
		admin %[5]s
		persist_config off
		auto_https off
		storage file_system %[1]s/storage
		log {
			output file %[1]s/log {
				roll_disabled
			}
			level DEBUG
		}
	}
	:%[2]s {
		bind %[3]s/127.0.0.1
		log
		%[4]s
	}`, e.dir, e.port, heldNetwork, site, e.admin)
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), nil)
	return config, err
}

// load makes the site the one that is served, be it the first or another one.
func (e *edge) load(t *testing.T, site string) error {
	t.Helper()
	config, err := e.tryAdapt(site)
	if err != nil {
		return err
	}
	return e.loadJSON(t, config)
}

// loadJSON loads a whole configuration. Afterwards requests are answered by what
// it says, or, if it failed, by what was there before.
func (e *edge) loadJSON(t *testing.T, config []byte) error {
	t.Helper()
	err := caddy.Load(config, true)
	listeners := 0
	if e.running = e.running || err == nil; e.running {
		listeners = 1
	}
	awaitListeners(t, listeners)
	e.client.CloseIdleConnections()
	return err
}

// stop stops Caddy. It may be called again.
func (e *edge) stop(t *testing.T) {
	t.Helper()
	if err := caddy.Stop(); err != nil {
		t.Error(err)
	}
	e.running = false
	awaitListeners(t, 0)
}

// logged stops the edge and returns all that it has logged.
func (e *edge) logged(t *testing.T) string {
	t.Helper()
	e.stop(t)
	return e.log(t)
}

// log returns what the edge has logged so far.
func (e *edge) log(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(e.dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// origin is an upstream on the loopback interface.
type origin struct {
	*httptest.Server

	mu       sync.Mutex
	requests []*http.Request
}

func newOrigin(t *testing.T, h http.HandlerFunc) *origin {
	t.Helper()
	o := &origin{}
	o.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		o.mu.Lock()
		o.requests = append(o.requests, r)
		o.mu.Unlock()
		h(w, r)
	}))
	t.Cleanup(o.Close)
	return o
}

// asked returns the requests for paths that begin so.
func (o *origin) asked(prefix string) (requests []*http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range o.requests {
		if strings.HasPrefix(r.URL.Path, prefix) {
			requests = append(requests, r)
		}
	}
	return requests
}

func (o *origin) host() string { return o.Listener.Addr().String() }

// fileOrigin serves files, which are given by their paths.
func fileOrigin(t *testing.T, files map[string]string) *origin {
	t.Helper()
	return newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		body, ok := files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Etag", `"v1"`)
		http.ServeContent(w, r, r.URL.Path, time.Time{}, strings.NewReader(body))
	})
}

// template configures a resolver for an upstream with tracks and covers.
func template(origin string) string {
	return fmt.Sprintf(`resolver template {
		audio %s/{http.voyo.bitrate}/{http.voyo.id}.opus
		art %[1]s/art/{http.voyo.id}/{http.voyo.image}.png
	}`, origin)
}

// sourceID returns one of many IDs.
func sourceID(i int) string { return fmt.Sprintf("%011d", i) }

// fakeTrack returns bytes that pass for a track. No two pieces of it are alike.
func fakeTrack(size int) string {
	return numbered("OggS\x00", size)
}

// fakeCover returns bytes that pass for a picture, and differ by name.
func fakeCover(name string, size int) string {
	return numbered("\x89PNG\r\n\x1a\n"+name, size)
}

func numbered(head string, size int) string {
	b := make([]byte, 0, size+16)
	b = append(b, head...)
	for len(b) < size {
		b = fmt.Appendf(b, " %d", len(b))
	}
	return string(b[:size])
}

// repositoryFile returns a file's path wherever the test's process runs.
func repositoryFile(t *testing.T, name string) string {
	t.Helper()
	_, here, _, ok := runtime.Caller(0)
	if !ok {
		t.Fatal("no caller")
	}
	return filepath.Join(filepath.Dir(here), filepath.FromSlash(name))
}

func readRepository(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(repositoryFile(t, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
