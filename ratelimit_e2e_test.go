package voyo_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// The clients of these tests differ by their addresses, all of which are the loopback
// interface's. The windows are so long that nothing is granted anew while a test runs.

// from returns the edge as a client with another address sees it.
func (e *edge) from(t *testing.T, address string) node {
	t.Helper()
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	transport := &http.Transport{DisableCompression: true, DialContext: dialer.DialContext}
	t.Cleanup(transport.CloseIdleConnections)
	return node{e.url, &http.Client{Transport: transport}}
}

func limitedSite(o *origin, limits string) string {
	return "voyo {\n" + template(o.URL) + "\nrate_limit {\n" + limits + "\n}\n}"
}

// checkLimited checks that an answer is what who is over a limit gets.
func checkLimited(t *testing.T, a answer, limit string, mostSeconds int) {
	t.Helper()
	seconds, err := strconv.Atoi(a.header.Get("Retry-After"))
	if err != nil || seconds < 1 || seconds > mostSeconds {
		t.Errorf("Retry-After: %s", a.header.Get("Retry-After"))
	}
	want := fmt.Sprintf(`{"error":"Too many requests","reason":"%s","retryAfter":%d}`+"\n", limit, seconds)
	if a.status != http.StatusTooManyRequests || string(a.body) != want {
		t.Errorf("got %s, want 429 %s", a, want)
	}
	for name, value := range map[string]string{
		"Content-Type": "application/json", "Cache-Control": "no-store", "Vary": "Origin", "X-Content-Type-Options": "nosniff",
		"Cross-Origin-Resource-Policy": "cross-origin", "Cache-Status": "", "Accept-Ranges": "", "Server-Timing": "",
	} {
		if got := a.header.Get(name); got != value {
			t.Errorf("%s: %q, want %q", name, got, value)
		}
	}
}

// becomesHit gets what must be there until it comes out of the cache, where it is kept
// a moment after it was first answered with.
func (n node) becomesHit(t *testing.T, path, want string) {
	t.Helper()
	eventually(t, "a hit: "+path, func() bool { return n.mustGet(t, path, want) })
}

// limitHealth is what /health says of the limits.
func (n node) limitHealth(t *testing.T) string {
	t.Helper()
	a := n.get(t, "/health")
	var h struct{ RateLimit json.RawMessage }
	if err := json.Unmarshal(a.body, &h); err != nil || a.status != http.StatusOK {
		t.Fatalf("/health: %v: %s", err, a)
	}
	return string(h.RateLimit)
}

func TestRateLimitRequests(t *testing.T) {
	o := newLibrary(t, 1)
	e := startEdge(t, "route {\nvoyo {\n"+template(o.URL)+"\nallowed_origins "+page+"\nrate_limit {\nrequests 4 1h\n}\n}\nrespond \"next\"\n}")
	id := sourceID(0)
	for range 10 { // what costs nothing
		e.get(t, "/health")
		e.get(t, "/elsewhere")
		e.get(t, "/cdn/stream/nonsense")
		e.do(t, http.MethodOptions, "/cdn/stream/"+id, nil)
		e.do(t, http.MethodPost, "/cdn/stream/"+id, nil)
	}
	if got := e.limitHealth(t); got != `{"activeIPs":0,"perIPLimit":4}` {
		t.Errorf("/health: %s", got)
	}
	for _, path := range []string{"/cdn/stream/", "/cdn/art/", "/exists/", "/stream?v="} {
		if a := e.get(t, path+id); a.status != http.StatusOK {
			t.Errorf("%s: got %s", path, a)
		}
	}
	for _, path := range []string{"/cdn/stream/", "/cdn/art/", "/proxy?v=", "/thumbnail?id=", "/audio/", "/thumb/", "/exists/", "/stream?v=", "/prefetch?v="} {
		a := e.do(t, http.MethodGet, path+id, with("Origin", page, "Range", "bytes=0-1"))
		checkLimited(t, a, "requests", 900)
		if got := a.header.Get("Access-Control-Allow-Origin"); got != page {
			t.Errorf("%s: Access-Control-Allow-Origin: %q", path, got)
		}
		if a := e.do(t, http.MethodHead, path+id, nil); a.status != http.StatusTooManyRequests || len(a.body) > 0 || a.header.Get("Retry-After") == "" {
			t.Errorf("HEAD %s: got %s", path, a)
		}
	}
	for path, want := range map[string]int{"/health": 200, "/elsewhere": 200, "/cdn/stream/nonsense": 400} {
		if a := e.get(t, path); a.status != want {
			t.Errorf("%s: got %s", path, a)
		}
	}
	if a := e.do(t, http.MethodOptions, "/cdn/stream/"+id, with("Origin", page)); a.status != http.StatusNoContent {
		t.Errorf("OPTIONS: got %s", a)
	}
	e.from(t, "127.0.0.2").mustGet(t, "/cdn/stream/"+id, fakeTrack(1000))
	if got := e.limitHealth(t); got != `{"activeIPs":2,"perIPLimit":4}` {
		t.Errorf("/health: %s", got)
	}
}

// A client who has used up its lookups gets what is cached, and nothing else.
func TestRateLimitLookups(t *testing.T) {
	o := newLibrary(t, 3)
	e := startEdge(t, limitedSite(o, "lookups 2 1h"))
	here, missing := sourceID(0), sourceID(1)
	track, cover := fakeTrack(1000), fakeCover(here, 1000)
	e.becomesHit(t, "/cdn/stream/"+here, track)
	e.becomesHit(t, "/cdn/art/"+here, cover)
	for _, path := range []string{"/cdn/stream/", "/cdn/art/", "/audio/", "/thumb/", "/exists/", "/stream?v=", "/prefetch?v="} {
		checkLimited(t, e.get(t, path+missing), "lookups", 1800)
	}
	checkLimited(t, e.get(t, "/cdn/stream/"+here+"?quality=low"), "lookups", 1800)
	checkLimited(t, e.get(t, "/exists/"+here), "lookups", 1800)
	if a := e.do(t, http.MethodHead, "/cdn/stream/"+missing, nil); a.status != http.StatusTooManyRequests {
		t.Errorf("HEAD: got %s", a)
	}
	if n := len(o.asked("/128/"+missing)) + len(o.asked("/art/"+missing)); n != 0 {
		t.Errorf("the upstream was asked %d times for what was refused", n)
	}
	if n := e.health(t).Cache.PrefetchCacheSize; n != 0 {
		t.Errorf("%d tracks are being made ready", n)
	}

	if a := e.do(t, http.MethodGet, "/cdn/stream/"+here, with("Range", "bytes=-10")); a.status != http.StatusPartialContent || string(a.body) != track[990:] {
		t.Errorf("a range of what is cached: got %s", a)
	}
	if a := e.get(t, "/stream?v="+here); a.status != http.StatusOK || !strings.Contains(string(a.body), `"cached":true`) {
		t.Errorf("/stream of what is cached: got %s", a)
	}
	if a := e.get(t, "/prefetch?v="+here); a.status != http.StatusAccepted {
		t.Errorf("/prefetch of what is cached: got %s", a)
	}
	if e.from(t, "127.0.0.2").mustGet(t, "/cdn/stream/"+missing, fakeTrack(1001)) {
		t.Error("another client had no need of a lookup")
	}
	e.becomesHit(t, "/cdn/stream/"+missing, fakeTrack(1001))
	if got := e.limitHealth(t); got != `{"activeIPs":2,"perIPLimit":0}` {
		t.Errorf("/health: %s", got)
	}
}

// To make a track ready is one lookup, and the track's rest is none.
func TestRateLimitWarming(t *testing.T) {
	track, cover := fakeTrack(2<<20), fakeCover("cover", 1000)
	o := fileOrigin(t, map[string]string{"/128/" + songID + ".opus": track, "/art/" + songID + "/hqdefault.png": cover})
	for _, path := range []string{"/prefetch?v=", "/stream?v="} {
		t.Run(path, func(t *testing.T) {
			e := startEdge(t, limitedSite(o, "lookups 1 1h\ntotal_lookups 1 1h"))
			if a := e.get(t, path+songID); a.status >= 300 {
				t.Fatalf("got %s", a)
			}
			if a := e.get(t, path+songID); a.status >= 300 {
				t.Errorf("once more: got %s", a)
			}
			eventually(t, "the track is ready", func() bool {
				c := e.health(t).Cache
				return c.StreamCacheSize == 1 && c.ThumbnailCacheSize == 1
			})
			e.mustGet(t, "/cdn/art/"+songID, cover)
			e.mustGet(t, "/cdn/stream/"+songID, track)
			checkLimited(t, e.get(t, path+sourceID(1)), "lookups", 3600)
			e.stop(t)
		})
	}
}

// Who joins another's fetch needs no lookup for it.
func TestRateLimitJoins(t *testing.T) {
	goOn := make(chan struct{})
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, songID) {
			<-goOn
		}
		w.Header().Set("Content-Type", "audio/ogg")
		_, _ = io.WriteString(w, fakeTrack(1000))
	})
	e := startEdge(t, limitedSite(o, "lookups 1 1h"))
	e.get(t, "/cdn/stream/"+sourceID(0))
	checkLimited(t, e.get(t, "/cdn/stream/"+songID), "lookups", 3600)

	statuses := make(chan int, 2)
	get := func(n node) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.url+"/cdn/stream/"+songID, nil)
		if err != nil {
			panic(err)
		}
		resp, err := n.client.Do(r)
		if err != nil {
			statuses <- 0
			return
		}
		resp.Body.Close()
		statuses <- resp.StatusCode
	}
	go get(e.from(t, "127.0.0.2"))
	eventually(t, "the upstream is asked", func() bool { return len(o.asked("/128/"+songID)) == 1 })
	go get(e.node)
	eventually(t, "both wait", func() bool { return e.health(t).Cache.Stats.ActiveStreams == 2 })
	close(goOn)
	for range 2 {
		if status := await(t, "an answer", statuses); status != http.StatusOK {
			t.Errorf("got %d", status)
		}
	}
	if n := len(o.asked("/128/" + songID)); n != 1 {
		t.Errorf("the upstream was asked %d times", n)
	}
}

// Whoever is refused, those who ask for the same thing at the same time are not.
func TestRateLimitHurtsNobodyElse(t *testing.T) {
	const tracks = 20
	o := newLibrary(t, tracks)
	e := startEdge(t, limitedSite(o, fmt.Sprintf("lookups %d 1h", 2*tracks)))
	for i := range 2 * tracks { // of which there are none
		e.get(t, "/cdn/stream/"+sourceID(1000+i))
	}
	checkLimited(t, e.get(t, "/cdn/stream/"+sourceID(999)), "lookups", 3600)
	good := e.from(t, "127.0.0.2")
	status := func(n node, path string) int {
		r, err := http.NewRequestWithContext(context.Background(), http.MethodGet, n.url+path, nil)
		if err != nil {
			panic(err)
		}
		resp, err := n.client.Do(r)
		if err != nil {
			return 0
		}
		defer resp.Body.Close()
		_, _ = io.Copy(io.Discard, resp.Body)
		return resp.StatusCode
	}
	for i := range tracks {
		for _, path := range []string{"/exists/" + sourceID(i), "/cdn/stream/" + sourceID(i)} {
			var work sync.WaitGroup
			for range 4 {
				work.Go(func() {
					if got := status(e.node, path); got != http.StatusOK && got != http.StatusTooManyRequests {
						t.Errorf("%s: who has none left got %d", path, got)
					}
				})
			}
			work.Go(func() {
				if got := status(good, path); got != http.StatusOK {
					t.Errorf("%s: who has some left got %d", path, got)
				}
			})
			work.Wait()
		}
	}
}

func TestRateLimitTotalLookups(t *testing.T) {
	o := newLibrary(t, 3)
	e := startEdge(t, limitedSite(o, "total_lookups 2 1h"))
	for i := range 2 {
		e.from(t, fmt.Sprintf("127.0.0.%d", 2+i)).mustGet(t, "/cdn/stream/"+sourceID(i), fakeTrack(1000+i))
	}
	last := e.from(t, "127.0.0.4")
	checkLimited(t, last.get(t, "/cdn/stream/"+sourceID(2)), "total_lookups", 1800)
	checkLimited(t, last.get(t, "/prefetch?v="+sourceID(2)), "total_lookups", 1800)
	last.becomesHit(t, "/cdn/stream/"+sourceID(0), fakeTrack(1000))
	if got := e.limitHealth(t); got != `{"activeIPs":0,"perIPLimit":0}` {
		t.Errorf("/health: %s", got)
	}
}

// A proxy that is trusted says who the client is. Whoever else says so is not believed.
func TestRateLimitBehindProxy(t *testing.T) {
	o := newLibrary(t, 1)
	e := newEdge(t)
	config := string(e.adapt(t, limitedSite(o, "requests 2 1h")))
	trusting := strings.Replace(config, `"srv0":{`, `"srv0":{"trusted_proxies":{"source":"static","ranges":["127.0.0.9/32"]},`, 1)
	if err := e.loadJSON(t, []byte(trusting)); err != nil {
		t.Fatal(err)
	}
	proxy, direct := e.from(t, "127.0.0.9"), e.from(t, "127.0.0.8")
	for i, c := range []struct {
		n         node
		forwarded string
		status    int
	}{
		{proxy, "192.0.2.1", 200},
		{proxy, "192.0.2.1", 200},
		{proxy, "192.0.2.1", 429},
		{proxy, "192.0.2.2", 200},
		{proxy, "::ffff:192.0.2.2", 200},
		{proxy, "192.0.2.2", 429},
		{proxy, "2001:db8:0:1::1", 200},
		{proxy, "2001:db8:0:1:ffff::", 200},
		{proxy, "2001:db8:0:1::2", 429},
		{proxy, "2001:db8:0:2::1", 200},
		{direct, "192.0.2.3", 200},
		{direct, "192.0.2.4", 200},
		{direct, "192.0.2.5", 429},
		{proxy, "192.0.2.3", 200},
		{proxy, "127.0.0.8", 429},
	} {
		if a := c.n.do(t, http.MethodGet, "/cdn/art/"+sourceID(0), with("X-Forwarded-For", c.forwarded)); a.status != c.status {
			t.Errorf("%d: %s: got %s, want %d", i, c.forwarded, a, c.status)
		}
	}
}

func TestRateLimitHandleErrors(t *testing.T) {
	o := newLibrary(t, 1)
	e := startEdge(t, limitedSite(o, "requests 1 1h")+`
		log_append voyo_limit {http.voyo.limit}
		handle_errors 429 {
			respond "slow down: {err.message}, {http.voyo.limit}" 503
		}`)
	path := "/cdn/art/" + sourceID(0)
	e.mustGet(t, path, fakeCover(sourceID(0), 1000))
	a := e.get(t, path)
	if want := "slow down: Too many requests, requests"; a.status != http.StatusServiceUnavailable || string(a.body) != want {
		t.Errorf("got %s, want %s", a, want)
	}
	if a.header.Get("Retry-After") == "" || a.header.Get("Cache-Control") != "no-store" {
		t.Errorf("got %s", a)
	}
	if n := strings.Count(e.logged(t), `"voyo_limit":"requests"`); n != 1 {
		t.Errorf("the limit is logged %d times", n)
	}
}

// A reload forgives nothing, and a failed one changes nothing.
func TestRateLimitReloads(t *testing.T) {
	o := newLibrary(t, 10)
	site := func(more string) string { return "voyo {\n" + template(o.URL) + "\n" + more + "\n}" }
	const limits = "rate_limit {\nrequests 4 1h\nlookups 2 1h\ntotal_lookups 3 1h\n}"
	e := startEdge(t, site(limits))
	for i := range 2 {
		e.mustGet(t, "/cdn/stream/"+sourceID(i), fakeTrack(1000+i))
	}
	if err := e.load(t, site(limits+"\nart {\nentries 7\n}")); err != nil {
		t.Fatal(err)
	}
	for _, lax := range []string{"", "rate_limit {\nrequests 99 1h\n}"} {
		if err := e.load(t, site(lax+"\nenforce_origins")); err == nil {
			t.Fatal("it was loaded")
		}
		if err := e.loadWithFailingApp(t, site(lax)); err == nil {
			t.Fatal("it was loaded")
		}
	}
	checkLimited(t, e.get(t, "/cdn/stream/"+sourceID(2)), "lookups", 1800)
	e.mustGet(t, "/cdn/stream/"+sourceID(0), fakeTrack(1000))
	checkLimited(t, e.get(t, "/cdn/stream/"+sourceID(0)), "requests", 900)
	next := e.from(t, "127.0.0.2")
	next.mustGet(t, "/cdn/stream/"+sourceID(3), fakeTrack(1003))
	checkLimited(t, next.get(t, "/cdn/stream/"+sourceID(4)), "total_lookups", 1200)

	if err := e.load(t, site("rate_limit {\nrequests 1 30m\n}")); err != nil {
		t.Fatal(err)
	}
	e.mustGet(t, "/cdn/stream/"+sourceID(4), fakeTrack(1004))
	checkLimited(t, e.get(t, "/cdn/stream/"+sourceID(4)), "requests", int(30*time.Minute/time.Second))
	if err := e.load(t, site("")); err != nil {
		t.Fatal(err)
	}
	e.mustGet(t, "/cdn/stream/"+sourceID(5), fakeTrack(1005))
}
