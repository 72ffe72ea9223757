package voyo

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/voyo-music/caddy-voyo/cache"
)

// What a shield answers decides who is asked next, and whether the shield is well.
func TestShieldAnswers(t *testing.T) {
	gone := "http://" + unused(t)
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
		{name: "does not have it", answer: says(404), err: cache.ErrNotFound, cache: "voyo; hit;ttl=100"},
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
			url := gone
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

// Shields whose bodies have nothing in them are left out. What one breaks off in the middle it
// may go on with.
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
