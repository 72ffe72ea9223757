package voyo_test

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/voyo-music/caddy-voyo/internal/natstest"
)

// scrape is what Prometheus gets of the edge's metrics, by series, as in
// caddy_voyo_fills{kind="art",state="running"}.
type scrape map[string]float64

// metered returns a site whose metrics can be scraped.
func metered(site string) string { return "route {\nmetrics /metrics\n" + site + "\n}" }

func (n node) scrapeText(t *testing.T) string {
	t.Helper()
	var text strings.Builder
	for line := range strings.Lines(string(n.get(t, "/metrics").body)) {
		if strings.Contains(line, "caddy_voyo_") {
			text.WriteString(line)
		}
	}
	return text.String()
}

func (n node) scrape(t *testing.T) scrape {
	t.Helper()
	s := make(scrape)
	for line := range strings.Lines(n.scrapeText(t)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		i := strings.LastIndex(line, " ")
		v, err := strconv.ParseFloat(strings.TrimSpace(line[i:]), 64)
		if err != nil {
			t.Fatal(err)
		}
		s[line[:i]] = v
	}
	return s
}

// sum adds up the series of a name that have the labels, as in kind="art".
func (s scrape) sum(name string, labels ...string) (sum float64) {
	for series, v := range s {
		rest, ok := strings.CutPrefix(series, "caddy_voyo_"+name)
		if !ok || rest != "" && rest[0] != '{' {
			continue
		}
		if !slices.ContainsFunc(labels, func(l string) bool { return !strings.Contains(rest, l) }) {
			sum += v
		}
	}
	return sum
}

// since returns how much has been added, where something has.
func (s scrape) since(before scrape) scrape {
	added := maps.Clone(s)
	for series := range added {
		added[series] -= before[series]
	}
	maps.DeleteFunc(added, func(series string, v float64) bool {
		return v == 0 || strings.Contains(series, "_bucket{") || strings.Contains(series, "seconds_sum")
	})
	return added
}

// wantScrape waits until the test is content with a scrape. Some is counted a moment
// after the client has all that it gets.
func (n node) wantScrape(t *testing.T, problem func(scrape) string) {
	t.Helper()
	retry := time.NewTicker(5 * time.Millisecond)
	defer retry.Stop()
	deadline := time.After(patience)
	for {
		what := problem(n.scrape(t))
		if what == "" {
			return
		}
		select {
		case <-retry.C:
		case <-deadline:
			t.Fatalf("still not after %s: %s", patience, what)
		}
	}
}

// added is a problem if something else than these, of those with one of the names, has
// been added since. The names are without their prefix, and so are the series.
func added(before scrape, want scrape, names ...string) func(scrape) string {
	return func(s scrape) string {
		got := make(scrape)
		for series, v := range s.since(before) {
			series = strings.TrimPrefix(series, "caddy_voyo_")
			name, _, _ := strings.Cut(series, "{")
			if slices.Contains(names, name) {
				got[series] = v
			}
		}
		if maps.Equal(got, want) {
			return ""
		}
		return fmt.Sprintf("got\n%v\nwant\n%v", got, want)
	}
}

// What clients get, and what upstreams are asked, is what is counted.
func TestMetricsTraffic(t *testing.T) {
	const size, html = 100_000, "<p>a page</p>"
	files := map[string]string{"/art/" + songID + "/hqdefault.png": fakeCover("a", 5000)}
	for i := range 3 {
		files["/128/"+sourceID(i)+".opus"] = fakeTrack(size)
	}
	o := fileOrigin(t, files)
	pages := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		if r.URL.Path == "/kept" {
			w.Header().Set("Cache-Control", "max-age=1000")
		}
		_, _ = io.WriteString(w, html)
	})
	e := startEdge(t, metered("voyo {\n"+template(o.URL)+"\norigin "+pages.URL+"\nenforce_origins\nallowed_origins "+page+"\n}"))
	before := e.scrape(t)

	got := make(map[string]int)
	ask := func(kind, method, path string, header ...string) {
		t.Helper()
		a := e.do(t, method, path, with(header...))
		if a.status < 400 {
			got[kind] += len(a.body)
		}
	}
	for i := range 3 {
		ask("stream", "GET", "/cdn/stream/"+sourceID(i))
		ask("stream", "GET", "/cdn/stream/"+sourceID(i), "Range", "bytes=1000-1999")
	}
	ask("stream", "HEAD", "/cdn/stream/"+sourceID(0))
	ask("art", "GET", "/cdn/art/"+songID)
	ask("art", "GET", "/cdn/art/"+songID)
	ask("art", "GET", "/cdn/art/"+songID, "If-None-Match", `"v1"`)
	ask("", "GET", "/cdn/stream/AAAAAAAAAAA")
	ask("", "GET", "/cdn/stream/nonsense")
	ask("", "DELETE", "/cdn/stream/"+songID)
	ask("", "GET", "/cdn/stream/"+songID, "Origin", other)
	ask("page", "GET", "/kept")
	ask("page", "GET", "/kept")
	ask("page", "POST", "/posted")
	if got["stream"] != 3*(size+1000) || got["art"] != 10_000 || got["page"] != 3*len(html) {
		t.Fatalf("clients got %v", got)
	}
	e.wantScrape(t, added(before, scrape{
		`requests_total{cache="miss",kind="stream"}`:                 3,
		`requests_total{cache="hit",kind="stream"}`:                  4,
		`requests_total{cache="error",kind="stream"}`:                1,
		`requests_total{cache="miss",kind="art"}`:                    1,
		`requests_total{cache="hit",kind="art"}`:                     2,
		`requests_total{cache="miss",kind="page"}`:                   1,
		`requests_total{cache="hit",kind="page"}`:                    1,
		`requests_total{cache="pass",kind="page"}`:                   1,
		`errors_total{kind="stream",reason="missing"}`:               1,
		`refused_requests_total{reason="id"}`:                        1,
		`refused_requests_total{reason="method"}`:                    1,
		`refused_requests_total{reason="origin"}`:                    1,
		`client_bytes_total{from="memory",kind="stream"}`:            3 * (size + 1000),
		`client_bytes_total{from="memory",kind="art"}`:               10_000,
		`client_bytes_total{from="memory",kind="page"}`:              float64(2 * len(html)),
		`client_bytes_total{from="origin",kind="page"}`:              float64(len(html)),
		`upstream_bytes_total{kind="stream",resolver="template"}`:    3 * size,
		`upstream_bytes_total{kind="art",resolver="template"}`:       5000,
		`upstream_bytes_total{kind="page",resolver="origin"}`:        float64(2 * len(html)),
		`upstream_requests_total{kind="stream",resolver="template"}`: float64(len(o.asked("/128/")) + len(o.asked("/64/"))),
		`upstream_requests_total{kind="art",resolver="template"}`:    float64(len(o.asked("/art/"))),
		`upstream_requests_total{kind="page",resolver="origin"}`:     float64(len(pages.asked("/"))),
		`first_byte_seconds_count{cache="hit",kind="stream"}`:        4,
		`first_byte_seconds_count{cache="miss",kind="stream"}`:       3,
		`first_byte_seconds_count{cache="hit",kind="art"}`:           2,
		`first_byte_seconds_count{cache="miss",kind="art"}`:          1,
		`first_byte_seconds_count{cache="hit",kind="page"}`:          1,
		`first_byte_seconds_count{cache="miss",kind="page"}`:         1,
		`lookups_total{outcome="found",resolver="template"}`:         float64(3 + 2 + 1), // a missing track is looked for at both bitrates
	}, "requests_total", "errors_total", "refused_requests_total", "client_bytes_total", "upstream_bytes_total",
		"upstream_requests_total", "upstream_failures_total", "first_byte_seconds_count", "lookups_total", "broken_answers_total"))
}

// Reloads, those that fail, and other handlers neither lose nor double anything.
func TestMetricsReload(t *testing.T) {
	o := newLibrary(t, 3)
	dir := t.TempDir()
	disk := onDisk(o, dir, "64MiB")
	site := "voyo {\n" + template(o.URL) + "\n}"
	small := "voyo {\n" + template(o.URL) + "\nart {\nentries 2\nmemory 1MiB\nmax_object 1MiB\n}\n}"
	e := startEdge(t, metered(disk))
	before := e.scrape(t)
	bytes, hits, misses := 0, 0, 0
	hear := func(what string) {
		t.Helper()
		for i := range 3 {
			if e.mustGet(t, "/cdn/stream/"+sourceID(i), fakeTrack(1000+i)) {
				hits++
			} else {
				misses++
			}
			bytes += 1000 + i
		}
		e.wantScrape(t, func(s scrape) string {
			s = s.since(before)
			got := []float64{s.sum("client_bytes_total"), s.sum("requests_total", `"hit"`), s.sum("requests_total", `"miss"`)}
			if want := []float64{float64(bytes), float64(hits), float64(misses)}; !slices.Equal(got, want) {
				return fmt.Sprintf("%s: bytes, hits and misses are %v, want %v", what, got, want)
			}
			return ""
		})
	}
	hear("at first")
	for _, load := range []struct{ what, site string }{
		{"the same", metered(disk)},
		{"without a disk", metered(site)},
		{"other limits", metered(small)},
		{"two handlers, one state", metered("handle /x* {\n" + site + "\n}\nhandle {\n" + site + "\n}")},
		{"two handlers, two states", metered("handle /x* {\n" + site + "\n}\nhandle {\n" + differently(site) + "\n}")},
		{"another state", metered(differently(disk))},
		{"none", metered("respond nothing")},
		{"the first again", metered(disk)},
	} {
		if err := e.load(t, load.site); err != nil {
			t.Fatalf("%s: %v", load.what, err)
		}
		if load.what != "none" {
			hear(load.what)
		}
		for _, failed := range []error{
			e.load(t, metered("voyo {\n"+template(o.URL)+"\nenforce_origins\n}")),
			e.loadWithFailingApp(t, metered("voyo {\n"+template(o.URL)+"\nallowed_upstreams failing.test\n}")),
		} {
			if failed == nil {
				t.Fatal("it was loaded")
			}
		}
		if load.what != "none" {
			hear("failed reload after: " + load.what)
		}
	}
	e.wantScrape(t, func(s scrape) string {
		if n := s.sum("disk_writes_total", `"written"`) - before.sum("disk_writes_total", `"written"`); n < 3 {
			return fmt.Sprintf("%v slices were written to disks", n)
		}
		return ""
	})
}

// someOfEverything is what is scraped of an edge that has done some of all that there is
// a metric for.
func someOfEverything(t *testing.T) string {
	t.Helper()
	return edgeOfEverything(t).scrapeText(t)
}

// edgeOfEverything returns such an edge.
func edgeOfEverything(t *testing.T) *edge {
	t.Helper()
	o := newLibrary(t, 1)
	down := newOrigin(t, http.NotFound)
	down.Close()
	e := startEdge(t, metered(fmt.Sprintf("voyo {\nresolver api %s\n%s\nresolver template {\naudio %[1]s/{http.voyo.id}\n}\norigin %[1]s\nstream {\ndisk %[3]s 64MiB\n}\n%[4]s}",
		down.URL, template(o.URL), t.TempDir(), fleetOption("a", natstest.Start(t, 1).URLs()))))
	for _, path := range []string{"/cdn/stream/" + sourceID(0), "/cdn/art/" + sourceID(0), "/cdn/stream/" + songID, "/page"} {
		e.get(t, path)
	}
	e.wantScrape(t, func(s scrape) string {
		if s.sum("upstream_failures_total", `"page"`) == 0 {
			return "the page's failure is not counted"
		}
		if s.sum("fleet_current") != 1 {
			return "it is not in step with its fleet"
		}
		return ""
	})
	return e
}

// The metrics are what Prometheus' conventions want, and tell of nobody.
func TestMetricsConventions(t *testing.T) {
	text := someOfEverything(t)
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	for _, secret := range []string{songID, songVOYO, "127.0.0.1", "http://", "/page"} {
		if strings.Contains(text, secret) {
			t.Errorf("%s is in the metrics", secret)
		}
	}
	if n := strings.Count(text, "\n"); n > 500 {
		t.Errorf("%d lines", n)
	}
}

// Caddy's admin API has the metrics without anything in the configuration.
func TestMetricsOfAdminAPI(t *testing.T) {
	d := startDemo(t, false)
	d.get(t, "/cdn/art/"+songID)
	var port string
	for _, v := range d.env {
		if p, ok := strings.CutPrefix(v, "ADMIN_PORT="); ok {
			port = p
		}
	}
	newNode(t, port).wantScrape(t, func(s scrape) string {
		if s.sum("requests_total", `"art"`) != 1 {
			return fmt.Sprint(s)
		}
		return ""
	})
}
