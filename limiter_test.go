package voyo

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func per(count int, window time.Duration) Rate {
	return Rate{Count: count, Window: caddy.Duration(window)}
}

// numberedAddr returns one of many addresses.
func numberedAddr(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
}

// limited returns the limit that was exceeded and for how many seconds; nothing if none was.
func limited(t *testing.T, err error) (limit string, seconds int) {
	t.Helper()
	if err == nil {
		return "", 0
	}
	p, ok := errors.AsType[problem](err)
	if !ok || p.status != http.StatusTooManyRequests || p.limit == "" || p.retryAfter < 1 {
		t.Errorf("got %#v", err)
	}
	return p.limit, p.retryAfter
}

// A client may make that many requests at once, and then one at each interval. To
// have waited as long as it was told is enough.
func TestLimiterRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(rates{requests: per(4, time.Minute)})
		a, b := numberedAddr(1), numberedAddr(2)
		for i, c := range []struct {
			after   time.Duration
			client  netip.Addr
			seconds int // 0: admitted
		}{
			{0, a, 0}, {0, a, 0}, {0, a, 0}, {0, a, 0},
			{0, a, 15},
			{0, a, 15}, // a refusal costs nothing
			{0, b, 0},  // nor anything of anybody else's
			{1 * time.Millisecond, a, 15},
			{1 * time.Second, a, 14},
			{13998 * time.Millisecond, a, 1},
			{time.Millisecond, a, 0},
			{0, a, 15},
			{15 * time.Second, a, 0},
			{0, a, 15},
			{30 * time.Second, a, 0}, {0, a, 0},
			{0, a, 15},
			{time.Hour, a, 0}, {0, a, 0}, {0, a, 0}, {0, a, 0},
			{0, a, 15},
		} {
			time.Sleep(c.after)
			limit, seconds := limited(t, l.admit(c.client))
			if seconds != c.seconds || seconds > 0 && limit != "requests" {
				t.Errorf("%d: got %q for %d s, want %d s", i, limit, seconds, c.seconds)
			}
		}
	})
}

// However the intervals divide, who waits as long as he is told is admitted.
func TestLimiterRetryAfter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, r := range []Rate{per(1, time.Nanosecond), per(7, time.Second), per(3, time.Second), per(60, time.Minute),
			per(7, time.Minute), per(1, time.Hour), per(11, 24*time.Hour), per(1, 100_000*24*time.Hour)} {
			l := newLimiter(rates{requests: r})
			for range r.Count {
				if err := l.admit(numberedAddr(1)); err != nil {
					t.Fatalf("%v: %v", r, err)
				}
			}
			for range 3 {
				_, seconds := limited(t, l.admit(numberedAddr(1)))
				if most := int(time.Duration(r.Window)/time.Duration(r.Count)/time.Second) + 1; seconds < 1 || seconds > most {
					t.Errorf("%v: got %d s", r, seconds)
				}
				if r.Count == 1 && seconds > 3600 { // too long for the clock
					break
				}
				time.Sleep(time.Duration(seconds) * time.Second)
				for range min(int(time.Duration(seconds)*time.Second*time.Duration(r.Count)/time.Duration(r.Window)), r.Count) {
					if err := l.admit(numberedAddr(1)); err != nil {
						t.Errorf("%v: after %d s: %v", r, seconds, err)
					}
				}
			}
		}
	})
}

// Both limits of lookups have to have one left, or neither loses one.
func TestLimiterLookups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(rates{lookups: per(2, time.Minute), totalLookups: per(3, time.Hour)})
		a, b := numberedAddr(1), numberedAddr(2)
		check := func(when string, client netip.Addr, want string, wantSeconds int) {
			t.Helper()
			if limit, seconds := limited(t, l.permit(client)); limit != want || seconds != wantSeconds {
				t.Errorf("%s: got %q for %d s", when, limit, seconds)
			}
		}
		check("first", a, "", 0)
		check("second", a, "", 0)
		check("third", a, "lookups", 30)
		check("another client's", b, "", 0)
		check("one too many in all", b, "total_lookups", 1200)
		time.Sleep(20 * time.Minute)
		check("one more in all", b, "", 0)
		check("and no other", b, "total_lookups", 1200)
		time.Sleep(20 * time.Minute)
		l.total = nil
		check("the refused one's first", b, "", 0)
		check("the refused one's second", b, "", 0)
		check("the refused one's third", b, "lookups", 30)
		if err := l.admit(a); err != nil {
			t.Errorf("requests are limited, too: %v", err)
		}
	})
}

func TestLimiterOff(t *testing.T) {
	for _, c := range []struct {
		rates              rates
		knows, looks       bool
		perClient, inTotal string
	}{
		{rates{}, false, false, "", ""},
		{rates{requests: per(1, time.Hour)}, true, false, "", ""},
		{rates{lookups: per(1, time.Hour)}, true, true, "lookups", ""},
		{rates{totalLookups: per(1, time.Hour)}, false, true, "total_lookups", "total_lookups"},
	} {
		l := newLimiter(c.rates)
		if l.knowsClients() != c.knows || l.limitsLookups() != c.looks {
			t.Errorf("%+v: knows clients %t, limits lookups %t", c.rates, l.knowsClients(), l.limitsLookups())
		}
		var got [3]string
		for i, client := range []int{1, 1, 2} {
			got[i], _ = limited(t, l.permit(numberedAddr(client)))
		}
		if want := [3]string{"", c.perClient, c.inTotal}; got != want {
			t.Errorf("%+v: got %q, want %q", c.rates, got, want)
		}
	}
}

// Clients are known for as long as that makes a difference.
func TestLimiterReport(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(rates{requests: per(60, time.Minute), lookups: per(1, 2*time.Minute)})
		check := func(when string, active int) {
			t.Helper()
			if got, want := l.report(), (limitReport{ActiveIPs: active, PerIPLimit: 60}); got != want {
				t.Errorf("%s: got %+v, want %+v", when, got, want)
			}
		}
		admit := func(from, to int) {
			t.Helper()
			for i := from; i < to; i++ {
				if err := l.admit(numberedAddr(i)); err != nil {
					t.Fatal(err)
				}
			}
		}
		check("at first", 0)
		admit(0, 1000)
		check("a thousand", 1000)
		time.Sleep(time.Minute)
		admit(0, 10)
		check("some once more", 1000)
		time.Sleep(time.Minute)
		check("those are left", 10)
		time.Sleep(time.Minute)
		check("in the end", 0)

		admit(0, 1000)
		time.Sleep(2 * time.Minute)
		admit(2000, 2010)
		if n := l.clients.Len(); n > 10 {
			t.Errorf("%d clients are known", n)
		}
		check("others", 10)
	})
}

// Where there are too many clients the one who was not seen for longest is forgotten.
func TestLimiterBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLimiter(rates{requests: per(1, time.Hour)})
		for i := range maxClients {
			if err := l.admit(numberedAddr(i)); err != nil {
				t.Fatal(err)
			}
		}
		refused := func(i int) bool {
			limit, _ := limited(t, l.admit(numberedAddr(i)))
			return limit != ""
		}
		if !refused(0) {
			t.Error("the first client was forgotten")
		}
		if refused(maxClients) || refused(1) || !refused(0) || !refused(3) || !refused(maxClients) {
			t.Error("not just the second and the third client were forgotten")
		}
		if n := l.report().ActiveIPs; n != maxClients {
			t.Errorf("%d clients are known", n)
		}
	})
}

func TestLimiterConcurrently(t *testing.T) {
	l := newLimiter(rates{requests: per(100, time.Hour), lookups: per(50, time.Hour), totalLookups: per(120, time.Hour)})
	var mu sync.Mutex
	admitted, permitted := make(map[int]int), 0
	var work sync.WaitGroup
	for i := range 8 {
		work.Go(func() {
			client := numberedAddr(i % 4)
			for range 100 {
				a, p := l.admit(client), l.permit(client)
				l.report()
				mu.Lock()
				if a == nil {
					admitted[i%4]++
				}
				if p == nil {
					permitted++
				}
				mu.Unlock()
			}
		})
	}
	work.Wait()
	for i := range 4 {
		if admitted[i] != 100 {
			t.Errorf("client %d: %d requests were admitted", i, admitted[i])
		}
	}
	if permitted != 120 {
		t.Errorf("%d lookups were permitted", permitted)
	}
}

// requestFrom returns a request whose client has the address, as Caddy knows it.
func requestFrom(t *testing.T, ip string) *http.Request {
	t.Helper()
	ctx := context.WithValue(t.Context(), caddyhttp.VarsCtxKey, map[string]any{caddyhttp.ClientIPVarKey: ip})
	return httptest.NewRequest(http.MethodGet, "/", nil).WithContext(ctx)
}

func TestClientOf(t *testing.T) {
	for ip, want := range map[string]string{
		"192.0.2.1":                    "192.0.2.1",
		"::ffff:192.0.2.1":             "192.0.2.1",
		"2001:db8:1:2:3:4:5:6":         "2001:db8:1:2::",
		"2001:db8:1:2:ffff:ffff::":     "2001:db8:1:2::",
		"2001:db8:1:3::1":              "2001:db8:1:3::",
		"fe80::1%eth0":                 "fe80::",
		"::1":                          "::",
		"":                             "invalid IP",
		"@":                            "invalid IP",
		"192.0.2.1, 198.51.100.1":      "invalid IP",
		"::ffff:192.0.2.1%interesting": "192.0.2.1",
	} {
		if got := clientOf(requestFrom(t, ip)).String(); got != want {
			t.Errorf("%q: got %s, want %s", ip, got, want)
		}
	}
	if got := clientOf(httptest.NewRequest(http.MethodGet, "/", nil)); got.IsValid() {
		t.Errorf("without Caddy: got %s", got)
	}
}

// What clients have used up is shared by equal limits, one after the other or side by side.
func TestLimiterOutlivesReload(t *testing.T) {
	const strict, lax = `"rate_limit": {"requests": {"count": 1, "window": "1h"}}`, `"rate_limit": {"requests": {"count": 2, "window": "1h"}}`
	first, unloadFirst := mustLoad(t, withResolver(strict))
	if _, unload, err := load(t, withResolver(lax+`, "enforce_origins": true`)); err == nil {
		t.Fatal("was loaded")
	} else {
		unload()
	}
	same, unloadSame := mustLoad(t, withResolver(strict+`, "art": {"entries": 1}`))
	if same.limiter != first.limiter {
		t.Error("a reload makes a limiter anew")
	}
	unloadFirst()
	other, unloadOther := mustLoad(t, withResolver(lax))
	if other.limiter == same.limiter || other.limiter.rates.requests.Count != 2 {
		t.Error("other limits are not in effect")
	}
	unloadSame()
	none, unloadNone := mustLoad(t, withResolver(""))
	if none.limiter.knowsClients() || none.limiter.limitsLookups() {
		t.Error("there are limits without a configuration")
	}
	if elsewhere, _ := mustLoad(t, `{"resolvers": [{"resolver": "anonymous"}], `+lax+`}`); elsewhere.limiter == other.limiter {
		t.Error("handlers that fetch other things share a limiter")
	}
	unloadOther()
	back, _ := mustLoad(t, withResolver(lax))
	if back.limiter == other.limiter {
		t.Error("a limiter is kept that nobody used")
	}
	unloadNone()
}

// Whoever is refused is so alone: others who ask for the same are not.
func TestSharedLookups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s sharedLookups
		looks := 0
		look := func() (any, error) { looks++; return "found", nil }
		refuse := make(chan struct{})
		slow := func() error {
			<-refuse
			return tooMany(limitLookups, time.Second)
		}
		asked := 0
		allow := func() error { asked++; return nil }
		var mu sync.Mutex
		var got []string
		ask := func(permit func() error) {
			found, err := s.do(t.Context(), "key", permit, look)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				found = err.Error()
			}
			got = append(got, found.(string))
		}
		go ask(slow)
		synctest.Wait()
		for range 3 {
			go ask(allow)
		}
		synctest.Wait()
		close(refuse)
		synctest.Wait()
		slices.Sort(got)
		if want := []string{"Too many requests", "found", "found", "found"}; !slices.Equal(got, want) {
			t.Errorf("got %q", got)
		}
		if looks < 1 || looks > 3 || asked != looks {
			t.Errorf("%d looks, %d permits", looks, asked)
		}
		ctx, leave := context.WithCancel(t.Context())
		leave()
		if _, err := s.do(ctx, "other", nil, func() (any, error) { time.Sleep(time.Second); return "", nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		time.Sleep(time.Minute) // for the work that was left behind
	})
}
