package cache

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// tiers are a cache, and another one that it asks.
type tiers struct {
	near, far *Cache
	policy    *Policy // of the far one
	o         *origin
	answers   []http.Header // of the far one
}

func newTiers(t *testing.T) *tiers {
	t.Helper()
	return &tiers{near: newTest(t, Limits{Slice: 1000}), far: newTest(t, Limits{Slice: 1000}), policy: policy(), o: newOrigin(content(1, 10_000))}
}

// fetch is the near one's Fetch.
func (s *tiers) fetch(ctx context.Context, header http.Header) (*http.Response, error) {
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	r.Header = header.Clone()
	rec := httptest.NewRecorder()
	_, err := s.far.Serve(rec, r, Request{Key: "a", Policy: s.policy, Fetch: s.o.fetch, Peer: true})
	s.answers = append(s.answers, rec.Header().Clone())
	if errors.Is(err, ErrNotFound) {
		said := strings.TrimPrefix(rec.Header().Get(PeerField), "max-age=")
		seconds, _ := strconv.Atoi(said)
		return nil, MissingError{For: time.Duration(seconds) * time.Second}
	}
	if err != nil {
		return nil, err
	}
	resp := rec.Result()
	resp.Header["Cdn-Cache-Control"] = resp.Header[PeerField]
	resp.Header.Del(PeerField)
	resp.ContentLength = -1
	if said, err := strconv.ParseInt(resp.Header.Get("Content-Length"), 10, 64); err == nil {
		resp.ContentLength = said
	}
	return resp, nil
}

// request is what the near one is asked.
func (s *tiers) request(p *Policy) Request { return Request{Key: "a", Policy: p, Fetch: s.fetch} }

// An object is fresh in both tiers until the same moment, however old it was when it
// came to the near one.
func TestPeerFreshness(t *testing.T) {
	for _, tt := range []struct {
		name    string
		fields  []string // of the origin
		policy  func(far *Policy)
		wait    time.Duration // until the near one asks
		told    string
		age     string
		left    time.Duration // that it is fresh there
		useless bool          // it is not to be kept
	}{
		{name: "new", told: "max-age=86400", age: "0", left: day},
		{name: "old", wait: hour, told: "max-age=86400", age: "3600", left: 23 * hour},
		{name: "stated", fields: []string{"Cache-Control", "max-age=100"}, wait: 30 * time.Second, told: "max-age=100", age: "30", left: 70 * time.Second},
		{name: "old at the far one", fields: []string{"Cache-Control", "max-age=100", "Age", "40"}, wait: 30 * time.Second, told: "max-age=100", age: "70", left: 30 * time.Second},
		{name: "old at once", fields: []string{"Cache-Control", "max-age=100", "Age", "40"}, told: "max-age=100", age: "40", left: 60 * time.Second},
		{name: "overridden", fields: []string{"Cache-Control", "no-cache, max-age=1"}, policy: func(p *Policy) { p.OverrideTTL = minute }, wait: 10 * time.Second, told: "max-age=60", age: "10", left: 50 * time.Second},
		{name: "no-cache", fields: []string{"Cache-Control", "no-cache, max-age=100"}, told: "max-age=0, no-cache"},
		{name: "strict", fields: []string{"Cache-Control", "s-maxage=100, stale-if-error=50"}, told: "max-age=100, must-revalidate", age: "0", left: 100 * time.Second},
		{name: "lenient", fields: []string{"CDN-Cache-Control", "max-age=100, stale-while-revalidate=20, stale-if-error=50"}, told: "max-age=100, stale-while-revalidate=20, stale-if-error=50", age: "0", left: 100 * time.Second},
		{name: "stale", fields: []string{"Cache-Control", "max-age=100"}, policy: func(p *Policy) { p.StaleWhileRevalidate = hour }, wait: 130 * time.Second, told: "max-age=100", age: "130", left: -30 * time.Second},
		{name: "no-store", fields: []string{"Cache-Control", "no-store"}, told: "no-store", useless: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newTiers(t)
				for i := 0; i < len(tt.fields); i += 2 {
					s.o.header.Set(tt.fields[i], tt.fields[i+1])
				}
				if tt.policy != nil {
					tt.policy(s.policy)
				}
				if _, err := s.fetch(t.Context(), nil); err != nil {
					t.Fatal(err)
				}
				time.Sleep(tt.wait)
				s.answers = nil
				near := policy()
				near.MaxAge = 5 * minute
				resp, _, err := get(t, s.near, s.request(near))
				if err != nil {
					t.Fatal(err)
				}
				synctest.Wait()
				if got := s.answers[0]; got.Get(PeerField) != tt.told || got.Get("Age") != tt.age {
					t.Errorf("the near one was told %q, Age %q", got.Get(PeerField), got.Get("Age"))
				}
				if h := resp.Header; h.Get("Cdn-Cache-Control") != "" || h.Get(PeerField) != "" || h.Get("Cache-Control") != "public, max-age=300" {
					t.Errorf("the client was told %v", h)
				}
				known := s.near.Explain(t.Context(), "a")
				switch {
				case tt.useless && len(known.Stored) != 0:
					t.Error("it is kept")
				case !tt.useless && (len(known.Stored) != 1 || known.Stored[0].TTL != tt.left):
					t.Errorf("kept: %+v, want a TTL of %s", known.Stored, tt.left)
				}
			})
		})
	}
}

// A question whether something is still good goes from tier to tier, and so does the
// answer.
func TestPeerConfirms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTiers(t)
		s.o.header.Set("Cache-Control", "max-age=100")
		s.o.header.Set("Cache-Tag", "one, two")
		if _, _, err := get(t, s.near, s.request(policy())); err != nil {
			t.Fatal(err)
		}
		time.Sleep(150 * time.Second)
		before := s.o.bytesSent()
		resp, status, err := get(t, s.near, s.request(policy()))
		if err != nil || status != Revalidated || resp.Header.Get("Cache-Tag") != "" {
			t.Fatalf("%s, %v, %v", status, err, resp.Header)
		}
		if n := s.o.bytesSent() - before; n != 0 {
			t.Errorf("%d bytes were sent again", n)
		}
		last := s.answers[len(s.answers)-1]
		if last.Get(PeerField) != "max-age=100" || last.Get("Cache-Tag") != "one, two" || last.Get("Content-Type") != "" {
			t.Errorf("the near one was told %v", last)
		}
		if known := s.near.Explain(t.Context(), "a"); known.Stored[0].TTL != 100*time.Second {
			t.Errorf("it is fresh for %s", known.Stored[0].TTL)
		}
		// what came through another cache goes with its tags
		if err := s.near.PurgeTags(t.Context(), "two"); err != nil {
			t.Fatal(err)
		}
		if _, ok := s.near.Peek(t.Context(), "a"); ok {
			t.Error("it is still there")
		}
	})
}

// What the other cache has told is over when the origin itself says how long something is
// fresh.
func TestPeerThenOrigin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTiers(t)
		s.o.header.Set("Cache-Control", "max-age=100")
		if _, _, err := get(t, s.near, s.request(policy())); err != nil {
			t.Fatal(err)
		}
		time.Sleep(150 * time.Second)
		s.o.header.Set("Cache-Control", "max-age=30")
		req := s.request(policy())
		req.Fetch = s.o.fetch
		if _, status, err := get(t, s.near, req); err != nil || status != Revalidated {
			t.Fatal(status, err)
		}
		if known := s.near.Explain(t.Context(), "a"); known.Stored[0].TTL != 30*time.Second {
			t.Errorf("it is fresh for %s", known.Stored[0].TTL)
		}
	})
}

// That something does not exist is remembered by both tiers until the same moment.
func TestPeerMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newTiers(t)
		there := false
		s.o.fail = func(int, http.Header) error {
			if there {
				return nil
			}
			return ErrNotFound
		}
		if _, err := s.fetch(t.Context(), nil); err == nil {
			t.Fatal("it was found")
		}
		there = true
		time.Sleep(20 * time.Second)
		if _, _, err := get(t, s.near, s.request(policy())); !errors.Is(err, ErrNotFound) {
			t.Fatal(err)
		}
		if got := s.answers[1].Get(PeerField); got != "max-age=40" {
			t.Errorf("the near one was told %q", got)
		}
		time.Sleep(39 * time.Second)
		if _, _, err := get(t, s.near, s.request(policy())); !errors.Is(err, ErrNotFound) || len(s.answers) != 2 {
			t.Error(err, len(s.answers))
		}
		time.Sleep(2 * time.Second)
		if _, _, err := get(t, s.near, s.request(policy())); err != nil {
			t.Error(err)
		}
	})
}
