package voyo

import (
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/voyo-music/caddy-voyo/cache"
)

// fill puts that many covers into the cache and returns how many are kept.
func fill(t *testing.T, s *state, covers int) int {
	t.Helper()
	for i := range covers {
		err := warmCover(t, s, strconv.Itoa(i))
		if err != nil {
			t.Fatal(err)
		}
	}
	return s.art.Stats().Entries
}

// warmCover puts a cover into the cache.
func warmCover(t *testing.T, s *state, key string) error {
	t.Helper()
	return s.art.Warm(t.Context(), cache.Request{
		Key:    key,
		Policy: &cache.Policy{TTL: time.Hour, MaxObject: 1000},
		Fetch: func(context.Context, http.Header) (*http.Response, error) {
			return &http.Response{
				StatusCode:    http.StatusOK,
				Header:        http.Header{"Content-Length": {"5"}, "Etag": {`"v1"`}},
				ContentLength: 5,
				Body:          io.NopCloser(strings.NewReader("cover")),
			}, nil
		},
	}, 5)
}

func TestStateLimits(t *testing.T) {
	key := stateKey("test", []string{t.Name()}, nil, "")
	many, few := limits{art: cache.Limits{Entries: 10, Memory: 1000}}, limits{art: cache.Limits{Entries: 2, Memory: 1000}}

	first := acquireState(key, many)
	failed := acquireState(key, few)
	s := first.state
	if s != failed.state {
		t.Fatal("equal keys, two states")
	}
	if n := fill(t, s, 5); n != 5 {
		t.Errorf("%d covers are kept while a configuration is loaded", n)
	}
	release(t, failed)
	if n := s.art.Stats().Entries; n != 5 {
		t.Errorf("%d covers are kept after a failed reload", n)
	}

	second := acquireState(key, few)
	third := acquireState(key, many)
	release(t, first)
	if n := s.art.Stats().Entries; n != 2 {
		t.Errorf("%d covers are kept after a reload to fewer", n)
	}
	release(t, second)
	if n := fill(t, s, 5); n != 5 {
		t.Errorf("%d covers are kept after a reload to more", n)
	}
	release(t, third)
	if n := statesInUse(); n != 0 {
		t.Errorf("%d states are left", n)
	}
}

func release(t *testing.T, l *lease) {
	t.Helper()
	if err := l.release(); err != nil {
		t.Fatal(err)
	}
}

func TestStateKey(t *testing.T) {
	base := stateKey("m", []string{"a", "b"}, []string{"x", "y"}, "")
	if base != stateKey("m", []string{"a", "b"}, []string{"y", "x", "y"}, "") {
		t.Error("the order and number of allowed upstreams matter")
	}
	for what, other := range map[string][32]byte{
		"module":              stateKey("n", []string{"a", "b"}, []string{"x", "y"}, ""),
		"order of resolvers":  stateKey("m", []string{"b", "a"}, []string{"x", "y"}, ""),
		"where strings end":   stateKey("m", []string{"ab"}, []string{"x", "y"}, ""),
		"where a list ends":   stateKey("m", []string{"a", "b", "x"}, []string{"y"}, ""),
		"number of resolvers": stateKey("m", []string{"a"}, []string{"x", "y"}, ""),
		"allowed upstreams":   stateKey("m", []string{"a", "b"}, []string{"x"}, ""),
		"origin":              stateKey("m", []string{"a", "b"}, []string{"x", "y"}, "z"),
	} {
		if other == base {
			t.Errorf("%s: does not matter", what)
		}
	}
}

func TestSharedState(t *testing.T) {
	t.Setenv("VOYO_TEST_SETTING", "value")
	fake := func(more string) string {
		return `{"resolvers": [{"resolver": "fake", "upstream": "a.example:443"` + more
	}
	anonymous := func(settings string) string {
		return `{"resolvers": [{"resolver": "anonymous", "settings": ` + settings + `}]}`
	}
	for _, c := range []struct {
		name, one, other string
		shared           bool
	}{
		{"equal", fake(`}]}`), fake(`}]}`), true},
		{"other secret", fake(`}]}`), fake(`, "secret": "x"}]}`), true},
		{"other limits", fake(`}]}`), fake(`}], "art": {"entries": 1, "ttl": "1s"}}`), true},
		{"other origins", fake(`}]}`), fake(`}], "allowed_origins": ["*"]}`), true},
		{"other upstream", fake(`}]}`), `{"resolvers": [{"resolver": "fake", "upstream": "b.example:443"}]}`, false},
		{"other allowed upstreams", fake(`}]}`), fake(`}], "allowed_upstreams": ["c.example"]}`), false},
		{"an origin", fake(`}]}`), fake(`}], "origin": {"url": "https://www.example"}}`), false},
		{"an origin, written otherwise", fake(`}], "origin": {"url": "https://www.example"}}`), fake(`}], "origin": {"url": "HTTPS://WWW.example:443/"}}`), true},
		{"other policy of the origin", fake(`}], "origin": {"url": "https://www.example"}}`), fake(`}], "origin": {"url": "https://www.example", "ttl": "1h"}}`), true},
		{"another resolver", fake(`}]}`), fake(`}, {"resolver": "fake"}]}`), false},
		{"anonymous, written otherwise", anonymous(`{"a": 1, "b": 2}`), anonymous(`{"b":2, "a":1}`), true},
		{"anonymous, other settings", anonymous(`{"a": 1}`), anonymous(`{"a": 2}`), false},
		{"anonymous, large numbers", anonymous(`{"a": 9007199254740992}`), anonymous(`{"a": 9007199254740993}`), false},
		{"anonymous, expanded", anonymous(`{"a": ["-{env.VOYO_TEST_SETTING}"]}`), anonymous(`{"a": ["-value"]}`), true},
		{"anonymous, for each request", anonymous(`{"a": "{http.voyo.id}"}`), anonymous(`{"a": "{http.voyo.kind}"}`), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			one, _ := mustLoad(t, c.one)
			other, _ := mustLoad(t, c.other)
			if shared := one.state == other.state; shared != c.shared {
				t.Errorf("shared: %t, want %t", shared, c.shared)
			}
		})
	}
}

// A reload with a rotated secret uses it, and keeps what is cached.
func TestRotatedSecret(t *testing.T) {
	name := filepath.Join(t.TempDir(), "secret")
	config := `{"resolvers": [{"resolver": "fake", "upstream": "a.example:443", "secret": "{file.` + name + `}"}]}`
	write := func(secret string) {
		if err := os.WriteFile(name, []byte(secret+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("old")
	before, unload := mustLoad(t, config)
	write("new")
	after, _ := mustLoad(t, config)
	unload()
	if got := after.resolvers[0].Resolver.(*fakeResolver).secret; got != "new" {
		t.Errorf("the secret is %q", got)
	}
	if after.state != before.state {
		t.Error("the cache was lost")
	}
	if got := before.resolvers[0].Resolver.(*fakeResolver).secret; got != "old" {
		t.Errorf("the old configuration's secret is %q", got)
	}
}

// A configuration that fails changes nothing, whether or not it got as far as
// the state, and the next one that is good finds everything as it was.
func TestFailedReloads(t *testing.T) {
	running, unload := mustLoad(t, withResolver(`"art": {"entries": 10}`))
	fill(t, running.state, 5)
	for _, settings := range []string{
		`"art": {"entries": -1}`,                                        // fails before the state is acquired
		`"art": {"entries": 1}, "enforce_origins": true`,                // fails in Validate, after it
		`"allowed_upstreams": ["new.example"], "enforce_origins": true`, // the same, with a state of its own
	} {
		if _, unloadFailed, err := load(t, withResolver(settings)); err == nil {
			t.Fatalf("%s: was loaded", settings)
		} else {
			unloadFailed()
		}
		if n := running.state.art.Stats().Entries; n != 5 {
			t.Errorf("%s: %d covers are kept", settings, n)
		}
		if n := statesInUse(); n != 1 {
			t.Errorf("%s: %d states", settings, n)
		}
	}
	next, _ := mustLoad(t, withResolver(`"art": {"entries": 2}`))
	unload()
	if next.state != running.state {
		t.Error("the cache was lost")
	}
	if n := next.state.art.Stats().Entries; n != 2 {
		t.Errorf("%d covers are kept", n)
	}
}

func TestReloadsLeakNothing(t *testing.T) {
	leaks := goleak.IgnoreCurrent()
	_, unload := mustLoad(t, withResolver(""))
	for i := range 100 {
		if _, unloadFailed, err := load(t, withResolver(`"enforce_origins": true`)); err == nil {
			t.Fatal("was loaded")
		} else {
			unloadFailed()
		}
		old := unload
		// every tenth fetches something else, so that states come and go
		_, unload = mustLoad(t, withResolver(`"allowed_upstreams": ["`+strconv.Itoa(i/10)+`.example"]`))
		old()
		if n := statesInUse(); n != 1 {
			t.Fatalf("%d states after %d reloads", n, i+1)
		}
	}
	unload()
	if n := statesInUse(); n != 0 {
		t.Errorf("%d states are left", n)
	}
	goleak.VerifyNone(t, leaks)
}

// Cleanup gives back what was acquired, once: nothing without a Provision, and
// nothing the second time.
func TestCleanup(t *testing.T) {
	if err := new(Handler).Cleanup(); err != nil {
		t.Error(err)
	}
	h, unload := mustLoad(t, withResolver(""))
	other, _ := mustLoad(t, withResolver(""))
	if err := h.Cleanup(); err != nil {
		t.Error(err)
	}
	unload() // cleans up too
	if n, _ := states.References(other.lease.key); n != 1 {
		t.Errorf("%d leases are left of one", n)
	}
}
