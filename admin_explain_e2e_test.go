package voyo_test

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// explained is what the tests read of /voyo/explain.
type explained struct {
	Endpoint string
	Asset    struct {
		ID, VOYOID, Type, Image string
		Bitrate                 int
	}
	Handlers []struct {
		Outcome, Reason, Key string
		Alternatives         []string
		Stored               []struct {
			Status, Size, StoredBytes, TTL int
			Vary, Memory, Disk             []string
		}
		Resolvers []struct {
			Name, Status, Remembered string
			Hosts                    []string
			TTL                      int
		}
		Shield *shieldFigures
	}
}

func (e *edge) explain(t *testing.T, what string, more ...string) (x explained) {
	t.Helper()
	query := url.Values{"url": {what}}
	if len(more) > 0 {
		query.Set("origin", more[0])
	}
	e.administer(t, http.MethodGet, "/voyo/explain?"+query.Encode(), "", &x)
	return x
}

func TestAdminExplainStream(t *testing.T) {
	files := trackFiles()
	up := fileOrigin(t, files)
	e := startAdminEdge(t, fmt.Sprintf(`voyo {
		resolver template {
			audio %s/{http.voyo.bitrate}/{http.voyo.id}.opus?signature=secret
		}
		stream {
			slice 64KiB
			ttl 1h
		}
	}`, up.URL))
	track := "/cdn/stream/" + songVOYO
	x := e.explain(t, track+"?quality=low")
	h := x.Handlers[0]
	if x.Endpoint != "stream" || x.Asset.ID != songID || x.Asset.VOYOID != songVOYO || x.Asset.Type != "audio" || x.Asset.Bitrate != 64 {
		t.Errorf("got %+v", x)
	}
	if h.Outcome != "miss" || h.Key != "stream/"+songID+"/audio/64" || len(h.Stored) != 0 || len(h.Alternatives) != 1 {
		t.Errorf("of what is not here: %+v", h)
	}
	if len(h.Resolvers) != 1 || h.Resolvers[0].Remembered != "" || h.Resolvers[0].Status != "ok" {
		t.Errorf("of a resolver that was not asked: %+v", h.Resolvers)
	}

	e.mustGet(t, track, files["/128/"+songID+".opus"])
	before, asked := e.status(t).Caches["stream"], len(up.asked("/"))
	a := e.administer(t, http.MethodGet, "/voyo/explain?url="+url.QueryEscape("https://any.example"+track), "", &x)
	h = x.Handlers[0]
	if h.Outcome != "hit" || len(h.Stored) != 1 || len(h.Resolvers) != 1 {
		t.Fatalf("of what is here: %+v", h)
	}
	if s := h.Stored[0]; s.Size != 20_000 || s.StoredBytes != 20_000 || s.TTL > 3600 || s.TTL < 3500 || !slices.Equal(s.Memory, []string{"0-19999"}) {
		t.Errorf("stored: %+v", s)
	}
	if r := h.Resolvers[0]; r.Remembered != "found" || !slices.Equal(r.Hosts, []string{up.host()}) || r.TTL == 0 {
		t.Errorf("resolver: %+v", r)
	}
	if strings.Contains(string(a.body), "secret") {
		t.Errorf("a secret is told: %s", a.body)
	}
	if after := e.status(t).Caches["stream"]; after.Hits != before.Hits || after.Misses != before.Misses || len(up.asked("/")) != asked {
		t.Error("explaining is a use")
	}
	e.get(t, "/cdn/stream/"+sourceID(1))
	if h := e.explain(t, "/audio/"+sourceID(1)).Handlers[0]; h.Outcome != "negative" {
		t.Errorf("of what nobody has: %+v", h)
	}
}

func TestAdminExplainRefusals(t *testing.T) {
	up := fileOrigin(t, nil)
	e := startAdminEdge(t, "voyo {\n"+template(up.URL)+`
		allowed_origins https://voyo.example
		enforce_origins
		raw_ids off
	}`)
	for _, c := range []struct{ url, origin, outcome, reason string }{
		{"/cdn/stream/" + songVOYO, "", "miss", "not stored"},
		{"/cdn/stream/" + songVOYO, "https://voyo.example", "miss", "not stored"},
		{"/cdn/stream/" + songVOYO, "https://other.example", "refused", "Origin not allowed"},
		{"/cdn/stream/" + songID, "", "refused", "Invalid VOYO track ID"},
		{"/cdn/art/nonsense", "", "refused", "Invalid VOYO track ID"},
		{"/exists/" + songVOYO, "", "here", "asked each time"},
		{"/health", "https://other.example", "here", "made for each request"},
		{"/about", "", "next", "no origin"},
	} {
		if h := e.explain(t, c.url, c.origin).Handlers[0]; h.Outcome != c.outcome || !strings.Contains(h.Reason, c.reason) {
			t.Errorf("%s from %q: got %+v", c.url, c.origin, h)
		}
	}
}

func TestAdminExplainPage(t *testing.T) {
	up := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=100")
		switch r.URL.Path {
		case "/vary":
			w.Header().Set("Vary", "Accept-Language")
		case "/private":
			w.Header().Set("Cache-Control", "private")
		}
		fmt.Fprint(w, "page")
	})
	e := startAdminEdge(t, "voyo {\n"+template(up.URL)+"\norigin "+up.URL+"\n}")
	e.get(t, "/about?a=1")
	e.get(t, "/private")
	e.do(t, http.MethodGet, "/vary", with("Accept-Language", "de"))
	e.do(t, http.MethodGet, "/vary", with("Accept-Language", "fr"))
	for path, want := range map[string]string{
		"/about": "unknown", e.url + "/about?a=1": "hit", e.url + "/about": "miss", e.url + "/vary": "unknown",
		e.url + "/private": "pass", "https" + strings.TrimPrefix(e.url, "http") + "/about?a=1": "miss",
	} {
		if h := e.explain(t, path).Handlers[0]; h.Outcome != want || (h.Key != "") != (path[0] != '/') {
			t.Errorf("%s: got %+v, want %s", path, h, want)
		}
	}
	if h := e.explain(t, e.url+"/vary").Handlers[0]; len(h.Stored) != 2 || !slices.Equal(h.Stored[0].Vary, []string{"Accept-Language"}) {
		t.Errorf("got %+v", h)
	}
}

// TestAdminFollowsReloads asks for the handlers of the configuration that runs, and of
// no other one.
func TestAdminFollowsReloads(t *testing.T) {
	up := fileOrigin(t, trackFiles())
	e := startAdminEdge(t, "respond hello")
	if a := e.administer(t, http.MethodGet, "/voyo/status", "", nil); a.status != http.StatusNotFound || !strings.Contains(string(a.body), "no voyo handler") {
		t.Errorf("without voyo: %s", a)
	}
	site := "voyo {\n" + template(up.URL) + "\n%s\n}"
	handlers := func(when string, want int) {
		t.Helper()
		x := e.explain(t, "/cdn/stream/"+songID)
		if len(x.Handlers) != want || e.status(t).Handlers != want {
			t.Errorf("%s: %d handlers", when, len(x.Handlers))
		}
		for _, h := range x.Handlers {
			if h.Outcome != "miss" {
				t.Errorf("%s: got %s", when, h.Outcome)
			}
		}
	}
	load := func(site string) {
		t.Helper()
		if err := e.load(t, site); err != nil {
			t.Fatal(err)
		}
	}
	load(fmt.Sprintf(site, ""))
	handlers("one", 1)
	load("route /a/* {\n" + fmt.Sprintf(site, "") + "\n}\n" + fmt.Sprintf(site, ""))
	handlers("two", 2)
	if err := e.load(t, fmt.Sprintf(site, "raw_ids off\nstream {\ndisk /dev/null/none 64MiB\n}")); err == nil {
		t.Fatal("it has started")
	}
	handlers("after a failed reload", 2)
	load("respond hello")
	if a := e.administer(t, http.MethodPost, "/voyo/purge", `{"all": true}`, nil); a.status != http.StatusNotFound {
		t.Errorf("without voyo again: %s", a)
	}
}
