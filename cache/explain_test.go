package cache

import (
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/voyo-music/caddy-voyo/internal/byterange"
)

func TestExplain(t *testing.T) {
	n := newDiskNode(t, Limits{Memory: 1 << 20, Slice: 1000})
	o := newOrigin(content(1, 2500))
	req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
	if e := n.Explain(t.Context(), "a"); len(e.Stored) != 0 || e.Opening || e.Remembered != "" {
		t.Fatalf("of what was never asked for: %+v", e)
	}
	resp, _, err := get(t, n.Cache, req, "Range", "bytes=1000-2499")
	n.work.Wait()
	if err != nil {
		t.Fatal(err)
	}
	read(t, resp)
	n.store.Flush()
	hits := n.Stats()

	e := n.Explain(t.Context(), "a")
	want := []byterange.Range{{Start: 1000, End: 2500}}
	if len(e.Stored) != 1 || !slices.Equal(e.Stored[0].Memory, want) || !slices.Equal(e.Stored[0].Disk, want) {
		t.Fatalf("got %+v", e)
	}
	if s := e.Stored[0]; s.Size != 2500 || s.Status != http.StatusOK || s.TTL <= 0 || s.Filling {
		t.Errorf("got %+v", s)
	}

	n.restart()
	e = n.Explain(t.Context(), "a")
	if len(e.Stored) != 1 || e.Stored[0].Memory != nil || !slices.Equal(e.Stored[0].Disk, want) {
		t.Errorf("after a restart: %+v", e)
	}
	if now := n.Stats(); now.Hits != 0 || hits.Hits != 0 || o.count() != 1 {
		t.Errorf("explaining counts: %+v, %d requests", now, o.count())
	}
}

func TestExplainWhatIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{Memory: 1 << 20})
		missing := newOrigin(nil)
		missing.fail = func(int, http.Header) error { return ErrNotFound }
		if _, _, err := get(t, c, Request{Key: "a", Policy: policy(), Fetch: missing.fetch}); err == nil {
			t.Fatal("it is there")
		}
		e := c.Explain(t.Context(), "a")
		if e.Remembered != RememberedMissing || e.RememberedFor != policy().NegativeTTL || len(e.Stored) != 0 {
			t.Errorf("got %+v", e)
		}
		time.Sleep(policy().NegativeTTL)
		if e := c.Explain(t.Context(), "a"); e.Remembered != "" {
			t.Errorf("got %+v when it is over", e)
		}
	})
}

func TestExplainVariants(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGateway(t)
		const page = "200 | Cache-Control: max-age=60, stale-if-error=10 | Vary: Accept-Language | =page"
		g.do(step{ask: "GET | Accept-Language: de", origin: page, want: "200 miss =page"})
		g.do(step{ask: "GET | Accept-Language: fr", origin: page, want: "200 miss =page"})
		time.Sleep(minute + time.Second)
		e := g.c.Explain(t.Context(), "http://origin.test/")
		if len(e.Stored) != 2 {
			t.Fatalf("got %+v", e)
		}
		for _, s := range e.Stored {
			if !slices.Equal(s.Vary, []string{"Accept-Language"}) || s.TTL != -time.Second || s.IfError != 10*time.Second || s.Size != 4 {
				t.Errorf("got %+v", s)
			}
		}
		g.c.Invalidate("http://origin.test/")
		if e := g.c.Explain(t.Context(), "http://origin.test/"); len(e.Stored) != 0 {
			t.Errorf("got %+v of what was invalidated", e)
		}
		if e := g.c.Explain(t.Context(), "http://origin.test/other"); len(e.Stored) != 0 {
			t.Errorf("got %+v of another page", e)
		}
	})
}
