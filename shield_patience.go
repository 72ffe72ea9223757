package voyo

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/voyo-music/caddy-voyo/internal/contain"
)

const (
	// shieldPatience is how long nothing may be heard of a shield before who waits for it
	// gives it up. Two of them leave the resolvers more than half of the time that a fetch has, and
	// when one has taken as long as two by itself no other is asked.
	// One that is heard of has much to do, or what it asks is slow: if all who
	// wait asked the resolvers too, these would have to do it once for each of them.
	//
	// A trial is given as long: what was too slow once must be able to show that it is not.
	shieldPatience = 5 * time.Second

	// probeTime is how long before its end a shield is asked whether it is there, as it may
	// just have nobody else to answer, and how long it may take for that.
	probeTime = 2 * time.Second

	// maxProbe is how large, in bytes, the answer may be.
	maxProbe = 64 << 10
)

// untilSilent calls giveUp when nothing has been heard of the shield for as long as
// shieldPatience, unless stop has been called before. Before that it has probe ask the
// shield, for all who wait.
func (h *shieldHealth) untilSilent(probe func() bool, giveUp func()) (stop func()) {
	var mu sync.Mutex
	var timer *time.Timer
	stopped, began := false, time.Now()
	mu.Lock()
	defer mu.Unlock()
	timer = time.AfterFunc(shieldPatience-probeTime, func() {
		mu.Lock()
		defer mu.Unlock()
		silent := time.Since(h.lastHeard(began))
		switch {
		case stopped:
		case silent >= shieldPatience:
			giveUp()
		case silent >= shieldPatience-probeTime:
			h.ask(probe)
			timer.Reset(shieldPatience - silent)
		default:
			timer.Reset(shieldPatience - probeTime - silent)
		}
	})
	return func() {
		mu.Lock()
		defer mu.Unlock()
		stopped = true
		timer.Stop()
	}
}

// lastHeard returns when the shield was last heard of since the time given, or else that.
func (h *shieldHealth) lastHeard(since time.Time) time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, at := range []time.Time{h.answered, h.alive} {
		if at.After(since) {
			since = at
		}
	}
	return since
}

// ask has probe find out, in the background, whether the shield is there, if nobody does
// already.
func (h *shieldHealth) ask(probe func() bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.probing {
		return
	}
	h.probing = true
	go func() {
		alive := probe()
		if alive {
			h.heard(time.Now())
		}
		h.mu.Lock()
		defer h.mu.Unlock()
		h.probing = false
	}()
}

// heard notes that the shield is there.
func (h *shieldHealth) heard(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.alive = now
}

// probe reports whether a shield answers what it need ask nobody for. That it is not
// healthy does not matter, nor that all connections to it are waiting for it.
func (h *Handler) probe(s *shield) (alive bool) {
	h.reportPanic(contain.Do(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), probeTime)
		defer cancel()
		header := http.Header{"Cdn-Loop": {loopEntry}, "User-Agent": {edgeName}}
		target := s.at(healthPath, "")
		r := &http.Request{Method: http.MethodGet, URL: target, Host: target.Host, Header: header}
		resp, err := h.client.RoundTrip(r.WithContext(unqueued(ctx)))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		var report healthReport
		err = json.NewDecoder(io.LimitReader(resp.Body, maxProbe)).Decode(&report)
		alive = err == nil && report.Service == serviceName
		return err
	}))
	return alive
}
