package voyo_test

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// tierSite configures a node of a tier.
func tierSite(origin, more string) string {
	return "voyo {\n" + template(origin) + "\n" + more + "\n}"
}

func shieldedBy(urls ...string) string { return "shield " + strings.Join(urls, " ") + "\n" }

const smallSlices = "stream {\nslice 64KiB\n}\n"

// startShields starts shields of a song archive.
func startShields(t *testing.T, n int, origin, more string) (shields []*child, urls []string) {
	t.Helper()
	for range n {
		c := startChild(t, tierSite(origin, more))
		shields, urls = append(shields, c), append(urls, c.url)
	}
	return shields, urls
}

// tiersOf returns what each tier's cache did, the one nearest to the origin first.
func tiersOf(h http.Header) []string {
	var tiers []string
	for member := range strings.SplitSeq(strings.Join(h["Cache-Status"], ","), ",") {
		tiers = append(tiers, strings.ReplaceAll(strings.TrimSpace(member), " ", ""))
	}
	return tiers
}

// What an edge lacks it gets of a shield, and what that lacks of the origin, once.
func TestShieldTwoTiers(t *testing.T) {
	s := newSong(songID, 1<<20+12345)
	a := newArchive(t, s)
	shields, urls := startShields(t, 1, a.URL, smallSlices)
	e := startAdminEdge(t, metered(tierSite(a.URL, smallSlices+shieldedBy(urls...))))

	before := e.scrape(t) // other tests have counted as well

	// cold in both tiers: a part at the end, which is fetched in slices
	h, err := e.hearRange(t.Context(), s, s.size-1000, s.size)
	if err != nil {
		t.Fatal(err)
	}
	if got := tiersOf(h.header); !slices.Equal(got, []string{"voyo;fwd=miss;stored", "voyo;fwd=miss;stored"}) {
		t.Errorf("Cache-Status of a miss in both tiers: %q", got)
	}
	if n, sent := a.requests.Load(), a.sent.Load(); n != 1 || sent > 2*64<<10 {
		t.Errorf("the origin was asked %d times, for %q, and sent %d bytes", n, a.askedRanges(), sent)
	}
	if got := e.explain(t, s.path()).Handlers[0].Shield; got == nil || got.Position != 0 || got.Status != "ok" {
		t.Errorf("explained: %+v", got)
	}
	// warm in the shield: each gap of the edge is a hit there, to the byte
	shields[0].mustHear(t, s)
	if sent := a.sent.Load(); sent != s.size {
		t.Errorf("the origin sent %d bytes of %d", sent, s.size)
	}
	a.reset()
	rnd := rand.New(rand.NewPCG(1, 1))
	for range 20 {
		start := rnd.Int64N(s.size)
		h, err := e.hearRange(t.Context(), s, start, min(start+1+rnd.Int64N(200_000), s.size))
		if err != nil {
			t.Fatal(err)
		}
		// a gap behind what is there is not known of yet when the answer begins
		if got := tiersOf(h.header); len(got) == 2 && !strings.HasPrefix(got[0], "voyo;hit;ttl=") || len(got) == 1 && !h.hit() && got[0] != "voyo;fwd=partial;stored" {
			t.Errorf("Cache-Status of a gap: %q", got)
		}
		for _, name := range []string{"Cdn-Cache-Control", "Voyo-Cache-Control", "Cache-Tag", "Surrogate-Key", "Via"} {
			if got, ok := h.header[name]; ok {
				t.Errorf("the client was told %s: %q", name, got)
			}
		}
	}
	e.mustHear(t, s)
	if !e.mustHear(t, s) {
		t.Error("it is not cached")
	}
	a.mustRest(t)
	// covers and prefetches go the same way
	e.mustGet(t, "/cdn/art/"+songID, coverOf(songID))
	if n := a.requests.Load(); n != 1 || !shields[0].mustGet(t, "/cdn/art/"+songID, coverOf(songID)) {
		t.Errorf("the origin was asked %d times for a cover, and the shield has not got it", n)
	}
	scraped := e.scrape(t).since(before)
	if n := scraped.sum("upstream_requests_total", `resolver="shield"`); n < 3 || scraped.sum("upstream_requests_total", `resolver="template"`) != 0 {
		t.Errorf("%v requests to shields", n)
	}
	if got := e.status(t).Shields; len(got) != 1 || got[0].Status != "ok" {
		t.Errorf("status: %+v", got)
	}
	if text := string(e.administer(t, http.MethodGet, "/voyo/status", "", nil).body) + e.logged(t); strings.Contains(text, urls[0]) {
		t.Error("the shield's URL shows")
	}
}

// The slices of two tiers need not be of one size.
func TestShieldOtherSlices(t *testing.T) {
	s := newSong(songID, 3<<20+777)
	for _, c := range []struct{ edge, shield string }{{"64KiB", "1MiB"}, {"1MiB", "64KiB"}, {"192KiB", "80KiB"}} {
		t.Run(c.edge+" and "+c.shield, func(t *testing.T) {
			a := newArchive(t, s)
			_, urls := startShields(t, 1, a.URL, "stream {\nslice "+c.shield+"\n}")
			e := startEdge(t, tierSite(a.URL, "stream {\nslice "+c.edge+"\n}\n"+shieldedBy(urls...)))
			rnd := rand.New(rand.NewPCG(2, 2))
			for range 10 {
				start := rnd.Int64N(s.size)
				if _, err := e.hearRange(t.Context(), s, start, min(start+1+rnd.Int64N(500_000), s.size)); err != nil {
					t.Fatal(err)
				}
			}
			e.mustHear(t, s)
			if !e.mustHear(t, s) {
				t.Error("it is not cached")
			}
			if sent := a.sent.Load(); sent > s.size+s.size/10 {
				t.Errorf("the origin sent %d bytes of %d, for %q", sent, s.size, a.askedRanges())
			}
		})
	}
}

// What a shield does not have, or must not give out, is not asked for elsewhere, and the
// edge remembers it.
func TestShieldHasNot(t *testing.T) {
	o := newOrigin(t, http.NotFound)
	_, urls := startShields(t, 1, o.URL, "")
	e := startEdge(t, tierSite(o.URL, shieldedBy(urls...)))
	for i := range 3 {
		a := e.get(t, "/cdn/stream/"+songVOYO)
		if a.status != http.StatusNotFound || !strings.Contains(string(a.body), "Content not found in VOYO library") || a.header.Get("Voyo-Cache-Control") != "" {
			t.Fatalf("got %s", a)
		}
		if n := len(o.asked("/")); n != 2 { // for two bitrates
			t.Errorf("the origin was asked %d times after %d requests", n, i+1)
		}
		got := tiersOf(a.header)
		if hit := len(got) == 1 && strings.HasPrefix(got[0], "voyo;hit"); hit != (i > 0) || !hit && !slices.Equal(got, []string{"voyo;fwd=miss", "voyo;fwd=miss"}) {
			t.Errorf("Cache-Status: %q", got)
		}
	}
}

func TestShieldTakenDown(t *testing.T) {
	o := fileOrigin(t, trackFiles())
	shield := newOrigin(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Cache-Status", "voyo; detail=takedown")
		w.WriteHeader(http.StatusUnavailableForLegalReasons)
		_, _ = io.WriteString(w, "no")
	})
	e := startEdge(t, tierSite(o.URL, shieldedBy(shield.URL)))
	for range 2 {
		a := e.get(t, "/cdn/stream/"+songVOYO)
		if want := `{"error":"Content not available for legal reasons"}` + "\n"; a.status != 451 || string(a.body) != want || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("got %s", a)
		}
	}
	if n := len(o.asked("/")); n != 0 {
		t.Errorf("the origin was asked %d times", n)
	}
	if n := len(shield.asked("/")); n != 1 {
		t.Errorf("the shield was asked %d times", n)
	}
	// where something is, and if it is, is between an edge and its resolvers
	e.get(t, "/exists/"+songID)
	e.get(t, "/stream?v="+songID)
	for _, r := range shield.asked("/") {
		if !strings.HasPrefix(r.URL.Path, "/cdn/") {
			t.Errorf("the shield was asked for %s", r.URL.Path)
		}
	}
}

// changing is an origin whose tracks have the fields that a test gives them.
type changing struct {
	*origin

	mu     sync.Mutex
	fields http.Header
}

func newChanging(t *testing.T, fields http.Header) *changing {
	t.Helper()
	c := &changing{fields: fields}
	c.origin = newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		maps.Copy(w.Header(), c.fields)
		w.Header().Set("Etag", `"v1"`)
		w.Header().Set("Content-Type", "audio/ogg")
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(fakeTrack(100_000)))
	})
	return c
}

// ttl returns for how long a node says that what it has sent out of its cache is fresh.
func (n node) ttl(t *testing.T, path string) (seconds int) {
	t.Helper()
	status := n.get(t, path).header.Get("Cache-Status")
	if _, err := fmt.Sscanf(status, "voyo; hit; ttl=%d", &seconds); err != nil {
		t.Fatalf("Cache-Status %q: %v", status, err)
	}
	return seconds
}

// What is old at a shield is fresh at the edge for the rest of its time, whatever the
// edge's own settings are, and clients are told what these say.
func TestShieldFreshness(t *testing.T) {
	o := newChanging(t, with("Cache-Control", "max-age=1000", "Age", "400"))
	shields, urls := startShields(t, 1, o.URL, "stream {\nmax_age 5m\n}")
	e := startEdge(t, tierSite(o.URL, "stream {\nttl 48h\nmax_age 2m\n}\n"+shieldedBy(urls...)))
	path := "/cdn/stream/" + songID
	shields[0].mustGet(t, path, fakeTrack(100_000))
	a := e.get(t, path)
	if got := a.header.Get("Cache-Control"); got != "public, max-age=120" {
		t.Errorf("Cache-Control: %q", got)
	}
	began := time.Now()
	far, near := shields[0].ttl(t, path), e.ttl(t, path)
	passed := int(time.Since(began) / time.Second)
	if far > 600 || far < 600-int(patience/time.Second) || near > far+1 || near < far-2-passed {
		t.Errorf("fresh for %d seconds at the shield and for %d at the edge", far, near)
	}
	var age int
	if _, err := fmt.Sscan(e.get(t, path).header.Get("Age"), &age); err != nil || age < 400 {
		t.Errorf("Age %d, %v", age, err)
	}
}

// Whether something still is good is asked from tier to tier, and no byte is sent again.
func TestShieldRevalidation(t *testing.T) {
	o := newChanging(t, with("Cache-Control", "no-cache"))
	shields, urls := startShields(t, 1, o.URL, "")
	e := startEdge(t, tierSite(o.URL, shieldedBy(urls...)))
	path := "/cdn/stream/" + songID
	e.mustGet(t, path, fakeTrack(100_000))
	a := e.get(t, path)
	if got := tiersOf(a.header); len(a.body) != 100_000 || !slices.Equal(got, []string{"voyo;fwd=stale;fwd-status=304;stored", "voyo;fwd=stale;fwd-status=304;stored"}) {
		t.Errorf("%d bytes, Cache-Status: %q", len(a.body), got)
	}
	asked := o.asked("/")
	if len(asked) != 2 || asked[1].Header.Get("If-None-Match") != `"v1"` {
		t.Errorf("the origin was asked %d times, at last with %v", len(asked), asked[len(asked)-1].Header)
	}
	// the shield answers edges with 304 by itself when what it has is fresh
	o.mu.Lock()
	o.fields = with("Cache-Control", "max-age=1000")
	o.mu.Unlock()
	shields[0].get(t, path)
	before := len(o.asked("/"))
	if got := tiersOf(e.get(t, path).header); len(got) != 2 || !strings.HasPrefix(got[0], "voyo;hit;ttl=") || got[1] != "voyo;fwd=stale;fwd-status=304;stored" {
		t.Errorf("Cache-Status: %q", got)
	}
	if n := len(o.asked("/")); n != before {
		t.Errorf("the origin was asked %d times more", n-before)
	}
}

// What came through a shield is purged at the edge by the tags of its origin.
func TestShieldTags(t *testing.T) {
	o := newChanging(t, with("Cache-Tag", "album-7, artist-9", "Surrogate-Key", "one two"))
	_, urls := startShields(t, 1, o.URL, "")
	e := startAdminEdge(t, tierSite(o.URL, shieldedBy(urls...)))
	path := "/cdn/stream/" + songID
	for _, tag := range []string{"artist-9", "two"} {
		e.mustGet(t, path, fakeTrack(100_000))
		a := e.get(t, path)
		if !strings.HasPrefix(a.header.Get("Cache-Status"), "voyo; hit") || a.header.Get("Cache-Tag")+a.header.Get("Surrogate-Key") != "" {
			t.Errorf("got %v", a.header)
		}
		e.administer(t, http.MethodPost, "/voyo/purge", `{"tags":["`+tag+`"]}`, new(any))
		if got := tiersOf(e.get(t, path).header); len(got) != 2 || !strings.HasPrefix(got[0], "voyo;hit") {
			t.Errorf("after the purge of %s: %q", tag, got)
		}
	}
}

// What a shield must not keep no tier keeps.
func TestShieldUncacheable(t *testing.T) {
	o := newChanging(t, with("Cache-Control", "no-store"))
	_, urls := startShields(t, 1, o.URL, "")
	e := startEdge(t, tierSite(o.URL, shieldedBy(urls...)))
	for range 3 {
		before := len(o.asked("/"))
		if e.mustGet(t, "/cdn/stream/"+songID, fakeTrack(100_000)) || len(o.asked("/")) == before {
			t.Error("it was kept")
		}
	}
}

// Tiers whose links have to be signed sign for each other.
func TestShieldSigned(t *testing.T) {
	o := fileOrigin(t, trackFiles())
	site := signedSite(t, o, "")
	c := startChild(t, site)
	e := startEdge(t, signedSite(t, o, shieldedBy(c.url)))
	path := signedBy(linkKey, "/cdn/stream/"+songID, inAnHour(), "")
	e.mustGet(t, path, trackFiles()["/128/"+songID+".opus"])
	if !c.mustGet(t, path, trackFiles()["/128/"+songID+".opus"]) {
		t.Error("the shield has not got it")
	}
	if a := e.get(t, signedBy("another key, of 16 bytes", "/cdn/stream/"+songID, inAnHour(), "")); a.status != http.StatusForbidden {
		t.Errorf("got %s", a)
	}
}

// Shields can be given and taken while a node runs: its cache stays.
func TestShieldReload(t *testing.T) {
	s := newSong(songID, 500_000)
	a := newArchive(t, s)
	_, urls := startShields(t, 2, a.URL, "")
	e := startEdge(t, tierSite(a.URL, ""))
	e.mustHear(t, s)
	a.reset()
	for _, more := range []string{shieldedBy(urls...), shieldedBy(urls[1]), ""} {
		must(t, e.load(t, tierSite(a.URL, more)))
		if !e.mustHear(t, s) {
			t.Error("the cache is lost")
		}
	}
	a.mustRest(t)
}
