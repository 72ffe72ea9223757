package voyo

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/voyo-music/caddy-voyo/internal/contain"
	"github.com/voyo-music/caddy-voyo/resolver"
)

func init() {
	caddy.RegisterModule(noPolicy{})
	caddy.RegisterModule(panickingPolicy{})
}

// noPolicy is in the namespace by mistake.
type noPolicy struct{ noResolver }

func (noPolicy) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.selection_policies.none",
		New: func() caddy.Module { return new(noPolicy) },
	}
}

// panickingPolicy is a policy with a bug.
type panickingPolicy struct{ reverseproxy.Selector }

func (panickingPolicy) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.selection_policies.panicking",
		New: func() caddy.Module { return new(panickingPolicy) },
	}
}

// loadShields returns the shields at the URLs, with a policy as in JSON.
func loadShields(t testing.TB, policy string, urls ...string) *shields {
	t.Helper()
	list, err := json.Marshal(urls)
	if err != nil {
		t.Fatal(err)
	}
	h, _ := mustLoad(t, withResolver(fmt.Sprintf(`"shield": {"urls": %s, "policy": %s}`, list, policy)))
	return h.shields
}

const uriHash = `{"policy": "uri_hash"}`

func tier(n int) (urls []string) {
	for i := range n {
		urls = append(urls, fmt.Sprintf("https://edge-%d.example", i))
	}
	return urls
}

// manyIDs returns the IDs of tracks.
func manyIDs(n int) (ids []resolver.ID) {
	for i := range n {
		ids = append(ids, resolver.ID(fmt.Sprintf("%011d", i)))
	}
	return ids
}

// owners returns which shield would be asked for each track, -1 for none.
func (s *shields) owners(ids []resolver.ID, now time.Time) (positions []int) {
	for _, id := range ids {
		position := -1
		if one := s.first(id, now); one != nil {
			position = one.position
		}
		positions = append(positions, position)
	}
	return positions
}

// A shield that is lost moves its own tracks, evenly, and no others; when it is back so
// are they.
func TestLostShield(t *testing.T) {
	const nodes, tracks = 8, 20_000
	s := loadShields(t, uriHash, tier(nodes)...)
	ids, now := manyIDs(tracks), time.Now()
	before := s.owners(ids, now)
	s.list[3].health.failed(now, now, reasonRefused, false)
	after := s.owners(ids, now)
	moved, got := 0, make([]int, nodes)
	for i := range ids {
		switch {
		case before[i] == 3:
			moved++
			got[after[i]]++
		case after[i] != before[i]:
			t.Fatalf("track %s of shield %d moved to %d", ids[i], before[i], after[i])
		}
	}
	t.Logf("%d of %d tracks moved, %.2f%%, to %v", moved, tracks, 100*float64(moved)/tracks, got)
	if share := float64(moved) / tracks; share < 0.8/nodes || share > 1.2/nodes {
		t.Errorf("a share of %.4f has moved", share)
	}
	for i, n := range got {
		if mean := moved / (nodes - 1); i == 3 && n != 0 || i != 3 && (n < mean/2 || n > 2*mean) {
			t.Errorf("shield %d got %d of them", i, n)
		}
	}
	s.list[3].health.succeeded(now)
	if !slices.Equal(s.owners(ids, now), before) {
		t.Error("not all tracks are back")
	}
}

// Edges agree on who has a track, whatever the order and the form in which they write
// their lists, and also if some of them are not on it.
func TestShieldsAgree(t *testing.T) {
	ids, now := manyIDs(1000), time.Now()
	one := loadShields(t, uriHash, "https://a.example", "http://B.example:8080/x/", "https://c.example:443")
	other := loadShields(t, uriHash, "https://C.example/", "http://b.example:8080/x", "https://a.example:443/")
	for i, position := range one.owners(ids, now) {
		if got := other.owners(ids[i:i+1], now)[0]; got != []int{2, 1, 0}[position] {
			t.Fatalf("track %s is at %d for one and at %d for the other", ids[i], position, got)
		}
	}
}

// Each policy that Caddy has can be used, and gives each shield its turn once.
func TestShieldPolicies(t *testing.T) {
	for _, policy := range []string{
		uriHash, `{"policy": "first"}`, `{"policy": "random"}`, `{"policy": "random_choose"}`, `{"policy": "least_conn"}`,
		`{"policy": "round_robin"}`, `{"policy": "weighted_round_robin", "weights": [1, 2, 3]}`, `{"policy": "ip_hash"}`,
		`{"policy": "client_ip_hash"}`, `{"policy": "header", "field": "A"}`, `{"policy": "query", "key": "a"}`, `{"policy": "cookie"}`,
	} {
		t.Run(policy, func(t *testing.T) {
			s := loadShields(t, policy, tier(3)...)
			for range 10 {
				var seen []int
				for turn := s.turn(testID); ; {
					one, err := turn.next()
					if err != nil {
						t.Fatal(err)
					}
					if one == nil {
						break
					}
					seen = append(seen, one.position)
				}
				slices.Sort(seen)
				if !slices.Equal(seen, []int{0, 1, 2}) {
					t.Errorf("the turns of %v", seen)
				}
			}
		})
	}
	s := loadShields(t, `{"policy": "panicking"}`, tier(3)...)
	if one, err := s.turn(testID).next(); one != nil || !isA[*contain.PanicError](err) {
		t.Errorf("got %v, %v", one, err)
	}
}

// A policy that goes by position has all positions, whichever shields are well.
func TestShieldWeights(t *testing.T) {
	s := loadShields(t, `{"policy": "weighted_round_robin", "weights": [1, 0, 3]}`, tier(3)...)
	s.list[1].health.failed(time.Now(), time.Now(), reasonRefused, false)
	got := make([]int, 3)
	for _, position := range s.owners(manyIDs(400), time.Now()) {
		got[position]++
	}
	if !slices.Equal(got, []int{100, 0, 300}) {
		t.Errorf("got %v", got)
	}
}

// A shield that fails is left out for longer and longer, and then tried by one request
// at a time.
func TestShieldHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h shieldHealth
		check := func(when string, wantOK, wantTrial bool) {
			t.Helper()
			ready := h.ready(time.Now())
			if ok, trial := h.admit(time.Now()); ok != wantOK || trial != wantTrial || ready != ok {
				t.Fatalf("%s: admitted %t (%t), on trial %t", when, ok, ready, trial)
			}
		}
		fail := func(trial bool) bool { return h.failed(time.Now(), time.Now(), reasonRefused, trial) }
		check("at first", true, false)
		if !fail(false) || fail(false) {
			t.Fatal("it does not fall once")
		}
		for _, pause := range []time.Duration{2, 4, 8, 16, 16, 16} {
			pause *= time.Second
			check("it has failed", false, false)
			time.Sleep(pause - time.Nanosecond)
			check("a moment before the time", false, false)
			time.Sleep(time.Nanosecond)
			check("it is time", true, true)
			check("somebody tries", false, false)
			h.undecided(true)
			check("who tried has left", true, true)
			if status, why := h.state(time.Now()); status != statusFailing || why != reasonRefused {
				t.Errorf("it is %s, %s", status, why)
			}
			fail(true)
		}
		if !h.succeeded(time.Now()) || h.succeeded(time.Now()) {
			t.Error("it is not back once")
		}
		check("it is back", true, false)
		fail(false)
		time.Sleep(shieldPause)
		check("it has failed anew", true, true)
	})
}

// What is slow for one request does not count while others are answered.
func TestSlowShield(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h shieldHealth
		asked := time.Now()
		time.Sleep(time.Second)
		h.succeeded(time.Now())
		time.Sleep(time.Second)
		if h.failed(time.Now(), asked, reasonTimeout, false) {
			t.Error("it is left out although it answers")
		}
		if !h.failed(time.Now(), asked, reasonReset, false) {
			t.Error("it is not left out although it breaks")
		}
		h.succeeded(time.Now())
		asked = time.Now()
		time.Sleep(time.Second)
		if !h.failed(time.Now(), asked, reasonTimeout, false) {
			t.Error("it is not left out although it does not answer")
		}
	})
}

// That a shield is this very node is known for a while.
func TestSelf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var h shieldHealth
		h.setSelf(time.Now())
		if status, _ := h.state(time.Now()); status != statusSelf || !h.isSelf(time.Now()) {
			t.Errorf("it is %s", status)
		}
		time.Sleep(selfTime)
		if status, _ := h.state(time.Now()); status != statusOK || h.isSelf(time.Now()) {
			t.Errorf("it is %s", status)
		}
	})
}

// How shields are outlives a reload, and is forgotten with the last handler.
func TestShieldsReload(t *testing.T) {
	config := withResolver(`"shield": {"urls": ["https://a.example", "https://b.example"]}`)
	old, unload := mustLoad(t, config)
	old.shields.list[1].health.failed(time.Now(), time.Now(), reasonRefused, false)
	if _, failed, err := load(t, withResolver(`"shield": {"urls": ["https://b.example"]}, "enforce_origins": true`)); err == nil {
		t.Fatal("was loaded")
	} else {
		failed()
	}
	h, unloadNew := mustLoad(t, withResolver(`"shield": {"urls": ["https://b.example/", "https://c.example"]}`))
	unload()
	if status, _ := h.shields.list[0].health.state(time.Now()); status != statusFailing {
		t.Error("what was known of it is lost")
	}
	if h.state != old.state {
		t.Error("the cache is lost")
	}
	unloadNew()
	if n := inUse(healths); n != 0 {
		t.Errorf("%d are left", n)
	}
}
