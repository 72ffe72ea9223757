package voyo

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
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

// What has been fetched in the background is not told of an answer that was there already.
func TestShieldInTheBackground(t *testing.T) {
	up := newTestHandler(t, found(nil)).upstream(newTestRequest("GET", "/", nil), testAsset)
	tiers := "voyo; fwd=miss; stored"
	up.tiers.Store(&tiers)
	up.timing.Store(new(timing))
	for _, c := range []struct {
		status  cache.Status
		own     string
		foreign bool
		waited  bool
	}{
		{cache.Hit, "voyo; hit; ttl=5", false, false},
		{cache.Stale, "voyo; hit; ttl=-5", false, false},
		{cache.Stale, "voyo; hit; ttl=-5", true, false},
		{cache.Stale, "voyo; fwd=stale; detail=failed", false, true},
		{cache.Miss, "voyo; fwd=miss; stored", false, true},
	} {
		header := http.Header{"Cache-Status": {c.own}}
		if c.foreign {
			header = http.Header{"Cache-Status": {"other; hit", c.own}}
		}
		up.request(nil, nil).Annotate(c.status, header)
		got := strings.Contains(strings.Join(header["Cache-Status"], ","), tiers+", ")
		if got != c.waited || (header.Get("Server-Timing") != "") != c.waited {
			t.Errorf("%s: told %v", c.own, header)
		}
	}
}
