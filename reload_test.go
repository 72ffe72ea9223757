package voyo_test

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/goleak"

	voyo "github.com/voyo-music/caddy-voyo"
)

func init() {
	caddy.RegisterModule(failingApp{})
}

// failingApp is an app that can't be started.
type failingApp struct{}

func (failingApp) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "voyo_test_failing", New: func() caddy.Module { return new(failingApp) }}
}

func (*failingApp) Start() error { return errors.New("can't be started") }
func (*failingApp) Stop() error  { return nil }

// loadWithFailingApp loads a site together with an app that can't be started.
// Which is started first is a matter of chance.
func (e *edge) loadWithFailingApp(t *testing.T, site string) error {
	t.Helper()
	config := string(e.adapt(t, site))
	return e.loadJSON(t, []byte(strings.Replace(config, `"apps":{`, `"apps":{"voyo_test_failing":{},`, 1)))
}

// newLibrary returns an origin with tracks and covers, which are numbered.
func newLibrary(t *testing.T, tracks int) *origin {
	t.Helper()
	files := make(map[string]string)
	for i := range tracks {
		id := sourceID(i)
		files["/128/"+id+".opus"] = fakeTrack(1000 + i)
		files["/art/"+id+"/hqdefault.png"] = fakeCover(id, 1000)
	}
	return fileOrigin(t, files)
}

// covers asks for all covers and returns how many were cached.
func (e *edge) covers(t *testing.T, n int) (hits int) {
	t.Helper()
	for i := range n {
		if e.mustGet(t, "/cdn/art/"+sourceID(i), fakeCover(sourceID(i), 1000)) {
			hits++
		}
	}
	return hits
}

func TestReloadKeepsTheCache(t *testing.T) {
	const covers = 20
	o := newLibrary(t, covers)
	site := func(more string) string { return "voyo {\n" + template(o.URL) + "\n" + more + "\n}" }
	e := startEdge(t, site(""))
	e.covers(t, covers)

	for _, more := range []string{"", "location_ttl 1h", "allowed_origins *", "art {\nttl 1h\n}", "public_url https://edge.test"} {
		if err := e.load(t, site(more)); err != nil {
			t.Fatal(err)
		}
		if hits := e.covers(t, covers); hits != covers {
			t.Errorf("after a reload with %q: %d hits of %d", more, hits, covers)
		}
	}
	if n := len(o.asked("/art/")); n != covers {
		t.Errorf("the upstream was asked %d times for %d covers", n, covers)
	}
	if err := e.load(t, site("art {\nentries 5\n}")); err != nil {
		t.Fatal(err)
	}
	if n := e.health(t).Cache.ThumbnailCacheSize; n != 5 {
		t.Errorf("%d covers are kept after a reload to 5", n)
	}
	if err := e.load(t, site("art {\nentries 50\n}")); err != nil {
		t.Fatal(err)
	}
	e.covers(t, covers)
	if n := e.health(t).Cache.ThumbnailCacheSize; n != covers {
		t.Errorf("%d covers are kept after a reload to 50", n)
	}
	if err := e.load(t, strings.Replace(site(""), o.URL, o.URL+"/elsewhere", 2)); err != nil {
		t.Fatal(err)
	}
	if a := e.get(t, "/cdn/art/"+sourceID(0)); a.status != http.StatusNotFound {
		t.Errorf("another upstream's cover is served: %s", a)
	}
}

func TestFailedReloadChangesNothing(t *testing.T) {
	const covers = 20
	o := newLibrary(t, covers)
	site := func(more string) string { return "voyo {\n" + template(o.URL) + "\n" + more + "\n}" }
	e := startEdge(t, site("allowed_origins "+page))
	e.covers(t, covers)
	unchanged := func(t *testing.T, err error) {
		t.Helper()
		if err == nil {
			t.Fatal("it was loaded")
		}
		if hits := e.covers(t, covers); hits != covers {
			t.Errorf("%d hits of %d", hits, covers)
		}
		for origin, want := range map[string]string{page: page, other: ""} {
			if got := e.do(t, http.MethodGet, "/health", with("Origin", origin)).header.Get("Access-Control-Allow-Origin"); got != want {
				t.Errorf("origin %s: %q is allowed", origin, got)
			}
		}
	}
	for name, more := range map[string]string{
		"missing secret":    "allowed_origins {file." + filepath.Join(t.TempDir(), "missing") + "}",
		"useless":           "enforce_origins",
		"malformed origin":  "allowed_origins nonsense",
		"malformed CIDR":    "allowed_upstreams 10.0.0.0/99",
		"unsafe transport":  "transport http {\ntls_insecure_skip_verify\n}",
		"object over limit": "art {\nmemory 1MiB\nmax_object 2MiB\n}",
	} {
		t.Run(name, func(t *testing.T) { unchanged(t, e.load(t, site(more))) })
	}
	t.Run("two handlers, one fails", func(t *testing.T) {
		unchanged(t, e.load(t, "handle /x* {\n"+site("art {\nentries 1\n}")+"\n}\nhandle {\n"+site("enforce_origins")+"\n}"))
	})
	for range 10 {
		t.Run("other app", func(t *testing.T) {
			unchanged(t, e.loadWithFailingApp(t, site("allowed_origins "+other+"\nart {\nentries 1\n}")))
		})
	}
}

// A stream that is under way goes on to its end, whatever is loaded meanwhile.
func TestReloadKeepsStreams(t *testing.T) {
	track := fakeTrack(2 << 20)
	half := len(track) / 2
	goOn := make(chan struct{})
	slow := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "audio/ogg")
		_, _ = io.WriteString(w, track[:half])
		_ = http.NewResponseController(w).Flush()
		select {
		case <-goOn:
			_, _ = io.WriteString(w, track[half:])
		case <-r.Context().Done():
		}
	})
	o := newLibrary(t, 1)
	e := startEdge(t, "voyo {\n"+template(slow.URL)+"\n}")
	resp := e.request(t, http.MethodGet, "/cdn/stream/"+songVOYO, nil)
	got := make([]byte, len(track))
	if _, err := io.ReadFull(resp.Body, got[:half]); err != nil {
		t.Fatal(err)
	}
	for name, site := range map[string]string{
		"the same":       "voyo {\n" + template(slow.URL) + "\n}",
		"something else": "voyo {\n" + template(o.URL) + "\n}",
		"nothing":        "respond nothing",
	} {
		if err := e.load(t, site); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := e.loadWithFailingApp(t, site); err == nil {
			t.Fatalf("%s: was loaded", name)
		}
	}
	close(goOn)
	if _, err := io.ReadFull(resp.Body, got[half:]); err != nil {
		t.Fatal(err)
	}
	if string(got) != track {
		t.Error("other bytes")
	}
	if n, err := resp.Body.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		t.Errorf("at the end: %d bytes, %v", n, err)
	}
	if n := len(slow.asked("/")); n != 1 {
		t.Errorf("the upstream was asked %d times", n)
	}
}

func TestReloadRotatesSecrets(t *testing.T) {
	key := filepath.Join(t.TempDir(), "key")
	rotate := func(secret string) {
		t.Helper()
		if err := os.WriteFile(key, []byte(secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	o := newLibrary(t, 3)
	s := newService(t)
	for i := range 3 {
		s.tell(sourceID(i), o.URL+"/128/"+sourceID(i)+".opus")
	}
	site := fmt.Sprintf(`voyo {
		%s {
			header Authorization "Bearer {file.%s}"
		}
		resolver template {
			art %s/art/{http.voyo.id}/{http.voyo.image}.png
		}
	}`, s.config(), key, o.URL)
	rotate("old")
	e := startEdge(t, site)
	stream := func(i int) {
		t.Helper()
		e.mustGet(t, "/cdn/stream/"+sourceID(i), fakeTrack(1000+i))
	}
	e.covers(t, 3)
	stream(0)
	rotate("new")
	stream(1) // nothing has been loaded yet
	if err := e.load(t, site); err != nil {
		t.Fatal(err)
	}
	stream(2)
	var sent []string
	for _, r := range s.asked("/") {
		sent = append(sent, r.Header.Get("Authorization"))
	}
	if want := []string{"Bearer old", "Bearer old", "Bearer new"}; !slices.Equal(sent, want) {
		t.Errorf("the service was sent %q, want %q", sent, want)
	}
	if hits := e.covers(t, 3); hits != 3 {
		t.Errorf("%d hits of 3 after the reload", hits)
	}
	if err := os.Remove(key); err != nil {
		t.Fatal(err)
	}
	if err := e.load(t, site); err == nil {
		t.Error("was loaded without its secret")
	}
	if hits := e.covers(t, 3); hits != 3 {
		t.Errorf("%d hits of 3 after the failed reload", hits)
	}
}

// A hundred reloads, every second of which fails, leave nothing behind.
func TestHundredReloads(t *testing.T) {
	leaks := goleak.IgnoreCurrent()
	o := newLibrary(t, 3)
	site := func(more string) string { return "voyo {\n" + template(o.URL) + "\n" + more + "\n}" }
	e := startEdge(t, site(""))
	e.covers(t, 3)
	var early usage
	for i := range 100 {
		if err := e.load(t, site(fmt.Sprintf("location_ttl %dm\nart {\nentries %d\n}", i+1, i+3))); err != nil {
			t.Fatal(err)
		}
		failing := []func() error{
			func() error { return e.load(t, site("enforce_origins")) },
			func() error { return e.load(t, site("allowed_origins nonsense")) },
			func() error { return e.loadWithFailingApp(t, site("")) },
			func() error { return e.loadWithFailingApp(t, site(fmt.Sprintf("allowed_upstreams x%d.test", i))) },
		}[i%4]
		if failing() == nil {
			t.Fatal("it was loaded")
		}
		if hits := e.covers(t, 3); hits != 3 {
			t.Fatalf("%d hits of 3 after %d reloads", hits, i)
		}
		e.mustGet(t, "/cdn/stream/"+sourceID(0), fakeTrack(1000))
		if i == 10 {
			early = e.settledUsage(t)
		}
	}
	if late := e.settledUsage(t); late.goroutines > early.goroutines+10 || late.files > early.files+5 {
		t.Errorf("%+v after 10 reloads, %+v after 100", early, late)
	}
	if n := len(o.asked("/art/")); n != 3 {
		t.Errorf("the upstream was asked %d times for 3 covers", n)
	}
	e.stop(t)
	e.client.CloseIdleConnections()
	o.Close()
	if n := voyo.StatesInUse(); n != 0 {
		t.Errorf("%d states are left", n)
	}
	goleak.VerifyNone(t, leaks,
		// it sleeps for 5 seconds before it sees that its lock is gone
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"))
}

// usage is what the process uses of things that are limited.
type usage struct{ goroutines, files int }

// settledUsage returns the usage without what is about to be given back: that of
// connections that nobody uses.
func (e *edge) settledUsage(t *testing.T) usage {
	t.Helper()
	return settle(t, e.node, measureUsage)
}

// settle measures a node's usage until it does not go down any more.
func settle(t *testing.T, n node, measure func(*testing.T) usage) (least usage) {
	t.Helper()
	same := 0 // for how many measurements
	eventually(t, "the usage does not go down any more", func() bool {
		n.client.CloseIdleConnections()
		now := measure(t)
		if same == 0 {
			least = now
		}
		if now.goroutines < least.goroutines || now.files < least.files {
			same = 0
		}
		least = usage{min(now.goroutines, least.goroutines), min(now.files, least.files)}
		same++
		return same > 50
	})
	return least
}

func measureUsage(t *testing.T) usage {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return usage{runtime.NumGoroutine(), len(files)}
}
