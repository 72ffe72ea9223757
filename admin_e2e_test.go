package voyo_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/voyo-music/caddy-voyo/internal/ports/portstest"
)

// startAdminEdge starts an edge that has an admin API.
func startAdminEdge(t *testing.T, site string) *edge {
	t.Helper()
	e := newEdge(t)
	e.admin = fmt.Sprintf("127.0.0.1:%d", portstest.Reserve(t))
	if err := e.load(t, site); err != nil {
		t.Fatal(err)
	}
	return e
}

// manage sends a request to an admin API, with a connection of its own and again if that
// leads to a server which a reload is about to end.
func manage(client *http.Client, r *http.Request) (resp *http.Response, err error) {
	r.Close = true
	for tries := 1; ; tries++ {
		if resp, err = client.Do(r); tries == 10 || !isUnanswered(err) {
			return resp, err
		}
		if r.GetBody != nil {
			if r.Body, err = r.GetBody(); err != nil {
				return nil, err
			}
		}
	}
}

// ask sends a request to the admin API, and leaves it to the test to read the answer.
func (e *edge) ask(ctx context.Context, t *testing.T, method, uri, body string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, method, "http://"+e.admin+uri, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := manage(e.client, r)
	if err != nil {
		t.Fatalf("%s %s: %v", method, uri, err)
	}
	t.Cleanup(func() { resp.Body.Close() })
	return resp
}

// administer sends a request to the admin API, and reads the answer into an object, if
// there is one.
func (e *edge) administer(t *testing.T, method, uri, body string, into any) answer {
	t.Helper()
	resp := e.ask(t.Context(), t, method, uri, body)
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	a := answer{resp.StatusCode, resp.Header, b}
	if into == nil {
		return a
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	if err := dec.Decode(into); err != nil || a.status != http.StatusOK {
		t.Fatalf("%s %s: %v: %s", method, uri, err, a)
	}
	return a
}

// adminStatus is what the tests read of /voyo/status.
type adminStatus struct {
	Status, Version string
	Reasons         []string
	figures
	Nodes []figures
}

type figures struct {
	Handlers   int
	Prefetches struct{ Requested, Warm int }
	Locations  struct{ Remembered, Lookups int }
	Caches     map[string]struct {
		Entries, Hits, Misses, Fills int
		Bytes, Limit                 int64
		Disk                         *struct {
			Objects, Slices int
			Limit           int64
			State           string
		}
	}
	Resolvers []struct {
		Name, Status, Reason string
		Position             int
	}
	Shields []shieldFigures
}

type shieldFigures struct {
	Position       int
	Status, Reason string
}

func (e *edge) status(t *testing.T) (s adminStatus) {
	t.Helper()
	e.administer(t, http.MethodGet, "/voyo/status", "", &s)
	return s
}

// trackFiles are those of two tracks, and the cover of one.
func trackFiles() map[string]string {
	return map[string]string{
		"/128/" + songID + ".opus":          fakeTrack(20_000),
		"/64/" + songID + ".opus":           fakeTrack(10_000),
		"/128/dQw4w9WgXcQ.opus":             fakeTrack(30_000),
		"/art/" + songID + "/hqdefault.png": fakeCover("cover", 1000),
	}
}

func TestAdminStatus(t *testing.T) {
	files := trackFiles()
	up := fileOrigin(t, files)
	e := startAdminEdge(t, fmt.Sprintf("voyo {\n%s\nstream {\ndisk %s 32MiB\n}\n}", template(up.URL), t.TempDir()))
	path := "/128/" + songID + ".opus"
	e.mustGet(t, "/cdn/stream/"+songVOYO, files[path])
	e.mustGet(t, "/cdn/stream/"+songID, files[path])
	e.mustGet(t, "/cdn/art/"+songID, files["/art/"+songID+"/hqdefault.png"])

	s := e.status(t)
	if s.Status != "healthy" || len(s.Reasons) != 0 || s.Version == "" || s.Handlers != 1 || len(s.Nodes) != 0 {
		t.Errorf("got %+v", s)
	}
	stream, art, page := s.Caches["stream"], s.Caches["art"], s.Caches["page"]
	if stream.Hits != 1 || stream.Misses != 1 || stream.Entries != 1 || stream.Bytes < 20_000 || stream.Limit != 256<<20 {
		t.Errorf("stream: %+v", stream)
	}
	if art.Misses != 1 || art.Entries != 1 || art.Disk != nil || page.Entries != 0 || page.Limit == 0 {
		t.Errorf("art: %+v, page: %+v", art, page)
	}
	if d := stream.Disk; d == nil || d.State != "ok" || d.Limit != 32<<20 {
		t.Errorf("disk: %+v", d)
	}
	if len(s.Resolvers) != 1 || s.Resolvers[0].Name != "template" || s.Resolvers[0].Status != "ok" || s.Locations.Remembered != 2 {
		t.Errorf("resolvers: %+v, locations: %+v", s.Resolvers, s.Locations)
	}

	up.Close()
	for i := range 3 {
		e.get(t, "/cdn/stream/"+sourceID(i))
	}
	s = e.status(t)
	if s.Status != "degraded" || len(s.Reasons) != 1 || s.Resolvers[0].Status != "failing" || s.Resolvers[0].Reason == "" {
		t.Errorf("without its upstream: %+v", s)
	}
}

func TestAdminStatusOfSeveral(t *testing.T) {
	files := trackFiles()
	one, other := fileOrigin(t, files), fileOrigin(t, files)
	// two that share a cache, and one that does not
	e := startAdminEdge(t, fmt.Sprintf(`
		@old header Old yes
		route @old {
			voyo {
				%[1]s
				raw_ids off
			}
		}
		@other header Other yes
		route @other {
			voyo {
				%[2]s
			}
		}
		voyo {
			%[1]s
		}`, template(one.URL), template(other.URL)))
	e.get(t, "/cdn/art/"+songID)
	e.do(t, http.MethodGet, "/cdn/art/"+songVOYO, with("Old", "yes"))
	e.do(t, http.MethodGet, "/cdn/art/"+songID, with("Other", "yes"))
	s := e.status(t)
	if s.Handlers != 3 || len(s.Nodes) != 2 || s.Caches["art"].Hits != 1 || s.Caches["art"].Misses != 2 || len(s.Resolvers) != 2 {
		t.Errorf("got %+v", s)
	}
	if a, b := s.Nodes[0], s.Nodes[1]; a.Handlers+b.Handlers != 3 || a.Caches["art"].Entries != 1 || b.Caches["art"].Entries != 1 {
		t.Errorf("got %+v", s.Nodes)
	}
}

func TestAdminPurge(t *testing.T) {
	files := trackFiles()
	up := fileOrigin(t, files)
	e := startAdminEdge(t, "voyo {\n"+template(up.URL)+"\n}")
	track := files["/128/"+songID+".opus"]
	e.mustGet(t, "/cdn/stream/"+songID, track)
	e.get(t, "/prefetch?v="+songID)
	eventually(t, "it is warm", func() bool { return e.status(t).Caches["art"].Entries == 1 })

	var got struct {
		IDs []struct{ ID, VOYOID string }

		Keys, Locations, Nodes int
	}
	e.administer(t, http.MethodPost, "/voyo/purge", `{"ids": ["`+songVOYO+`"]}`, &got)
	if len(got.IDs) != 1 || got.IDs[0].ID != songID || got.IDs[0].VOYOID != songVOYO || got.Keys != 8 || got.Locations != 2 || got.Nodes != 1 {
		t.Errorf("got %+v", got)
	}
	if s := e.status(t); s.Prefetches.Warm != 0 || s.Locations.Remembered != 0 {
		t.Errorf("left: %+v", s)
	}
	if e.mustGet(t, "/cdn/stream/"+songID, track) {
		t.Error("a purged track is a hit")
	}
	e.administer(t, http.MethodPost, "/voyo/purge", `{"paths": ["/audio/`+songID+`?q=low", "https://voyo.example/a?secret=1"], "tags": ["a b"]}`, &got)
	if got.Keys != 2 {
		t.Errorf("got %d keys", got.Keys)
	}
	e.administer(t, http.MethodPost, "/voyo/purge", `{"all": true}`, &got)
	if n := e.status(t).Locations.Remembered; n != 0 {
		t.Errorf("%d locations are left", n)
	}
	scraped := e.ask(t.Context(), t, http.MethodGet, "/metrics", "")
	text, err := io.ReadAll(scraped.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, by := range []string{"id", "tag", "path", "all"} {
		if name := `caddy_voyo_purges_total{by="` + by + `"} `; !strings.Contains(string(text), name) || strings.Contains(string(text), name+"0\n") {
			t.Errorf("purges by %s are not counted", by)
		}
	}
	log := e.logged(t)
	if n := strings.Count(log, `"msg":"purged"`); n != 3 {
		t.Errorf("%d purges are logged", n)
	}
	if !strings.Contains(log, `"remote_addr":"127.0.0.1:`) || strings.Contains(log, "secret") {
		t.Error("it is not logged who has purged, or more than that is")
	}
}

func TestAdminRefuses(t *testing.T) {
	e := startAdminEdge(t, "voyo {\n"+template("http://upstream.invalid")+"\n}")
	const purge, prefetch, explain = "/voyo/purge", "/voyo/prefetch", "/voyo/explain"
	many := `{"ids": ["` + strings.Repeat(songID+`", "`, 300) + songID + `"]}`
	for _, c := range []struct {
		method, uri, body string
		status            int
		want              string
	}{
		{"POST", purge, ``, 400, "it is empty"},
		{"POST", purge, `{}`, 400, "is required"},
		{"POST", purge, `{"all": false}`, 400, "is required"},
		{"POST", purge, `{"ids": []}`, 400, "empty lists"},
		{"POST", purge, `{"ids": ["` + songID + `"], "tags": []}`, 400, "empty lists"},
		{"POST", purge, `{"tags": [" "]}`, 400, "tags: one is empty"},
		{"POST", purge, `{"ids": ["nonsense"]}`, 400, "invalid track ID"},
		{"POST", purge, `{"id": ["` + songID + `"]}`, 400, "unknown field"},
		{"POST", purge, `{"all": true} {}`, 400, "more than one"},
		{"POST", purge, `{"all"`, 400, "unexpected EOF"},
		{"POST", purge, `{"paths": ["/about"]}`, 400, "whole URL"},
		{"POST", purge, `{"paths": ["about"]}`, 400, "not a path"},
		{"POST", purge, `{"paths": ["ftp://a.example/about"]}`, 400, "not an http"},
		{"POST", purge, `{"paths": ["/exists/` + songID + `"]}`, 400, "not kept"},
		{"POST", purge, `{"paths": ["/cdn/stream/nonsense"]}`, 400, "invalid track ID"},
		{"POST", purge, `{"tags": ["` + strings.Repeat("a", 2<<20) + `"]}`, 413, "more than"},
		{"GET", purge, ``, 405, "not allowed"},
		{"POST", prefetch, `{"ids": []}`, 400, "is required"},
		{"POST", prefetch, `{"ids": ["` + songID + `"], "type": "text"}`, 400, "neither audio nor video"},
		{"POST", prefetch, `{"ids": ["` + songID + `"], "quality": "best"}`, 400, "neither low"},
		{"POST", prefetch, many, 400, "more than"},
		{"DELETE", prefetch, ``, 405, "not allowed"},
		{"GET", explain, ``, 400, "it is required"},
		{"GET", explain + "?url=about", ``, 400, "not a path"},
		{"GET", explain + "?url=ftp://a.example/", ``, 400, "not an http"},
		{"POST", "/voyo/status", ``, 405, "not allowed"},
		{"GET", "/voyo/nonsense", ``, 404, ""},
	} {
		a := e.administer(t, c.method, c.uri, c.body, nil)
		if a.status != c.status || !strings.Contains(string(a.body), c.want) {
			t.Errorf("%s %s %.60s: got %d %s", c.method, c.uri, c.body, a.status, a.body)
		}
		if (a.header.Get("Allow") != "") != (c.status == 405) {
			t.Errorf("%s %s: Allow is %q", c.method, c.uri, a.header.Get("Allow"))
		}
	}
}

func TestAdminPrefetch(t *testing.T) {
	up := fileOrigin(t, trackFiles())
	e := startAdminEdge(t, "voyo {\n"+template(up.URL)+"\n}")
	type result struct{ ID, VOYOID, Status, Error string }
	lines := func(body string) map[string]result {
		t.Helper()
		resp := e.ask(t.Context(), t, http.MethodPost, "/voyo/prefetch?wait", body)
		got := make(map[string]result)
		for scanner := bufio.NewScanner(resp.Body); scanner.Scan(); {
			var r result
			if err := json.Unmarshal(scanner.Bytes(), &r); err != nil {
				t.Fatalf("%v: %s", err, scanner.Bytes())
			}
			got[r.ID] = r
		}
		return got
	}
	got := lines(`{"ids": ["` + songVOYO + `", "dQw4w9WgXcQ", "` + sourceID(1) + `", "nonsense"]}`)
	for id, status := range map[string]string{songVOYO: "done", "dQw4w9WgXcQ": "done", sourceID(1): "failed", "nonsense": "invalid"} {
		if got[id].Status != status || (status == "done") != (got[id].Error == "") {
			t.Errorf("%s: got %+v", id, got[id])
		}
	}
	if got := lines(`{"ids": ["` + songID + `"]}`); got[songID].Status != "already" || got[songID].VOYOID != songVOYO {
		t.Errorf("again: got %+v", got)
	}
	var now struct{ Results []result }
	e.administer(t, http.MethodPost, "/voyo/prefetch", `{"ids": ["`+songID+`"], "quality": "low"}`, &now)
	if len(now.Results) != 1 || now.Results[0].Status != "warming" {
		t.Errorf("without waiting: got %+v", now)
	}
	if s := e.status(t); s.Prefetches.Requested != 5 {
		t.Errorf("%d are counted", s.Prefetches.Requested)
	}
}

// TestAdminPrefetchGoesOn has a client leave that waits for a track.
func TestAdminPrefetchGoesOn(t *testing.T) {
	asked, release := make(chan struct{}, 10), make(chan struct{})
	files := trackFiles()
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		asked <- struct{}{}
		<-release
		w.Header().Set("Etag", `"v1"`)
		fmt.Fprint(w, files[r.URL.Path])
	})
	e := startAdminEdge(t, "voyo {\n"+template(up.URL)+"\n}")
	ctx, leave := context.WithCancel(t.Context())
	resp := e.ask(ctx, t, http.MethodPost, "/voyo/prefetch?wait", `{"ids": ["`+songID+`"]}`)
	await(t, "the upstream is asked", asked)
	leave()
	if _, err := io.ReadAll(resp.Body); err == nil {
		t.Error("the answer has ended before the track was warm")
	}
	close(release)
	eventually(t, "the track is here", func() bool { return e.status(t).Caches["art"].Entries == 1 })
	if !e.mustGet(t, "/cdn/stream/"+songID, files["/128/"+songID+".opus"]) {
		t.Error("the track is not warm")
	}
}
