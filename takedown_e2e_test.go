package voyo_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	voyo "github.com/voyo-music/caddy-voyo"
	"github.com/voyo-music/caddy-voyo/internal/natstest"
)

// halting is an upstream that sends a part of each track, says so, and sends the rest when
// it is told to go on.
type halting struct {
	*origin

	begun, goOn chan struct{}
}

// newHalting returns an upstream that halts after so many bytes; below zero before the
// header.
func newHalting(t *testing.T, s song, after int64) halting {
	t.Helper()
	h := halting{begun: make(chan struct{}, 16), goOn: make(chan struct{})}
	h.origin = newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		if !strings.HasPrefix(r.URL.Path, "/128/"+s.id) {
			http.NotFound(w, r)
			return
		}
		halt := func() {
			h.begun <- struct{}{}
			select {
			case <-h.goOn:
			case <-r.Context().Done():
			}
		}
		body := s.reader()
		if after < 0 {
			halt()
		}
		w.Header().Set("Etag", s.etag())
		w.Header().Set("Content-Type", "audio/ogg")
		w.Header().Set("Content-Length", fmt.Sprint(s.size))
		if after >= 0 {
			_, _ = io.CopyN(w, body, after)
			_ = http.NewResponseController(w).Flush()
			halt()
		}
		_, _ = io.Copy(w, body)
	})
	return h
}

// takedownEdge starts an edge that is a fleet of its own.
func takedownEdge(t *testing.T, upstream string) (e *edge, dir string) {
	t.Helper()
	dir = t.TempDir()
	e = startAdminEdge(t, fleetSite(upstream, "a", natstest.Start(t, 1).URLs(), dir))
	e.awaitFleet(t, "")
	return e, dir
}

func (e *edge) takeDown(t *testing.T, s song, lift bool) {
	t.Helper()
	var got told
	e.administer(t, http.MethodPost, "/voyo/takedown", fmt.Sprintf(`{"ids": [%q], "lift": %t}`, s.id, lift), &got)
	if got.Nodes != 1 || len(got.Pending)+len(got.Failed) > 0 {
		t.Fatalf("%+v", got)
	}
}

// A track is taken down while it is being heard: what is under way may end, but nobody
// begins, and nothing of it is kept.
func TestTakedownWhileListening(t *testing.T) {
	s := newSong(songID, 1<<20)
	up := newHalting(t, s, 500_000)
	e, dir := takedownEdge(t, up.URL)
	resp := e.request(t, http.MethodGet, s.path(), nil)
	await(t, "it has begun", up.begun)
	if n, err := io.CopyN(io.Discard, resp.Body, 400_000); err != nil {
		t.Fatal(n, err)
	}
	eventually(t, "something is on disk", func() bool { return e.status(t).Caches["stream"].Disk.Slices > 0 })
	e.takeDown(t, s, false)
	e.mustBeTakenDown(t, s)
	mustNotKeep(t, dir, s)
	close(up.goOn)
	_, _ = io.Copy(io.Discard, resp.Body) // it may be broken off
	resp.Body.Close()
	eventually(t, "nothing is fetched any more", func() bool { return e.status(t).Caches["stream"].Fills == 0 })
	mustBeEmpty(t, e, dir)
	e.mustBeTakenDown(t, s)
	asked := len(up.asked("/128/"))
	if asked != 1 {
		t.Errorf("the upstream was asked %d times", asked)
	}
	e.takeDown(t, s, true)
	if e.mustHear(t, s) {
		t.Error("it was still there")
	}
}

// A track is taken down after a request for it was let through, and before the upstream has
// answered.
func TestTakedownWhileFetching(t *testing.T) {
	s := newSong(songID, 300_000)
	up := newHalting(t, s, -1)
	e, dir := takedownEdge(t, up.URL)
	answered := make(chan answer, 1)
	go func() { answered <- e.get(t, s.path()) }()
	await(t, "it has begun", up.begun)
	e.takeDown(t, s, false)
	close(up.goOn)
	a := await(t, "its answer", answered)
	if a.status != http.StatusOK && a.status != http.StatusUnavailableForLegalReasons {
		t.Errorf("%d, %s", a.status, a.header)
	}
	eventually(t, "nothing is fetched any more", func() bool { return e.status(t).Caches["stream"].Fills == 0 })
	mustBeEmpty(t, e, dir)
	e.mustBeTakenDown(t, s)
	e.takeDown(t, s, true)
	if e.mustHear(t, s) {
		t.Error("it was kept")
	}
}

// What is warmed, or asked of the admin API, is refused as well.
func TestTakedownForOperators(t *testing.T) {
	songs := newSongs(0, 2, 300_000)
	a := newArchive(t, songs...)
	e, dir := takedownEdge(t, a.URL)
	e.store(t, songs[:1])
	e.takeDown(t, songs[0], false)
	for _, want := range []string{"?wait", ""} {
		if got := e.administer(t, http.MethodPost, "/voyo/prefetch"+want, idsBody(songs[0]), nil); !strings.Contains(string(got.body), "legal reasons") {
			t.Errorf("prefetch%s: %s", want, got)
		}
	}
	if got := e.administer(t, http.MethodGet, "/voyo/explain?url="+songs[0].path(), "", nil); !strings.Contains(string(got.body), "taken down") {
		t.Errorf("explain: %s", got)
	}
	if got := string(e.administer(t, http.MethodGet, "/voyo/status", "", nil).body); !strings.Contains(got, `"takedowns": 1`) {
		t.Errorf("status: %s", got)
	}
	for body, want := range map[string]string{
		`{}`:                        "required",
		`{"ids": []}`:               "must not be empty",
		`{"ids": ["nonsense"]}`:     "invalid track ID",
		`{"tags": ["a"]}`:           "unknown field",
		`{"ids": ["` + songID + `"`: "body",
		`{"ids": [` + strings.Repeat(`"`+songID+`",`, 1000) + `"` + songID + `"]}`: "more than 1000",
	} {
		if got := e.administer(t, http.MethodPost, "/voyo/takedown", body, nil); got.status != http.StatusBadRequest || !strings.Contains(string(got.body), want) {
			t.Errorf("%.40s: %s", body, got)
		}
	}
	if got := e.administer(t, http.MethodGet, "/voyo/takedown", "", nil); got.status != http.StatusMethodNotAllowed {
		t.Errorf("GET: %s", got)
	}
	mustNotKeep(t, dir, songs[0])
	if e.mustHear(t, songs[1]) {
		t.Error("another one was not fetched")
	}
}

// mustBeEmpty fails the test if slices are in a disk's directory.
func mustBeEmpty(t *testing.T, e *edge, dir string) {
	t.Helper()
	e.flushDisks(dir)
	names, err := filepath.Glob(filepath.Join(dir, "*", "??", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if fi, err := os.Stat(name); err == nil {
			t.Errorf("%s has %d bytes", name, fi.Size())
		}
	}
}

// flushDisks waits until what is queued for the disks is written.
func (e *edge) flushDisks(dir string) {
	for _, kind := range []string{"art", "stream"} {
		if d := voyo.OpenDisk(dir, kind); d != nil {
			d.Flush()
		}
	}
}
