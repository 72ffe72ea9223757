package voyo

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/voyo-music/caddy-voyo/internal/contain"
	"github.com/voyo-music/caddy-voyo/resolver"
)

const (
	// shieldPause is how long a shield is left out after it has failed. It doubles each
	// time that it fails again, up to maxShieldPause, which is shorter than failingFor:
	// what /health says of shields that are tried no more often is never out of date.
	shieldPause    = 2 * time.Second
	maxShieldPause = 16 * time.Second

	// selfTime is how long it is remembered that a shield is this very node. Its name
	// may lead elsewhere later.
	selfTime = time.Minute
)

// shields are the edges of another tier.
type shields struct {
	list   []*shield
	policy reverseproxy.Selector
	repl   *caddy.Replacer
}

// healths holds how each shield that some handler has is, by its URL. So a reload, or
// another handler, need not find it out again.
var healths = caddy.NewUsagePool()

// acquire takes hold of how the shields are. It must be released exactly once.
func (s *shields) acquire() {
	if s == nil {
		return
	}
	for _, one := range s.list {
		// the constructor can't fail, so neither can this
		value, _, _ := healths.LoadOrNew(one.key(), func() (caddy.Destructor, error) { return new(shieldHealth), nil })
		one.health = value.(*shieldHealth)
	}
}

func (s *shields) release() (err error) {
	if s == nil {
		return nil
	}
	for _, one := range s.list {
		_, deleteErr := healths.Delete(one.key())
		err = errors.Join(err, deleteErr)
	}
	return err
}

// failedShields counts those that are left out.
func failedShields() (n int) {
	now := time.Now()
	healths.Range(func(_, value any) bool {
		if status, _ := value.(*shieldHealth).state(now); status == statusFailing {
			n++
		}
		return true
	})
	return n
}

// turn is the order in which the shields are asked for a track.
type turn struct {
	policy  reverseproxy.Selector
	request *http.Request
	left    []*shield
}

// turn begins with all shields, be they well or not: a policy that goes by position
// needs them. That of the default is the same in all edges, whichever are well.
//
// A policy is told of the track, and not of what of it is asked for, so that all of a
// track is in one place.
func (s *shields) turn(id resolver.ID) *turn {
	path := streamPath + id.VOYO()
	ctx := context.WithValue(context.Background(), caddy.ReplacerCtxKey, s.repl)
	ctx = context.WithValue(ctx, caddyhttp.VarsCtxKey, map[string]any{caddyhttp.ClientIPVarKey: ""}) // which some take for granted
	r := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: path}, RequestURI: path, Header: make(http.Header)}
	return &turn{s.policy, r.WithContext(ctx), slices.Clone(s.list)}
}

// next returns the shield that the policy chooses of those that it has not chosen yet;
// nil if it chooses none. The error is a panic of the policy's.
func (t *turn) next() (*shield, error) {
	pool := make(reverseproxy.UpstreamPool, len(t.left))
	for i, s := range t.left {
		pool[i] = s.choice
	}
	var chosen *reverseproxy.Upstream
	err := contain.Do(func() error {
		chosen = t.policy.Select(pool, t.request, unheard{})
		return nil
	})
	i := slices.IndexFunc(t.left, func(s *shield) bool { return s.choice == chosen })
	if err != nil || i < 0 {
		return nil, err
	}
	s := t.left[i]
	t.left = slices.Delete(t.left, i, i+1)
	return s, nil
}

// first returns the shield that would be asked for a track now; nil if the resolvers
// would.
func (s *shields) first(id resolver.ID, now time.Time) *shield {
	for t := s.turn(id); ; {
		one, _ := t.next()
		if one == nil || one.health.isSelf(now) {
			return nil
		}
		if one.health.ready(now) {
			return one
		}
	}
}

// unheard is where policies write that set cookies: to nobody.
type unheard struct{}

func (unheard) Header() http.Header         { return make(http.Header) }
func (unheard) Write(b []byte) (int, error) { return len(b), nil }
func (unheard) WriteHeader(int)             {}

// shieldHealth is how a shield does, as far as those know who have asked it. The zero
// value is one that is well.
type shieldHealth struct {
	mu       sync.Mutex
	failures int       // in a row
	reason   reason    // of the last one
	back     time.Time // when it is tried again
	trying   bool      // somebody finds out if it is well again
	answered time.Time // when it last did
	alive    time.Time // when it last has shown that it is there
	probing  bool      // it is asked for that
	self     time.Time // until then it is this very node
}

// Destruct implements caddy.Destructor.
func (*shieldHealth) Destruct() error { return nil }

// admit reports whether the shield may be asked. If it has failed that is a trial, of
// which there is one at a time; it must be ended by undecided.
func (h *shieldHealth) admit(now time.Time) (ok, trial bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.failures == 0 {
		return true, false
	}
	ok = h.tryable(now)
	h.trying = h.trying || ok
	return ok, ok
}

// ready reports whether admit would, without a trial.
func (h *shieldHealth) ready(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.failures == 0 || h.tryable(now)
}

// tryable reports whether it is time to see if a shield that has failed is well again.
// The caller holds h.mu.
func (h *shieldHealth) tryable(now time.Time) bool { return !h.trying && !now.Before(h.back) }

// succeeded notes that the shield has answered, and reports whether it had not been well.
func (h *shieldHealth) succeeded(now time.Time) (recovered bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	recovered = h.failures > 0
	h.failures, h.reason, h.trying, h.answered = 0, "", false, now
	return recovered
}

// failed notes that the shield did not answer a request that was made at the time given,
// and reports whether it is left out from now on.
//
// That it was too slow may be because of what it was asked for. If it has answered
// others meanwhile, it is well.
func (h *shieldHealth) failed(now, asked time.Time, why reason, trial bool) (fell bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if trial {
		h.trying = false
	}
	switch {
	case why == reasonTimeout && h.answered.After(asked):
		return false
	case h.failures > 0 && !trial: // asked before it was left out
		return false
	}
	pause := min(shieldPause<<min(h.failures, 10), maxShieldPause)
	h.failures, h.reason, h.back = h.failures+1, why, now.Add(pause)
	return true
}

// undecided ends a trial that has not shown anything. One that has is not changed.
func (h *shieldHealth) undecided(trial bool) {
	if trial {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.trying = false
	}
}

// isSelf reports whether the shield is this very node, as it has found out.
func (h *shieldHealth) isSelf(now time.Time) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return now.Before(h.self)
}

func (h *shieldHealth) setSelf(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.self = now.Add(selfTime)
}

// state returns the shield's status for operators, and why it is left out if it is.
func (h *shieldHealth) state(now time.Time) (status string, why reason) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.failures > 0:
		return statusFailing, h.reason
	case now.Before(h.self):
		return statusSelf, ""
	default:
		return statusOK, ""
	}
}

// statusSelf is that of a shield which is this very node.
const statusSelf = "self"
