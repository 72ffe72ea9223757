package voyo

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/voyo-music/caddy-voyo/cache"
	"github.com/voyo-music/caddy-voyo/resolver"
)

// One that takes long leaves the resolvers the rest of the time: no other shield is asked.
func TestShieldTakesLong(t *testing.T) {
	h := newTestHandler(t, at("http://upstream.example/song.opus"))
	giveShields(t, h, tier(3)...)
	synctest.Test(t, func(t *testing.T) {
		var asked []string
		h.client = roundTripper(func(r *http.Request) (*http.Response, error) {
			asked = append(asked, r.URL.Host)
			for range 15 {
				time.Sleep(time.Second)
				h.shields.list[0].health.succeeded(time.Now()) // it answers others
			}
			return nil, context.DeadlineExceeded
		})
		resp, err := h.upstream(newTestRequest("GET", "/", nil), testAsset).askShields(t.Context(), nil)
		if resp != nil || err != nil || !slices.Equal(asked, []string{"edge-0.example"}) {
			t.Errorf("asked were %q, %v", asked, err)
		}
	})
}

// A shield that has failed may take as long when it is tried as any: its origin may be slow.
func TestShieldSlowTrial(t *testing.T) {
	h := newTestHandler(t, at("http://upstream.example/song.opus"))
	giveShields(t, h, tier(1)...)
	synctest.Test(t, func(t *testing.T) {
		health := h.shields.list[0].health
		health.failed(time.Now(), time.Now(), reasonTimeout, false)
		time.Sleep(shieldPause)
		h.client = roundTripper(func(r *http.Request) (*http.Response, error) {
			select {
			case <-r.Context().Done():
				return nil, context.Cause(r.Context())
			case <-time.After(shieldPatience - time.Second):
			}
			header := http.Header{"Cache-Status": {"voyo; fwd=miss"}}
			return &http.Response{StatusCode: http.StatusNotFound, Header: header, Body: http.NoBody, Request: r}, nil
		})
		if _, err := h.upstream(newTestRequest("GET", "/", nil), testAsset).fetch(t.Context(), nil); !errors.Is(err, cache.ErrNotFound) {
			t.Error(err)
		}
		if status, why := health.state(time.Now()); status != statusOK {
			t.Errorf("it is %s, %s", status, why)
		}
		time.Sleep(probeTime) // until it need not say any more whether it is there
	})
}

// That the client has left is no fault of the shield, and ends its trial.
func TestShieldClientLeaves(t *testing.T) {
	came := make(chan struct{}, 10)
	f := newFakeShield(t, func(_ http.ResponseWriter, r *http.Request) {
		came <- struct{}{}
		<-r.Context().Done()
	})
	h := newTestHandler(t, found(nil))
	giveShields(t, h, f.URL)
	health := h.shields.list[0].health
	long := time.Now().Add(-time.Hour)
	for _, ill := range []bool{false, true} {
		if ill {
			health.failed(long, long, reasonRefused, false)
		}
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			<-came
			cancel()
		}()
		if _, err := h.upstream(newTestRequest("GET", "/", nil), testAsset).fetch(ctx, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if ok, trial := health.admit(time.Now()); !ok || trial != ill {
			t.Errorf("it may be asked: %t, on trial: %t", ok, trial)
		}
	}
}

// Who waits for a shield gives it up when nothing is heard of it, and not as long as it
// answers others.
func TestShieldSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, began := new(shieldHealth), time.Now()
		var probes atomic.Int64
		probe := func() bool {
			probes.Add(1)
			time.Sleep(probeTime)
			return false
		}
		gaveUp := make(chan time.Duration, 1)
		h.untilSilent(probe, func() { gaveUp <- time.Since(began) })
		answered := h.untilSilent(probe, func() { t.Error("it had answered") })
		for range 3 {
			time.Sleep(shieldPatience - probeTime - time.Millisecond)
			h.succeeded(time.Now())
		}
		if n := probes.Load(); n > 0 {
			t.Errorf("it was asked %d times whether it is there", n)
		}
		answered()
		if got, want := <-gaveUp, 3*(shieldPatience-probeTime-time.Millisecond)+shieldPatience; got != want || probes.Load() != 1 {
			t.Errorf("given up after %s, want %s, and %d probes", got, want, probes.Load())
		}
		time.Sleep(time.Minute)
	})
}

// A shield that has nobody else to answer is waited for as long as it says that it is there,
// for which it is asked once for all who wait.
func TestShieldProbe(t *testing.T) {
	h := newTestHandler(t, at("http://upstream.example/song.opus"))
	giveShields(t, h, tier(1)...)
	service := `{"service": "voyo-edge", "status": "degraded"}`
	for _, c := range []struct {
		name   string
		report string        // of its health
		after  time.Duration // it answers
		took   time.Duration
		probes int
		ill    reason
	}{
		{"slow", service, 8 * time.Second, 8 * time.Second, 2, ""},
		{"away", "", 8 * time.Second, shieldPatience, 1, reasonTimeout},
		{"another server", `{"status": "ok"}`, 8 * time.Second, shieldPatience, 1, reasonTimeout},
		{"does not end", service, time.Hour, 15 * time.Second, 4, reasonTimeout},
	} {
		synctest.Test(t, func(t *testing.T) {
			h.shields.list[0].health = new(shieldHealth)
			var probes atomic.Int64
			h.client = roundTripper(func(r *http.Request) (*http.Response, error) {
				resp := &http.Response{StatusCode: http.StatusNotFound, Header: http.Header{"Cache-Status": {"voyo; fwd=miss"}}, Body: http.NoBody}
				after := c.after
				if r.URL.Path == healthPath {
					probes.Add(1)
					after = 10 * time.Millisecond
					resp.StatusCode, resp.Body = http.StatusServiceUnavailable, io.NopCloser(strings.NewReader(c.report))
				}
				select {
				case <-r.Context().Done():
					return nil, context.Cause(r.Context())
				case <-time.After(15 * time.Second): // as a transport does
					return nil, context.DeadlineExceeded
				case <-time.After(after):
					return resp, nil
				}
			})
			began := time.Now()
			var clients sync.WaitGroup
			for range 3 {
				clients.Go(func() {
					_, err := h.upstream(newTestRequest("GET", "/", nil), testAsset).askShields(t.Context(), nil)
					if took := time.Since(began); took != c.took || errors.Is(err, cache.ErrNotFound) != (c.ill == "") {
						t.Errorf("%s: %v after %s", c.name, err, took)
					}
				})
			}
			clients.Wait()
			synctest.Wait()
			if n := int(probes.Load()); n != c.probes {
				t.Errorf("%s: it was asked %d times whether it is there", c.name, n)
			}
			if _, why := h.shields.list[0].health.state(time.Now()); why != c.ill {
				t.Errorf("%s: it is left out because of %q", c.name, why)
			}
		})
	}
}

// A shield can be asked whether it is there also when all connections that there may be to
// it wait for its answers.
func TestShieldProbeHasItsOwnConnection(t *testing.T) {
	came, release := make(chan struct{}), make(chan struct{})
	f := newFakeShield(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == healthPath {
			_, _ = io.WriteString(w, `{"service": "voyo-edge"}`)
			return
		}
		close(came)
		<-release
		w.WriteHeader(http.StatusNotFound)
	})
	h := newTestHandler(t, found(nil))
	giveShields(t, h, f.URL)
	shield := h.shields.list[0]
	h.client = mustTransport(t, `{"protocol": "http", "max_conns_per_host": 1}`, newGuard(t, []string{shield.hostPort()}, nil))
	answered := make(chan error, 1)
	go func() {
		_, err := h.upstream(newTestRequest("GET", "/", nil), testAsset).askShields(t.Context(), nil)
		answered <- err
	}()
	<-came
	if !h.probe(shield) {
		t.Error("it is not there")
	}
	close(release)
	if err := <-answered; !errors.Is(err, cache.ErrNotFound) {
		t.Error(err)
	}
}

// hangingTier answers as two shields, the first of which falls silent after it has sent
// some of its body, for as long as given, and says at its health what is given.
func hangingTier(sent, rest, report string, silence time.Duration) http.RoundTripper {
	return roundTripper(func(r *http.Request) (*http.Response, error) {
		header := http.Header{"Cache-Status": {"voyo; hit; ttl=5"}, "Content-Type": {"image/gif"}}
		if strings.HasPrefix(r.URL.Path, streamPath) {
			header.Set("Content-Type", "audio/ogg")
		}
		body := io.NopCloser(strings.NewReader(sent + rest))
		switch {
		case r.URL.Path == healthPath:
			body = io.NopCloser(strings.NewReader(report))
		case r.URL.Host == "edge-0.example":
			hangs, w := io.Pipe()
			context.AfterFunc(r.Context(), func() { _ = w.CloseWithError(r.Context().Err()) })
			go func() {
				_, _ = io.WriteString(w, sent)
				select {
				case <-r.Context().Done():
				case <-time.After(silence):
					_, _ = io.WriteString(w, rest)
					w.Close()
				}
			}()
			body = hangs
		}
		return &http.Response{StatusCode: http.StatusOK, Header: header, Body: body, ContentLength: -1, Request: r}, nil
	})
}

// A shield whose body does not begin is given up: when nothing is heard of it, and then the
// next one is asked, or after the time that any upstream has.
func TestShieldHangs(t *testing.T) {
	h := newTestHandler(t, at("http://upstream.example/cover.jpg"))
	giveShields(t, h, tier(2)...)
	const content = "GIF89a, and more"
	cover := resolver.Asset{ID: testID, Kind: resolver.Art, Image: "hqdefault"}
	for _, asset := range []resolver.Asset{cover, testAsset} {
		for report, patience := range map[string]time.Duration{"": shieldPatience, `{"service": "voyo-edge"}`: cache.StallTimeout} {
			synctest.Test(t, func(t *testing.T) {
				h.shields.list[0].health = new(shieldHealth)
				h.client = hangingTier("", content, report, time.Hour)
				began := time.Now()
				resp, err := h.upstream(newTestRequest("GET", "/", nil), asset).askShields(t.Context(), nil)
				took, got := time.Since(began), ""
				if resp != nil {
					b, readErr := io.ReadAll(resp.Body)
					got, err = string(b), errors.Join(err, readErr, resp.Body.Close())
				}
				if asked := got == content; took != patience || asked != (patience == shieldPatience) || err != nil {
					t.Errorf("%s, %q: got %q, %v after %s", asset.Kind, report, got, err, took)
				}
				if _, why := h.shields.list[0].health.state(time.Now()); why != reasonTimeout {
					t.Errorf("%s, %q: it is left out because of %q", asset.Kind, report, why)
				}
				time.Sleep(time.Minute) // until nobody is asked any more whether he is there
			})
		}
	}
}

// A shield that falls silent in the middle is given up and left out, unless it says that it
// is there.
func TestShieldFallsSilent(t *testing.T) {
	h := newTestHandler(t, at("http://upstream.example/song.opus"))
	giveShields(t, h, tier(2)...)
	for _, c := range []struct {
		name, report  string
		silence, took time.Duration
		want          string
		ill           reason
	}{
		{"away", "", time.Hour, shieldPatience, "some", reasonTimeout},
		{"there", `{"service": "voyo-edge"}`, 3 * shieldPatience, 2 * shieldPatience, "some more", ""},
	} {
		synctest.Test(t, func(t *testing.T) {
			health := new(shieldHealth)
			h.shields.list[0].health = health
			h.client = hangingTier("some", " more", c.report, c.silence)
			resp, err := h.upstream(newTestRequest("GET", "/", nil), testAsset).askShields(t.Context(), nil)
			if err != nil || resp == nil {
				t.Fatal(c.name, err)
			}
			defer resp.Body.Close()
			time.Sleep(shieldPatience) // as long as nobody reads it is not waited for
			began := time.Now()
			b, err := io.ReadAll(resp.Body)
			if took := time.Since(began); string(b) != c.want || errors.Is(err, errShieldSilent) != (c.ill != "") || took != c.took {
				t.Errorf("%s: got %q, %v after %s", c.name, b, err, took)
			}
			if _, why := health.state(time.Now()); why != c.ill {
				t.Errorf("%s: it is left out because of %q", c.name, why)
			}
			time.Sleep(time.Minute)
		})
	}
}
