package voyo

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/voyo-music/caddy-voyo/cache"
	"github.com/voyo-music/caddy-voyo/internal/byterange"
)

// deadlines is a writer that knows of deadlines.
type deadlines struct {
	*httptest.ResponseRecorder

	read []time.Time
}

func (d *deadlines) SetReadDeadline(t time.Time) error {
	d.read = append(d.read, t)
	return nil
}

// TestPrefetchOutlivesTheReadTimeout holds a stream of results to have no deadline:
// Caddy's would end it after ten seconds.
func TestPrefetchOutlivesTheReadTimeout(t *testing.T) {
	done := make(chan struct{})
	close(done)
	w := &deadlines{ResponseRecorder: httptest.NewRecorder()}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/voyo/prefetch?wait", nil)
	failed := &warmth{done: done, err: cache.ErrNotFound}
	err := stream(w, r, []prefetchResult{{ID: "a", Status: prefetchWarming}}, []warmings{{{done: done}, failed}})
	if err != nil || len(w.read) != 1 || !w.read[0].IsZero() {
		t.Errorf("%v: deadlines %v", err, w.read)
	}
	var got prefetchResult
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || got.Status != prefetchFailed || got.Error != errNoTrack.message {
		t.Errorf("%v: %s", err, w.Body)
	}
}

func TestPurgePaths(t *testing.T) {
	for path, want := range map[string]string{
		"/cdn/stream/vyo_T1NCYW5fc0hfYjg":                 "stream/OSBan_sH_b8/audio/128",
		"/proxy?v=OSBan_sH_b8&type=video&quality=low":     "stream/OSBan_sH_b8/video/64",
		"https://any.example/thumb/OSBan_sH_b8?q=default": "art/OSBan_sH_b8/default",
		"HTTPS://Voyo.example:443/about?a=b#c":            "https://voyo.example/about?a=b",
		"http://voyo.example":                             "http://voyo.example/",
	} {
		p, answer, err := purgeRequest{Paths: []string{path}}.parse()
		keys := append(append(p.streams, p.art...), p.pages...)
		if err != nil || len(keys) != 1 || keys[0] != want || answer.Keys != 1 {
			t.Errorf("%s: got %v, %v; want %s", path, keys, err, want)
		}
	}
}

func TestUnion(t *testing.T) {
	some := []byterange.Range{{Start: 0, End: 10}, {Start: 20, End: 30}}
	for _, c := range []struct {
		others []byterange.Range
		want   int64
	}{
		{nil, 20},
		{some, 20},
		{[]byterange.Range{{Start: 10, End: 20}}, 30},
		{[]byterange.Range{{Start: 5, End: 25}, {Start: 40, End: 41}}, 31},
	} {
		if got := union(c.others, some); got != c.want {
			t.Errorf("%v: got %d, want %d", c.others, got, c.want)
		}
	}
}

func TestJudge(t *testing.T) {
	stored := func(ttl time.Duration, end int64) cache.Explanation {
		return cache.Explanation{Stored: []cache.Stored{{
			Size: 10, TTL: ttl, WhileRevalidate: time.Minute, IfError: time.Hour, Memory: []byterange.Range{{End: end}},
		}}}
	}
	for _, c := range []struct {
		known           cache.Explanation
		outcome, reason string
	}{
		{cache.Explanation{}, outcomeMiss, "not stored"},
		{cache.Explanation{Opening: true}, outcomeMiss, "being fetched"},
		{stored(time.Hour, 10), outcomeHit, "fresh for 1h0m0s"},
		{stored(time.Hour, 5), outcomePartial, "the rest"},
		{stored(-time.Second, 10), outcomeStale, "while it is confirmed"},
		{stored(-time.Minute, 10), outcomeRevalidated, "if that fails"},
		{stored(-time.Hour, 10), outcomeRevalidated, "asked first"},
	} {
		if outcome, reason := judge(c.known); outcome != c.outcome || !strings.Contains(reason, c.reason) {
			t.Errorf("got %s: %s; want %s: %s", outcome, reason, c.outcome, c.reason)
		}
	}
}
