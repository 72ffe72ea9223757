package voyo

import (
	"strings"
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	look := func(hits, misses int64) (s nodeStatus) {
		s.Caches.Stream.Hits, s.Caches.Art.Misses, s.Caches.Page.Sent = hits, misses, hits<<20
		return s
	}
	for _, c := range []struct {
		before, now nodeStatus
		want        string
	}{
		{look(0, 0), look(0, 0), "requests/s=0.0 sent/s=0B hits=- streams=0 fills=0"},
		{look(10, 10), look(13, 11), "requests/s=2.0 sent/s=1.5MiB hits=75.0% streams=0 fills=0"},
		{look(10, 10), look(0, 1), "requests/s=0.0 sent/s=0B hits=- streams=0 fills=0"}, // of another process
	} {
		if got := paceOf(c.before, c.now, 2*time.Second).String(); got != c.want {
			t.Errorf("got %s, want %s", got, c.want)
		}
	}
}

func TestProgress(t *testing.T) {
	var out, errs strings.Builder
	p := progress{out: &out, errs: &errs, bar: true, total: 2}
	p.add(prefetchResult{ID: "a", Status: prefetchDone})
	p.add(prefetchResult{ID: "b", Status: prefetchFailed, Error: "why"})
	if want := "\r\x1b[K[###############...............] 1/2\r\x1b[K[##############################] 2/2\n"; out.String() != want {
		t.Errorf("got %q", out.String())
	}
	if !strings.Contains(errs.String(), "b failed: why\n") {
		t.Errorf("got %q", errs.String())
	}
	if err := p.end(); err == nil || err.Error() != "1 of 2 tracks could not be prefetched" {
		t.Errorf("got %v", err)
	}
}
