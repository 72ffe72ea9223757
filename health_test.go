package voyo

import (
	"encoding/json"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/voyo-music/caddy-voyo/cache"
)

func TestHealth(t *testing.T) {
	h := newTestHandler(t, found(nil))
	h.state.started = time.Now().Add(-26*time.Hour - 3*time.Minute - 30*time.Second)
	h.state.prefetches.Store(5)
	h.state.activeStreams.Store(2)

	w := serve(t, h, "GET", "/health", nil)
	if w.Code != 200 || w.Header().Get("Cache-Control") != "no-store" || w.Header().Get("Content-Type") != "application/json" {
		t.Errorf("got %d, %v", w.Code, w.Header())
	}
	var got map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	// What changes from run to run is checked for its form, and taken out.
	for _, c := range []struct{ field, form string }{
		{"timestamp", `^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$`},
		{"rss", `^[1-9]\d*MB$`},
		{"heapUsed", `^\d+MB$`},
		{"heapTotal", `^[1-9]\d*MB$`},
	} {
		from := got
		if c.field != "timestamp" {
			from = got["memory"].(map[string]any)
		}
		if value, _ := from[c.field].(string); !regexp.MustCompile(c.form).MatchString(value) {
			t.Errorf("got %s %q", c.field, value)
		}
		delete(from, c.field)
	}
	want := map[string]any{
		"status": "healthy", "service": "voyo-edge",
		"uptime": 93810.0, "uptimeFormatted": "26h 3m",
		"memory": map[string]any{},
		"cache": map[string]any{
			"streamCacheSize": 0.0, "thumbnailCacheSize": 0.0, "prefetchCacheSize": 0.0,
			"streamHitRate": "0.00%",
			"stats": map[string]any{
				"streamHits": 0.0, "streamMisses": 0.0, "thumbnailHits": 0.0, "thumbnailMisses": 0.0,
				"prefetchRequests": 5.0, "activeStreams": 2.0, "startTime": float64(h.state.started.UnixMilli()),
			},
		},
		"rateLimit": map[string]any{"activeIPs": 0.0, "perIPLimit": 0.0},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("\n got %v\nwant %v", got, want)
	}
}

func TestHitRate(t *testing.T) {
	for _, c := range []struct {
		hits, misses int64
		want         string
	}{{0, 0, "0.00%"}, {0, 3, "0.00%"}, {3, 0, "100.00%"}, {1, 2, "33.33%"}, {1750, 250, "87.50%"}} {
		if got := hitRate(cache.Stats{Hits: c.hits, Misses: c.misses}); got != c.want {
			t.Errorf("%d of %d: got %s", c.hits, c.hits+c.misses, got)
		}
	}
}

func TestDegraded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newTestHandler(t, found(nil), found(nil))
		first, second := h.resolvers[0].name, h.resolvers[1].name
		check := func(when string, want ...string) {
			t.Helper()
			w := serve(t, h, "GET", "/health", nil)
			var got struct {
				Status  string   `json:"status"`
				Reasons []string `json:"reasons"`
			}
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			status, code := "healthy", http.StatusOK
			if want != nil {
				status, code = "degraded", http.StatusServiceUnavailable
			}
			if w.Code != code || got.Status != status || !slices.Equal(got.Reasons, want) {
				t.Errorf("%s: got %d, %+v", when, w.Code, got)
			}
		}
		fail := func(name string, why reason, times int) {
			for range times {
				h.state.pulses.failed(name, why)
			}
		}
		reasons := []string{"resolver test0: refused", "resolver test1: timeout"}
		check("at first")
		fail(first, reasonRefused, 10)
		check("one fails")
		fail(second, reasonTimeout, 2)
		check("the other failed twice")
		fail(second, reasonTimeout, 1)
		check("both fail", reasons...)
		h.state.pulses.succeeded(first)
		check("one is well again")
		fail(first, reasonRefused, 2)
		check("it failed twice")
		fail(first, reasonRefused, 1)
		check("both fail again", reasons...)
		time.Sleep(failingFor)
		check("nobody has asked for a while")
		fail(first, reasonRefused, 1)
		fail(second, reasonTimeout, 1)
		check("they still fail", reasons...)
	})
}
