package voyo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/voyo-music/caddy-voyo/cache"
	"github.com/voyo-music/caddy-voyo/resolver"
)

// newContext returns a configuration's context, with a registry of its own.
func newContext(t *testing.T) caddy.Context {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
	t.Cleanup(cancel)
	return ctx
}

// Several handlers of one configuration, and several configurations, register the
// same metrics.
func TestMetricsRegister(t *testing.T) {
	old, next := newContext(t), newContext(t)
	for _, ctx := range []caddy.Context{old, old, next, old, next} {
		if err := registerMetrics(ctx); err != nil {
			t.Fatal(err)
		}
	}
	for _, ctx := range []caddy.Context{old, next} {
		if n, err := testutil.GatherAndCount(ctx.GetMetricsRegistry(), "caddy_voyo_panics_total"); n != 1 || err != nil {
			t.Errorf("%d series, %v", n, err)
		}
	}
}

// What a state has counted stays in the sums when it has ended, and what it had does not.
func TestCensus(t *testing.T) {
	before := living.figures()
	l := limits{art: cache.Limits{Entries: 2, Memory: 1000}}
	first := acquireState(stateKey("test", []string{t.Name()}, nil, ""), l)
	second := acquireState(stateKey("test", []string{t.Name(), "second"}, nil, ""), l)
	check := func(what string, evicted int64, kept, limit int, panics, active int64) {
		t.Helper()
		now := living.figures()
		was, art := before.of(kindArt).cache, now.of(kindArt).cache
		got := fmt.Sprint(art.Evicted-was.Evicted, art.Entries-was.Entries, art.Limits.Entries-was.Limits.Entries,
			now.panics-before.panics, now.activeStreams-before.activeStreams)
		if want := fmt.Sprint(evicted, kept, limit, panics, active); got != want {
			t.Errorf("%s: evicted, kept, limit, panics and active streams are %s, want %s", what, got, want)
		}
	}
	fill(t, first.state, 5)
	fill(t, second.state, 3)
	first.state.panics.Add(1)
	first.state.activeStreams.Add(1)
	check("two states", 4, 4, 4, 1, 1)
	first.state.enter()
	release(t, first)
	check("the first still answers", 4, 4, 4, 1, 1)
	first.state.activeStreams.Add(-1)
	first.state.leave()
	check("the first has ended", 4, 2, 2, 1, 0)
	first.state.close() // as after a request that came late
	release(t, second)
	check("both have", 4, 0, 0, 1, 0)
}

// A disk's errors are counted, whoever runs.
func TestDiskErrorsAreCounted(t *testing.T) {
	count := func(what string) float64 { return testutil.ToFloat64(diskErrorsTotal.WithLabelValues(artDisk, what)) }
	failed, damaged := count(diskErrorFailed), count(diskErrorDamaged)
	events := diskEvents(place{kind: artDisk, path: "/var/cache/voyo/art"})
	events.Degraded(syscall.ENOSPC)
	events.Recovered()
	events.Damaged("ab/cd", errors.New("checksum differs"))
	if f, d := count(diskErrorFailed)-failed, count(diskErrorDamaged)-damaged; f != 1 || d != 1 {
		t.Errorf("%v failures and %v damaged files were counted", f, d)
	}
}

func TestFailureLabels(t *testing.T) {
	for want, f := range map[string]failure{
		"status 5xx": {reason: reasonStatus, status: 503},
		"status 4xx": {reason: reasonStatus, status: 429},
		"bad answer": errBadAnswer,
	} {
		if got := f.label(); got != want {
			t.Errorf("%v: %s, want %s", f, got, want)
		}
	}
}

func TestErrorReasons(t *testing.T) {
	left, leave := context.WithCancel(t.Context())
	leave()
	for _, tt := range []struct {
		ctx  context.Context
		err  error
		want string
	}{
		{t.Context(), fmt.Errorf("a: %w", cache.ErrNotFound), errorMissing},
		{t.Context(), cache.ErrStalled, errorTimeout},
		{t.Context(), failure{reason: reasonTimeout}, errorTimeout},
		{t.Context(), cache.ErrBusy, errorBusy},
		{t.Context(), errBadAnswer, errorUpstream},
		{left, cache.ErrNotFound, errorGone},
	} {
		if got := errorReason((&http.Request{}).WithContext(tt.ctx), tt.err); got != tt.want {
			t.Errorf("%v: %s, want %s", tt.err, got, tt.want)
		}
	}
}

// Who leaves is not an upstream's fault, but one that is too slow is its own.
func TestFailureIn(t *testing.T) {
	for _, tt := range []struct {
		name  string
		cause error // nil: the exchange goes on
		err   error
		want  string // none: it is nobody's fault
	}{
		{"refused", nil, syscall.ECONNREFUSED, "refused"},
		{"client has left", context.Canceled, syscall.ECONNREFUSED, ""},
		{"stalled", cache.ErrStalled, context.Canceled, "timeout"},
		{"forbidden", nil, fmt.Errorf("a: %w", resolver.ErrForbidden), "forbidden"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			if tt.cause != nil {
				cancel(tt.cause)
			}
			f, counts := failureIn(ctx, tt.err)
			if counts != (tt.want != "") || counts && f.label() != tt.want {
				t.Errorf("%v, %v", f, counts)
			}
		})
	}
}

// TestRefusalsHaveLabels counts each refusal.
func TestRefusalsHaveLabels(t *testing.T) {
	for p, reason := range refusals {
		before := testutil.ToFloat64(refusedTotal.WithLabelValues(reason))
		countRefusal(p)
		if got := testutil.ToFloat64(refusedTotal.WithLabelValues(reason)) - before; got != 1 || strings.ContainsAny(reason, " -") {
			t.Errorf("%s: counted %v times", reason, got)
		}
	}
}
