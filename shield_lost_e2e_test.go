package voyo_test

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/voyo-music/caddy-voyo/internal/ports/portstest"
)

// When the owner of a track is killed in the middle of a stream the listener gets every
// byte all the same, of another shield or, if there is none, of the origin.
func TestShieldKilled(t *testing.T) {
	s := newSong(songID, 6<<20)
	for _, n := range []int{3, 1} {
		t.Run(fmt.Sprintf("one of %d", n), func(t *testing.T) {
			a := newArchive(t, s)
			a.rate.Store(3 << 20)
			shields, urls := startShields(t, n, a.URL, smallSlices)
			e := startAdminEdge(t, tierSite(a.URL, smallSlices+shieldedBy(urls...)))
			owner := e.explain(t, s.path()).Handlers[0].Shield.Position
			some := a.reached(2 << 20)
			listener := make(chan error, 1)
			go func() {
				_, err := e.hear(t.Context(), s)
				listener <- err
			}()
			await(t, "a part has been sent", some)
			shields[owner].kill(t)
			if err := await(t, "the listener has it all", listener); err != nil {
				t.Error(err)
			}
			t.Logf("the origin was asked %d times and sent %d bytes of %d", a.requests.Load(), a.sent.Load(), s.size)
			status := e.status(t)
			if got := status.Shields[owner]; got.Status != "failing" || got.Reason == "" || status.Status != "healthy" {
				t.Errorf("status: %+v", status)
			}
			if !e.mustHear(t, s) {
				t.Error("it is not cached")
			}
			if got := e.explain(t, s.path()).Handlers[0].Shield; n == 1 && got != nil || n > 1 && (got == nil || got.Position == owner) {
				t.Errorf("explained: %+v", got)
			}
			// it is asked again when it is back
			shields[owner].start(t)
			next := newSongs(0, 200, 100_000)
			a.add(next...)
			a.rate.Store(0)
			eventually(t, "it is back", func() bool {
				e.mustHear(t, next[0])
				next = next[1:]
				return e.status(t).Shields[owner].Status == "ok"
			})
		})
	}
}

// Shields that are all dead cost one wait at the most, and no listener anything after it.
func TestShieldsDead(t *testing.T) {
	songs := newSongs(0, 21, 100_000)
	a := newArchive(t, songs...)
	hung := newHung(t)
	for _, c := range []struct {
		name   string
		urls   []string
		reason string
		wait   time.Duration // at least
	}{
		{"nobody there", []string{fmt.Sprintf("http://127.0.0.1:%d", portstest.Reserve(t)), fmt.Sprintf("http://127.0.0.1:%d", portstest.Reserve(t))}, "refused", 0},
		{"hung", []string{hung.URL}, "timeout", 4 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			e := startAdminEdge(t, tierSite(a.URL, shieldedBy(c.urls...)))
			// two shields are asked at the most, so both of them have been then
			began := time.Now()
			e.mustHear(t, songs[0])
			if took := time.Since(began); took < c.wait || took > patience/2 {
				t.Errorf("the first one took %s", took)
			}
			began = time.Now()
			e.mustHearAll(t, songs[1:], 4)
			took := time.Since(began)
			if n := len(hung.asked("/cdn/")); c.name == "hung" && n > 1+int(took/(2*time.Second)) { // which are trials
				t.Errorf("it was asked %d times in %s", n, took)
			}
			if took > patience/2 {
				t.Errorf("the others took %s", took)
			}
			status := e.status(t)
			for _, s := range status.Shields {
				if s.Status != "failing" || s.Reason != c.reason {
					t.Errorf("status: %+v", s)
				}
			}
			if status.Status != "healthy" || e.health(t).Status != "healthy" {
				t.Errorf("the node is %s: %v", status.Status, status.Reasons)
			}
			if got := e.explain(t, songs[0].path()).Handlers[0].Shield; got != nil {
				t.Errorf("explained: %+v", got)
			}
		})
	}
}

// newHung returns a server that takes requests and never answers.
func newHung(t *testing.T) *origin {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	o := newOrigin(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-ctx.Done():
		}
	})
	t.Cleanup(cancel)
	return o
}

// Nodes that all list each other and themselves are one cache: whoever is asked, the
// origin sends each track once.
func TestShieldMesh(t *testing.T) {
	const nodes, tracks = 4, 60
	songs := newSongs(0, tracks, 300_000)
	a := newArchive(t, songs...)
	var mesh []*child
	var urls []string
	for range nodes {
		c := newChild(t, "")
		mesh, urls = append(mesh, c), append(urls, c.url)
	}
	for _, c := range mesh {
		c.configure(t, metered(tierSite(a.URL, shieldedBy(urls...))))
		c.start(t)
	}
	var group errgroup.Group
	group.SetLimit(16)
	for _, s := range songs {
		for _, c := range mesh {
			group.Go(func() error {
				_, err := c.hear(t.Context(), s)
				return err
			})
		}
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if n, sent := a.requests.Load(), a.sent.Load(); n != tracks || sent != totalSize(songs) {
		t.Errorf("the origin was asked %d times for %d tracks, and sent %d bytes of %d", n, tracks, sent, totalSize(songs))
	}
	owned := 0.0
	for _, c := range mesh {
		scraped := c.scrape(t)
		// once, and whoever else asks until that is known
		if n := scraped.sum("refused_requests_total", `reason="loop"`); n > 16 {
			t.Errorf("a node has asked itself %v times", n)
		}
		if n := scraped.sum("upstream_failures_total"); n != 0 {
			t.Errorf("%v failures", n)
		}
		owned += scraped.sum("upstream_requests_total", `resolver="template"`)
	}
	if owned != tracks {
		t.Errorf("%v tracks were resolved", owned)
	}
	// without one of them the others go on, and agree who has its tracks now
	mesh[0].kill(t)
	a.reset()
	more := newSongs(tracks, tracks, 300_000)
	a.add(more...)
	for _, s := range more {
		for _, c := range mesh[1:] {
			if _, err := c.hear(t.Context(), s); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := a.requests.Load(); n != tracks {
		t.Errorf("without one node the origin was asked %d times for %d tracks", n, tracks)
	}
}
