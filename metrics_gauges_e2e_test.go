package voyo_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"testing"
)

// The gauges tell of what there is, and of what is bounded by the configuration.
func TestMetricsTiers(t *testing.T) {
	o := newLibrary(t, 5)
	other := newLibrary(t, 5)
	e := startEdge(t, metered(fmt.Sprintf(`handle /cdn/art/* {
		voyo {
			%s
			art {
				entries 3
				memory 1MiB
				max_object 1MiB
				disk %s 16MiB
			}
		}
	}
	handle {
		voyo {
			%s
			art {
				entries 100
				memory 2MiB
			}
			stream {
				memory 4MiB
			}
		}
	}`, template(o.URL), t.TempDir(), template(other.URL))))
	before := e.scrape(t)
	e.covers(t, 5)
	e.wantScrape(t, func(s scrape) string {
		for series, want := range map[string]float64{
			`cache_entries{kind="art",tier="memory"}`:        3,
			`cache_bytes{kind="art",tier="memory"}`:          3000,
			`cache_entries{kind="art",tier="disk"}`:          5,
			`cache_entries_limit{kind="art"}`:                103,
			`cache_limit_bytes{kind="art",tier="memory"}`:    3 << 20,
			`cache_limit_bytes{kind="art",tier="disk"}`:      16 << 20,
			`cache_limit_bytes{kind="stream",tier="memory"}`: 260 << 20, // one is the default
			`disks_failed{kind="art"}`:                       0,
		} {
			if got := s["caddy_voyo_"+series]; got != want {
				return fmt.Sprintf("%s is %v, want %v", series, got, want)
			}
		}
		if n := s.sum("evictions_total", `"art"`, `"memory"`) - before.sum("evictions_total", `"art"`, `"memory"`); n != 2 {
			return fmt.Sprintf("%v covers were evicted, want 2", n)
		}
		return ""
	})
	if n := e.scrape(t).sum("cache_bytes", `"art"`, `"disk"`); n < 5000 {
		t.Errorf("%v bytes are on disk", n)
	}
}

// Who waits for an upstream is counted while he does.
func TestMetricsWaiting(t *testing.T) {
	goOn := make(chan struct{})
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-goOn:
		case <-r.Context().Done():
		}
		w.Header().Set("Content-Type", "audio/ogg")
		_, _ = io.WriteString(w, fakeTrack(1000))
	})
	e := startEdge(t, metered("voyo {\n"+template(o.URL)+"\n}"))
	ended := make(chan error, 2)
	for range 2 {
		go func() {
			_, _, err := tryStream(context.WithoutCancel(t.Context()), e)
			ended <- err
		}()
	}
	busy := func(readers, exchanges float64) func(scrape) string {
		return func(s scrape) string {
			got := []float64{s.sum("waiting_readers"), s.sum("fills", `"running"`), s.sum("active_streams")}
			if want := []float64{readers, exchanges, readers}; !slices.Equal(got, want) {
				return fmt.Sprintf("got %v, want %v", got, want)
			}
			return ""
		}
	}
	e.wantScrape(t, busy(2, 1))
	if err := e.load(t, metered("voyo {\n"+template(o.URL)+"\nallowed_upstreams x.test\n}")); err != nil {
		t.Fatal(err)
	}
	e.wantScrape(t, busy(2, 1)) // they still wait, though their handler is gone
	close(goOn)
	for range 2 {
		if err := await(t, "a stream ends", ended); err != nil {
			t.Error(err)
		}
	}
	e.wantScrape(t, busy(0, 0))
}

// What goes wrong is counted by what it was.
func TestMetricsFailures(t *testing.T) {
	closed := newOrigin(t, http.NotFound)
	closed.Close()
	half := fakeTrack(1 << 20)[:1<<19]
	begun := make(chan struct{})
	for _, tt := range []struct {
		name string
		site string
		want scrape
	}{
		{"status", template(newOrigin(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }).URL), scrape{
			`requests_total{cache="error",kind="stream"}`:                                    1,
			`errors_total{kind="stream",reason="upstream"}`:                                  1,
			`upstream_failures_total{kind="stream",reason="status 5xx",resolver="template"}`: 1,
		}},
		{"refused", template(closed.URL), scrape{
			`requests_total{cache="error",kind="stream"}`:                                 1,
			`errors_total{kind="stream",reason="upstream"}`:                               1,
			`upstream_failures_total{kind="stream",reason="refused",resolver="template"}`: 1,
		}},
		{"breaks off", template(newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "audio/ogg")
			w.Header().Set("Content-Length", strconv.Itoa(1<<20))
			_, _ = io.WriteString(w, half)
			_ = http.NewResponseController(w).Flush()
			select {
			case <-begun: // or else the edge would try again
			case <-r.Context().Done():
			}
			panic(http.ErrAbortHandler)
		}).URL), scrape{
			`requests_total{cache="miss",kind="stream"}`:                                1,
			`broken_answers_total{kind="stream"}`:                                       1,
			`upstream_failures_total{kind="stream",reason="reset",resolver="template"}`: 1,
		}},
		{"panics", template(closed.URL) + "\ntransport panicking", scrape{
			`requests_total{cache="error",kind="stream"}`:   1,
			`errors_total{kind="stream",reason="upstream"}`: 1,
			`panics_total`: 1,
		}},
		{"service fails", "resolver api " + closed.URL, scrape{
			`requests_total{cache="error",kind="stream"}`:            1,
			`errors_total{kind="stream",reason="upstream"}`:          1,
			`lookup_failures_total{reason="refused",resolver="api"}`: 1,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			e := startEdge(t, metered("voyo {\n"+tt.site+"\n}"))
			before := e.scrape(t)
			resp := e.request(t, http.MethodGet, "/cdn/stream/"+songVOYO, nil)
			if tt.name == "breaks off" {
				close(begun)
			}
			if _, err := io.Copy(io.Discard, resp.Body); (err == nil) == (tt.name == "breaks off") {
				t.Errorf("got %v", err)
			}
			names := []string{"requests_total", "errors_total", "broken_answers_total", "upstream_failures_total", "lookup_failures_total", "panics_total"}
			e.wantScrape(t, added(before, tt.want, names...))
		})
	}
}
