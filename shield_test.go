package voyo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/voyo-music/caddy-voyo/cache"
	"github.com/voyo-music/caddy-voyo/resolver"
)

// fakeShield answers as the test says. Without a say it is an edge that has the track.
type fakeShield struct {
	*httptest.Server

	mu       sync.Mutex
	answer   http.HandlerFunc
	requests []*http.Request
}

func newFakeShield(t *testing.T, answer http.HandlerFunc) *fakeShield {
	t.Helper()
	f := &fakeShield{answer: answer}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.requests = append(f.requests, r)
		answer := f.answer
		f.mu.Unlock()
		w.Header().Set("Content-Type", "audio/ogg")
		w.Header().Set("Cache-Status", "voyo; hit; ttl=100")
		answer(w, r)
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *fakeShield) asked() []*http.Request {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.requests)
}

func (f *fakeShield) set(answer http.HandlerFunc) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.answer = answer
}

func says(status int, fields ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(fields); i += 2 {
			w.Header().Set(fields[i], fields[i+1])
		}
		w.WriteHeader(status)
		if status != http.StatusNotModified {
			_, _ = io.WriteString(w, "shield")
		}
	}
}

// giveShields gives a handler shields, asked in their order.
func giveShields(t *testing.T, h *Handler, urls ...string) {
	t.Helper()
	h.shields = loadShields(t, `{"policy": "first"}`, urls...)
}

// What a shield answers decides who is asked next, and whether the shield is well.
func TestShieldAnswers(t *testing.T) {
	gone := httptest.NewServer(nil)
	gone.Close()
	abort := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	page := says(200, "Content-Type", "text/html")
	foreign := func(status int) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			w.Header().Del("Cache-Status")
			says(status)(w, r)
		}
	}
	ranged := http.Header{"Range": {"bytes=5-10"}, "If-Range": {`"1"`}}
	const date = "Sun, 06 Nov 1994 08:49:37 GMT"
	dated := http.Header{"Range": {"bytes=5-10"}, "If-Range": {date}}
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc // nil: nobody is there
		header http.Header
		want   string // the body
		err    error
		next   bool   // another shield is asked
		ill    reason // it is left out
		cache  string // what clients are told of it
	}{
		{name: "has it", answer: says(200), want: "shield", cache: "voyo; hit;ttl=100"},
		{name: "part", answer: says(206, "Content-Range", "bytes 5-10/11", "Content-Length", "6", "Etag", `"1"`), header: ranged, want: "shield", cache: "voyo; hit;ttl=100"},
		{name: "confirms", answer: says(304), header: http.Header{"If-None-Match": {`"1"`}}, cache: "voyo; hit;ttl=100"},
		{name: "behind the end", answer: says(416, "Content-Range", "bytes */3"), header: http.Header{"Range": {"bytes=5-10"}}, want: "shield", cache: "voyo; hit;ttl=100"},
		{name: "third tier", answer: says(200, "Cache-Status", "voyo; hit; ttl=9, voyo; fwd=miss; stored"), want: "shield", cache: "voyo;hit;ttl=9, voyo;fwd=miss;stored"},
		{name: "cache before it", answer: says(200, "Cache-Status", `other; hit; key="shield.example/?signature=x", "edge.example"; hit, voyo; hit; key=secret; ttl=9`), want: "shield", cache: "voyo;hit;ttl=9"},
		{name: "does not have it", answer: says(404), err: cache.ErrNotFound},
		{name: "does not have it any more, or yet", answer: says(404), header: ranged, want: "next", next: true},
		{name: "taken down", answer: says(451), err: errTakenDown},
		{name: "a provider's page", answer: foreign(451), want: "next", next: true},
		{name: "loop", answer: foreign(508), want: "origin"},
		{name: "nobody there", want: "next", next: true, ill: reasonRefused},
		{name: "breaks", answer: abort, want: "next", next: true, ill: reasonReset},
		{name: "500", answer: says(500), want: "next", next: true, ill: reasonStatus},
		{name: "503", answer: says(503), want: "next", next: true, ill: reasonStatus},
		{name: "502", answer: says(502), want: "next", next: true},
		{name: "504", answer: says(504), want: "next", next: true},
		{name: "429", answer: says(429), want: "next", next: true},
		{name: "403", answer: says(403), want: "next", next: true},
		{name: "link over", answer: says(410), want: "next", next: true},
		{name: "redirect", answer: says(302, "Location", "/elsewhere"), want: "next", next: true},
		{name: "page", answer: page, want: "next", next: true},
		{name: "no edge", answer: foreign(200), want: "next", next: true},
		{name: "no edge that does not have it", answer: foreign(404), want: "next", next: true},
		{name: "another cache", answer: says(200, "Cache-Status", "other; hit"), want: "next", next: true},
		{name: "no field", answer: says(200, "Cache-Status", "voyo; hit,,"), want: "next", next: true},
		{name: "other part", answer: says(206, "Content-Range", "bytes 0-4/10", "Content-Length", "5"), header: ranged, want: "next", next: true},
		{name: "shorter version", answer: says(416, "Content-Range", "bytes */3"), header: ranged, want: "next", next: true},
		{name: "part by date", answer: says(206, "Content-Range", "bytes 5-10/11", "Content-Length", "6", "Last-Modified", date), header: dated, want: "shield", cache: "voyo; hit;ttl=100"},
		{name: "other version by date", answer: says(200, "Last-Modified", "Mon, 07 Nov 1994 08:49:37 GMT"), header: dated, want: "next", next: true},
		{name: "other version", answer: says(200, "Etag", `"2"`), header: ranged, want: "next", next: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			url := gone.URL
			if c.answer != nil {
				url = newFakeShield(t, c.answer).URL
			}
			second := newFakeShield(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Etag", `"1"`)
				w.Header().Set("Last-Modified", date)
				_, _ = io.WriteString(w, "next")
			})
			third := newFakeShield(t, says(200))
			origin := newTestOrigin(t)
			h := newTestHandler(t, at(origin.URL+"/origin"))
			h.client.(*http.Transport).DisableKeepAlives = true
			logs := observe(h)
			giveShields(t, h, url, second.URL, third.URL)
			up := h.upstream(newTestRequest("GET", "/", nil), testAsset)
			body := ""
			resp, err := up.fetch(t.Context(), c.header)
			if err == nil {
				b, _ := io.ReadAll(resp.Body)
				body = string(b)
				resp.Body.Close()
			}
			if body != c.want || !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
				t.Errorf("got %q, %v", body, err)
			}
			if n := len(second.asked()); (n == 1) != c.next || len(third.asked()) != 0 {
				t.Errorf("the next one was asked %d times", n)
			}
			if status, why := h.shields.list[0].health.state(time.Now()); status == statusFailing != (c.ill != "") || why != c.ill {
				t.Errorf("it is %s, %q", status, why)
			}
			if source := up.answeredBy(); source != "shield" && c.want != "origin" {
				t.Errorf("answered by %q", source)
			}
			header := http.Header{"Cache-Status": {"voyo; fwd=miss"}}
			up.setTiers(header)
			if got := header.Get("Cache-Status"); c.cache != "" && strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(c.cache, " ", "")+",voyo;fwd=miss" {
				t.Errorf("clients are told %q", got)
			}
			if resp != nil && (resp.Header.Get("Cache-Status") != "" || resp.Header.Get("Vary") != "") {
				t.Errorf("the cache is told %v", resp.Header)
			}
			for _, word := range []string{"127.0.0.1", "http:"} {
				if said := dump(t, logs) + fmt.Sprint(err); strings.Contains(said, word) {
					t.Errorf("%q shows in %s", word, said)
				}
			}
		})
	}
}

// What a shield has taken down an edge takes for that, and does not ask for elsewhere.
func TestShieldHasTakenDown(t *testing.T) {
	shield := newTestHandler(t, found(nil))
	shield.state.takedowns.add(testID)
	f := newFakeShield(t, func(w http.ResponseWriter, r *http.Request) {
		r.Header.Del("Cdn-Loop") // of this process, which both are in
		got := serve(t, shield, r.Method, r.URL.RequestURI(), r.Header)
		maps.Copy(w.Header(), got.Header())
		w.WriteHeader(got.Code)
		_, _ = got.Body.WriteTo(w)
	})
	origin := newTestOrigin(t)
	h := newTestHandler(t, at(origin.URL+"/ok"))
	giveShields(t, h, f.URL)
	w := serve(t, h, "GET", "/cdn/stream/"+testID, nil)
	if w.Code != http.StatusUnavailableForLegalReasons || len(f.asked()) != 1 {
		t.Errorf("got %d, after %d requests", w.Code, len(f.asked()))
	}
}

// A shield is sent what any upstream is, at the URL of the asset, and nothing of the
// client's.
func TestShieldRequest(t *testing.T) {
	cover := resolver.Asset{ID: testID, Kind: resolver.Art, Image: "maxresdefault"}
	video := resolver.Asset{ID: testID, Kind: resolver.Stream, Type: resolver.Video, Bitrate: resolver.LowBitrate}
	for _, c := range []struct {
		asset resolver.Asset
		want  string
	}{
		{testAsset, "/base/cdn/stream/" + testVOYO + "?type=audio&quality=high"},
		{video, "/base/cdn/stream/" + testVOYO + "?type=video&quality=low"},
		{cover, "/base/cdn/art/" + testVOYO + "?quality=max"},
	} {
		f := newFakeShield(t, says(404))
		h := newTestHandler(t, found(nil))
		h.linkKeys = linkKeys{[]byte(testLinkKey), []byte("another")}
		giveShields(t, h, f.URL+"/base/")
		client := http.Header{"Cookie": {"secret"}, "Range": {"bytes=1-1"}, "X-Forwarded-For": {"192.0.2.1"}, "Cdn-Loop": {"other"}}
		up := h.upstream(newTestRequest("GET", "/cdn/stream/"+testID+"?quality=x", client), c.asset)
		if _, err := up.fetch(t.Context(), http.Header{"Range": {"bytes=0-9"}}); !errors.Is(err, cache.ErrNotFound) {
			t.Fatal(err)
		}
		r := f.asked()[0]
		bare, signature, _ := strings.Cut(r.RequestURI, "&expires=")
		if bare != c.want || signature == "" {
			t.Errorf("asked for %s", r.RequestURI)
		}
		r.URL.Path = strings.TrimPrefix(r.URL.Path, "/base")
		s, _ := locate(r.URL)
		if l, sig, err := parseLink(s, r.URL, testVOYO); err != nil || !h.linkKeys[:1].verify(l, sig) || l.over(time.Now()) || l.client != "" {
			t.Errorf("the link %+v, %v", l, err)
		}
		for name := range r.Header {
			if !slices.Contains([]string{"Accept", "Accept-Encoding", "Cdn-Loop", "Range", "User-Agent", "Via"}, name) {
				t.Errorf("it was sent %s: %s", name, r.Header.Get(name))
			}
		}
		if r.Header.Get("Range") != "bytes=0-9" || r.Header.Get("Cdn-Loop") != loopEntry {
			t.Errorf("it was sent %v", r.Header)
		}
	}
}

// A node that has found itself on the list does not ask itself again, whoever else has passed
// the request on; but one that another node says it has met before does.
func TestShieldIsSelf(t *testing.T) {
	madeUp := http.Header{"Cdn-Loop": {"caddy-voyo; id=" + strings.Repeat("A", 26)}}
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		header http.Header
		want   int
	}{
		{"itself", says(508, "Cdn-Loop", loopEntry), nil, 1},
		{"itself, asked by another", says(508, "Cdn-Loop", loopEntry), madeUp, 1},
		{"another", says(508, "Cdn-Loop", madeUp.Get("Cdn-Loop")), madeUp, 3},
		{"unknown", says(508), nil, 3},
	} {
		f := newFakeShield(t, c.answer)
		origin := newTestOrigin(t)
		h := newTestHandler(t, at(origin.URL+"/ok"))
		giveShields(t, h, f.URL)
		for range 3 {
			resp, err := h.upstream(newTestRequest("GET", "/", c.header), testAsset).fetch(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
		}
		if n := len(f.asked()); n != c.want {
			t.Errorf("%s: it was asked %d times, not %d", c.name, n, c.want)
		}
		w := serve(t, h, "GET", "/cdn/stream/"+testID, http.Header{"Cdn-Loop": {loopEntry}})
		if w.Code != http.StatusLoopDetected || w.Header().Get("Cdn-Loop") != loopEntry {
			t.Errorf("it says %d, %v", w.Code, w.Header())
		}
	}
}

// Shields whose bodies have nothing in them are not asked again for the same fill: it would
// end there. What it breaks off in the middle it may go on with.
func TestShieldInVain(t *testing.T) {
	for _, c := range []struct {
		sent string
		want int
	}{{"", 2}, {"some", 3}} {
		f := newFakeShield(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_, _ = io.WriteString(w, c.sent)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		})
		origin := newTestOrigin(t)
		h := newTestHandler(t, at(origin.URL+"/ok"))
		h.client.(*http.Transport).DisableKeepAlives = true
		giveShields(t, h, f.URL, f.URL+"/another")
		up := h.upstream(newTestRequest("GET", "/", nil), testAsset)
		for range 3 {
			resp, err := up.fetch(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			_, _ = io.ReadAll(resp.Body)
			resp.Body.Close()
		}
		if n := len(f.asked()); n != c.want {
			t.Errorf("%q: it was asked %d times, not %d", c.sent, n, c.want)
		}
	}
}

// One that takes long leaves the resolvers the rest of the time: no other shield is asked.
func TestShieldTakesLong(t *testing.T) {
	h := newTestHandler(t, at("http://upstream.example/song.opus"))
	giveShields(t, h, tier(3)...)
	synctest.Test(t, func(t *testing.T) {
		var asked []string
		h.client = roundTripper(func(r *http.Request) (*http.Response, error) {
			asked = append(asked, r.URL.Host)
			for range 15 {
				time.Sleep(time.Second)
				h.shields.list[0].health.succeeded(time.Now()) // it answers others
			}
			return nil, context.DeadlineExceeded
		})
		resp, err := h.upstream(newTestRequest("GET", "/", nil), testAsset).askShields(t.Context(), nil)
		if resp != nil || err != nil || !slices.Equal(asked, []string{"edge-0.example"}) {
			t.Errorf("asked were %q, %v", asked, err)
		}
	})
}

// A shield that has failed may take as long when it is tried as any: its origin may be slow.
func TestShieldSlowTrial(t *testing.T) {
	h := newTestHandler(t, at("http://upstream.example/song.opus"))
	giveShields(t, h, tier(1)...)
	synctest.Test(t, func(t *testing.T) {
		health := h.shields.list[0].health
		health.failed(time.Now(), time.Now(), reasonTimeout, false)
		time.Sleep(shieldPause)
		h.client = roundTripper(func(r *http.Request) (*http.Response, error) {
			select {
			case <-r.Context().Done():
				return nil, context.Cause(r.Context())
			case <-time.After(shieldPatience - time.Second):
			}
			header := http.Header{"Cache-Status": {"voyo; fwd=miss"}}
			return &http.Response{StatusCode: http.StatusNotFound, Header: header, Body: http.NoBody, Request: r}, nil
		})
		if _, err := h.upstream(newTestRequest("GET", "/", nil), testAsset).fetch(t.Context(), nil); !errors.Is(err, cache.ErrNotFound) {
			t.Error(err)
		}
		if status, why := health.state(time.Now()); status != statusOK {
			t.Errorf("it is %s, %s", status, why)
		}
	})
}

// That the client has left is no fault of the shield, and ends its trial.
func TestShieldClientLeaves(t *testing.T) {
	came := make(chan struct{}, 10)
	f := newFakeShield(t, func(_ http.ResponseWriter, r *http.Request) {
		came <- struct{}{}
		<-r.Context().Done()
	})
	h := newTestHandler(t, found(nil))
	giveShields(t, h, f.URL)
	health := h.shields.list[0].health
	long := time.Now().Add(-time.Hour)
	for _, ill := range []bool{false, true} {
		if ill {
			health.failed(long, long, reasonRefused, false)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-came
			cancel()
		}()
		if _, err := h.upstream(newTestRequest("GET", "/", nil), testAsset).fetch(ctx, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if ok, trial := health.admit(time.Now()); !ok || trial != ill {
			t.Errorf("it may be asked: %t, on trial: %t", ok, trial)
		}
	}
}

// A node is not degraded while its shields answer, and it is if nothing does.
func TestShieldsDegraded(t *testing.T) {
	f := newFakeShield(t, says(503))
	h := newTestHandler(t, found(nil))
	giveShields(t, h, f.URL)
	for range failingAfter {
		h.state.pulses.failed(h.resolvers[0].name, reasonRefused)
	}
	if got := h.ailments(time.Now()); got != nil {
		t.Errorf("before it was asked: %v", got)
	}
	for range failingAfter {
		h.shields.list[0].health.succeeded(time.Now())
		if body, _, err := fetch(t, h, nil); err == nil {
			t.Errorf("got %q", body)
		}
	}
	if got, want := h.ailments(time.Now()), []string{"shield: status", "resolver test0: refused"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	f.set(says(404))
	h.shields.list[0].health.succeeded(time.Now())
	if body, _, err := fetch(t, h, nil); err == nil {
		t.Errorf("got %q", body)
	}
	if got := h.ailments(time.Now()); got != nil {
		t.Errorf("now that it answers: %v", got)
	}
}

// A policy with a bug costs nobody an answer, and is told of once.
func TestShieldPolicyPanics(t *testing.T) {
	origin := newTestOrigin(t)
	h := newTestHandler(t, at(origin.URL+"/ok"))
	logs := observe(h)
	h.shields = loadShields(t, `{"policy": "panicking"}`, tier(2)...)
	if body, _, err := fetch(t, h, nil); body != "ok" {
		t.Error(body, err)
	}
	if n := h.state.panics.Load(); n != 1 || logs.Len() != 1 {
		t.Errorf("%d panics, logged:\n%s", n, dump(t, logs))
	}
}

// What another edge is told besides, and a client is not.
func TestWhatPeersAreTold(t *testing.T) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Etag", `"1"`)
		w.Header().Set("Cache-Tag", "album")
		w.Header().Set("Cache-Control", "max-age=100")
		w.Header().Set("Content-Type", "audio/ogg")
		_, _ = io.WriteString(w, "song")
	}))
	t.Cleanup(srv.Close)
	h := newTestHandler(t, at(srv.URL+"/song.opus"))
	peer := http.Header{"Cdn-Loop": {"caddy-voyo; id=" + strings.Repeat("A", 26)}}
	for _, c := range []struct {
		header      http.Header
		told, their string
	}{{nil, "", ""}, {peer, "max-age=100", "album"}, {http.Header{"Cdn-Loop": {"other"}}, "", ""}} {
		w := serve(t, h, "GET", "/cdn/stream/"+testID, c.header)
		got := w.Header()
		if w.Code != 200 || got.Get(cache.PeerField) != c.told || got.Get("Cdn-Cache-Control") != "" || got.Get("Cache-Tag") != c.their || got.Get("Cache-Control") != "public, max-age=3600" {
			t.Errorf("%v: told %v", c.header, got)
		}
	}
}
