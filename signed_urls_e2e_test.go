package voyo_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const linkKey, oldLinkKey = "the key of these tests", "the key that they had before"

// signedSite has signed URLs, with keys that are set in the environment.
func signedSite(t *testing.T, o *origin, more string) string {
	t.Helper()
	t.Setenv("VOYO_LINK_KEY", linkKey)
	t.Setenv("VOYO_OLD_LINK_KEY", oldLinkKey)
	return "voyo {\n" + template(o.URL) + "\nsigned_urls {\nkey {env.VOYO_LINK_KEY}\nkey {env.VOYO_OLD_LINK_KEY}\n}\n" + more + "\n}"
}

// signedBy signs a target as the documents have it, and as nothing of the edge does.
func signedBy(key, target string, expires time.Time, client string) string {
	at := strconv.FormatInt(expires.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(key))
	fmt.Fprintf(mac, "voyo-link-v1\n%s\n%s\n%s", target, at, client)
	separator := "?"
	if strings.Contains(target, "?") {
		separator = "&"
	}
	params := "expires=" + at
	if client != "" {
		params += "&client=" + client
	}
	return target + separator + params + "&signature=" + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

func inAnHour() time.Time { return time.Now().Add(time.Hour) }

// checkRefused checks that an answer is an error.
func checkRefused(t *testing.T, what string, a answer, status int, message string) {
	t.Helper()
	if want := `{"error":"` + message + `"}` + "\n"; a.status != status || string(a.body) != want {
		t.Errorf("%s: got %s, want %d %s", what, a, status, want)
	}
	for name, value := range map[string]string{
		"Content-Type": "application/json", "Cache-Control": "no-store", "Vary": "Origin", "Cache-Status": "",
	} {
		if got := a.header.Get(name); got != value {
			t.Errorf("%s: %s: %q, want %q", what, name, got, value)
		}
	}
}

// ofEachShape are URLs of a track in all shapes, with what they are answered with.
func ofEachShape(id string) map[string]int {
	return map[string]int{
		"/cdn/stream/" + id: 200, "/cdn/art/" + id: 200, "/proxy?v=" + id: 200, "/thumbnail?id=" + id: 200, "/audio/" + id: 200,
		"/thumb/" + id: 200, "/exists/" + id: 200, "/stream?v=" + id: 200, "/prefetch?v=" + id: 202,
	}
}

// Each shape needs a signature, and is answered as ever if it has one.
func TestSignedURLs(t *testing.T) {
	o := fileOrigin(t, trackFiles())
	e := startEdge(t, signedSite(t, o, "allowed_origins "+page))
	for _, id := range []string{songID, songVOYO} {
		for target, want := range ofEachShape(id) {
			const invalid = "Invalid signature"
			checkRefused(t, target, e.get(t, target), 403, invalid)
			checkRefused(t, target, e.get(t, signedBy("not a key of the edge", target, inAnHour(), "")), 403, invalid)
			checkRefused(t, target, e.get(t, signedBy("not a key of the edge", target, time.Unix(1, 0), "")), 403, invalid)
			checkRefused(t, target, e.get(t, signedBy(linkKey, target, inAnHour(), "192.0.2.1")), 403, invalid)
			checkRefused(t, target, e.get(t, signedBy(linkKey, target, time.Unix(1, 0), "192.0.2.1")), 403, invalid)
			checkRefused(t, target, e.get(t, signedBy(linkKey, target, inAnHour(), "")+"&expires=1"), 403, invalid)
			checkRefused(t, target, e.get(t, signedBy(oldLinkKey, target, time.Now().Add(-time.Second), "")), 410, "Link expired")
			for _, key := range []string{linkKey, oldLinkKey} {
				if a := e.get(t, signedBy(key, target, inAnHour(), "")); a.status != want {
					t.Errorf("%s: got %s, want %d", target, a, want)
				}
			}
			head := e.do(t, http.MethodHead, target, nil)
			if head.status != 403 || len(head.body) > 0 {
				t.Errorf("HEAD %s: got %s", target, head)
			}
			if a := e.do(t, http.MethodHead, signedBy(linkKey, target, inAnHour(), "127.0.0.0/8")+"&quality=low", nil); a.status != want {
				t.Errorf("HEAD %s: got %s", target, a)
			}
			if a := e.do(t, http.MethodOptions, target, with("Origin", page)); a.status != 204 || a.header.Get("Access-Control-Allow-Methods") == "" {
				t.Errorf("OPTIONS %s: got %s", target, a)
			}
			if a := e.do(t, http.MethodGet, target, with("Origin", page)); a.header.Get("Access-Control-Allow-Origin") != page {
				t.Errorf("%s: a page of ours can't read why: %s", target, a)
			}
		}
	}
	for path, want := range map[string]int{"/health": 200, "/cdn/stream/nonsense": 400, "/proxy": 400} {
		if a := e.get(t, path); a.status != want {
			t.Errorf("%s: got %s", path, a)
		}
	}
}

// Nothing is fetched, counted or made ready for who has no signature.
func TestUnsignedURLsCostNothing(t *testing.T) {
	o := newLibrary(t, 1)
	e := startEdge(t, signedSite(t, o, "rate_limit {\nrequests 1 1h\n}\norigin "+o.URL))
	id := sourceID(0)
	for target := range ofEachShape(id) {
		checkRefused(t, target, e.get(t, target), 403, "Invalid signature")
		checkRefused(t, target, e.get(t, signedBy(linkKey, target, time.Unix(1, 0), "")), 410, "Link expired")
	}
	if n := len(o.asked("/")); n != 0 {
		t.Errorf("the upstream was asked %d times", n)
	}
	if h := e.health(t).Cache; h.PrefetchCacheSize != 0 || h.StreamCacheSize != 0 {
		t.Errorf("something is being made ready: %+v", h)
	}
	target := "/cdn/stream/" + id
	e.mustGet(t, signedBy(linkKey, target, inAnHour(), ""), fakeTrack(1000))
	checkLimited(t, e.get(t, signedBy(linkKey, target, inAnHour(), "")), "requests", 3600)
	if e.get(t, "/art/"+id+"/hqdefault.png").status != http.StatusOK {
		t.Error("a page of the origin needs a signature")
	}
}

// The location that a link leads to is one as well, for as long and for the same clients.
func TestSignedLocation(t *testing.T) {
	o := fileOrigin(t, trackFiles())
	site := signedSite(t, o, "public_url https://edge.test/base")
	e := startEdge(t, site)
	for _, client := range []string{"", "127.0.0.1", "127.0.0.0/8"} {
		expires := inAnHour()
		a := e.get(t, signedBy(oldLinkKey, "/stream?v="+songID, expires, client)+"&quality=low")
		var where struct{ URL, AudioURL string }
		if err := json.Unmarshal(a.body, &where); err != nil {
			t.Fatalf("%v: %s", err, a)
		}
		for _, location := range []string{where.URL, where.AudioURL} {
			u, err := url.Parse(location)
			if err != nil {
				t.Fatal(err)
			}
			// signed with the first key, and without the path that public_url adds
			want, _ := url.Parse(signedBy(linkKey, "/cdn/stream/"+songVOYO, expires, client) + "&type=audio&quality=low")
			if u.Path != "/base"+want.Path || u.Query().Encode() != want.Query().Encode() {
				t.Errorf("got %s, want %s", u, want)
			}
			e.mustGet(t, strings.TrimPrefix(location, "https://edge.test/base"), trackFiles()["/64/"+songID+".opus"])
		}
	}
}

// A link may be for an address or a network, as Caddy's trusted_proxies knows the client.
func TestSignedClients(t *testing.T) {
	o := newLibrary(t, 1)
	e := newEdge(t)
	config := string(e.adapt(t, signedSite(t, o, "")))
	trusting := strings.Replace(config, `"srv0":{`, `"srv0":{"trusted_proxies":{"source":"static","ranges":["127.0.0.9/32"]},`, 1)
	if err := e.loadJSON(t, []byte(trusting)); err != nil {
		t.Fatal(err)
	}
	proxy := e.from(t, "127.0.0.9")
	for _, c := range []struct {
		scope, forwarded string
		status           int
	}{
		{"192.0.2.1", "192.0.2.1", 200},
		{"192.0.2.1", "::ffff:192.0.2.1", 200},
		{"192.0.2.1", "192.0.2.2", 403},
		{"192.0.2.0/24", "192.0.2.2", 200},
		{"192.0.2.0%2F24", "192.0.2.2", 403}, // it was not signed like that
		{"2001:db8::/64", "2001:db8::5", 200},
		{"2001:db8::/64", "2001:db8:0:1::5", 403},
		{"127.0.0.9", "192.0.2.1", 403},
		{"127.0.0.9", "", 200},
	} {
		path := signedBy(linkKey, "/cdn/art/"+sourceID(0), inAnHour(), c.scope)
		header := http.Header{}
		if c.forwarded != "" {
			header.Set("X-Forwarded-For", c.forwarded)
		}
		if a := proxy.do(t, http.MethodGet, path, header); a.status != c.status {
			t.Errorf("%s from %s: got %s, want %d", c.scope, c.forwarded, a, c.status)
		}
		if a := e.from(t, "127.0.0.8").do(t, http.MethodGet, path, header); a.status != 403 {
			t.Errorf("%s: who is no proxy is believed: %s", c.scope, a)
		}
	}
}

// The cache knows nothing of signatures: all links of a track, of any key and client, are
// answered out of one entry, conditions and ranges included. What differs is how fresh
// the answers are to others.
func TestSignedURLsShareTheCache(t *testing.T) {
	o := fileOrigin(t, trackFiles())
	e := startEdge(t, signedSite(t, o, ""))
	target, track := "/cdn/stream/"+songVOYO, trackFiles()["/128/"+songID+".opus"]
	e.becomesHit(t, signedBy(linkKey, target, inAnHour(), ""), track)
	if !e.mustGet(t, signedBy(oldLinkKey, "/proxy?v="+songID, inAnHour(), "127.0.0.1"), track) {
		t.Error("another link of the track is not answered out of the cache")
	}
	for _, c := range []struct {
		client, scope string
		lifetime      time.Duration
		most          int
	}{
		{"", "public", 2 * time.Hour, 3600},
		{"", "public", time.Minute, 60},
		{"127.0.0.1", "private", 2 * time.Hour, 3600},
		{"127.0.0.1", "private", time.Minute, 60},
	} {
		link := signedBy(linkKey, target, time.Now().Add(c.lifetime), c.client)
		for _, kind := range []struct {
			method string
			header http.Header
			status int
		}{
			{"GET", nil, 200},
			{"HEAD", nil, 200},
			{"GET", with("Range", "bytes=10-19"), 206},
			{"GET", with("Range", "bytes=0-1,5-6"), 206},
			{"GET", with("If-None-Match", `"v1"`), 304},
			{"GET", with("Range", "bytes=10-19", "If-Range", `"v1"`), 206},
		} {
			a := e.do(t, kind.method, link, kind.header)
			scope, age, _ := strings.Cut(a.header.Get("Cache-Control"), ", max-age=")
			seconds, err := strconv.Atoi(age)
			if a.status != kind.status || scope != c.scope || err != nil || seconds > c.most || seconds < c.most-30 {
				t.Errorf("%s with %v, for %q until %s: got %d, Cache-Control: %s", kind.method, kind.header, c.client, c.lifetime,
					a.status, a.header.Get("Cache-Control"))
			}
			if a.header.Get("Etag") != `"v1"` || !strings.Contains(a.header.Get("Cache-Status"), "hit") {
				t.Errorf("got %s", a)
			}
		}
		if a := e.do(t, "GET", link, with("Range", "bytes=99999999-")); a.status != 416 || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("a range of nothing: got %s", a)
		}
	}
	if n := len(o.asked("/")); n != 1 {
		t.Errorf("the upstream was asked %d times", n)
	}
}

// New keys keep the cache, and old ones are good until they are taken away.
func TestSignedURLsRotation(t *testing.T) {
	o := newLibrary(t, 1)
	site := signedSite(t, o, "")
	without := strings.Replace(site, "key {env.VOYO_OLD_LINK_KEY}\n", "", 1)
	before := strings.Replace(site, "key {env.VOYO_LINK_KEY}\n", "", 1)
	e := startEdge(t, before)
	target, track := "/cdn/stream/"+sourceID(0), fakeTrack(1000)
	old, link := signedBy(oldLinkKey, target, inAnHour(), ""), signedBy(linkKey, target, inAnHour(), "")
	e.becomesHit(t, old, track)
	checkRefused(t, "a key to come", e.get(t, link), 403, "Invalid signature")
	for _, next := range []struct {
		site string
		good []string
	}{{site, []string{old, link}}, {without, []string{link}}} {
		if err := e.load(t, next.site); err != nil {
			t.Fatal(err)
		}
		for _, one := range []string{old, link} {
			if !slices.Contains(next.good, one) {
				checkRefused(t, "a key of the past", e.get(t, one), 403, "Invalid signature")
			} else if !e.mustGet(t, one, track) {
				t.Error("the cache is not what it was")
			}
		}
	}
	t.Setenv("VOYO_LINK_KEY", "short")
	if err := e.load(t, without); err == nil || !strings.Contains(err.Error(), "signed_urls: key 1: must have at least 16 bytes, and has 5") {
		t.Errorf("got %v", err)
	}
	if !e.mustGet(t, link, track) {
		t.Error("a configuration that failed has changed something")
	}
}

// Refusals are counted, pass through handle_errors, and neither they nor anything else has
// a key in it. What another site's page asks for is refused as that.
func TestSignedURLsRefusals(t *testing.T) {
	o := newLibrary(t, 1)
	e := startEdge(t, metered(signedSite(t, o, "allowed_origins "+page+"\nenforce_origins"))+`
		log_append voyo_id {http.voyo.id}
		handle_errors 403 410 {
			respond "sorry: {err.message}" {err.status_code}
		}`)
	target := "/cdn/stream/" + sourceID(0)
	before := e.scrape(t)
	for _, c := range []struct {
		path   string
		status int
		want   string
	}{
		{target, 403, "sorry: Invalid signature"},
		{signedBy(linkKey, target, time.Unix(1, 0), ""), 410, "sorry: Link expired"},
	} {
		if a := e.get(t, c.path); a.status != c.status || string(a.body) != c.want || a.header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: got %s, want %d %s", c.path, a, c.status, c.want)
		}
	}
	if a := e.do(t, http.MethodGet, target, with("Origin", other)); string(a.body) != "sorry: Origin not allowed" {
		t.Errorf("from another site: got %s", a)
	}
	e.wantScrape(t, added(before, scrape{
		`refused_requests_total{reason="signature"}`: 1,
		`refused_requests_total{reason="expired"}`:   1,
		`refused_requests_total{reason="origin"}`:    1,
	}, "refused_requests_total"))
	logged := e.logged(t)
	if strings.Contains(logged, linkKey) || strings.Contains(logged, oldLinkKey) {
		t.Error("a key is logged")
	}
	if n := strings.Count(logged, `"voyo_id":"`+sourceID(0)+`"`); n != 2 {
		t.Errorf("what was asked for is logged %d times", n)
	}
}

// What signs in the documents, in another language, signs what the edge takes.
func TestSignedURLsRecipe(t *testing.T) {
	o := newLibrary(t, 1)
	e := startEdge(t, signedSite(t, o, ""))
	blocks, _ := codeBlocks(readRepository(t, "docs/configuration.md"), "js")
	if len(blocks) != 1 {
		t.Fatalf("%d recipes in JavaScript", len(blocks))
	}
	for target, want := range ofEachShape(sourceID(0)) {
		for _, client := range []string{"", "127.0.0.0/8"} {
			cmd := exec.CommandContext(t.Context(), tool(t, "node"), "-e", blocks[0]+`
				console.log(sign(process.argv[1], Math.floor(Date.now() / 1000) + 60, process.argv[2]))`, target, client)
			out, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			if a := e.get(t, strings.TrimSpace(string(out))); a.status != want {
				t.Errorf("%s: %s: got %s", target, out, a)
			}
		}
	}
}
