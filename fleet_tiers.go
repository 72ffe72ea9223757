package voyo

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/voyo-music/caddy-voyo/internal/fleet"
)

// Nodes do not apply the fleet's log at the very same moment. So an edge could purge, and
// then fetch the old bytes from a shield that is about to. It tells the shield how far it
// has got, and that waits until it has got there, too.

// positionField has the position up to which the log is applied where a request between
// tiers comes from, as in 17@2026-11-23T10:30:00Z.
const positionField = "Voyo-Fleet"

// positionPatience is how long an edge is let wait, which is more than nodes that are
// connected to NATS are apart.
const positionPatience = time.Second

// headway is how far the log is applied. It has a lock of its own, as that of following is
// held while a disk is written to. The zero value is at the log's beginning.
type headway struct {
	mu    sync.Mutex
	begun fleet.Position // the entry that is being put into effect, or else the last one
	done  fleet.Position // up to which all is in effect
	moved chan struct{}  // closed when done changes; nil if nobody waits for it
}

// begin notes that an entry may be in effect from now on.
func (h *headway) begin(at fleet.Position) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.begun = at
}

// finish notes that it is.
func (h *headway) finish(at fleet.Position) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.begun, h.done = at, at
	if h.moved != nil {
		close(h.moved)
		h.moved = nil
	}
}

// setPosition tells a shield how far this node has got, if it is in a fleet: what is fetched
// after a purge, be that noted as done or not yet, must be as new as that.
func (f *following) setPosition(header http.Header) {
	if f == nil {
		return
	}
	f.headway.mu.Lock()
	defer f.headway.mu.Unlock()
	if at := f.headway.begun; at.Seq > 0 {
		header.Set(positionField, strconv.FormatUint(at.Seq, 10)+"@"+at.Stream)
	}
}

// positionOf returns the position that a request between tiers has come with, if any.
func positionOf(header http.Header) (p fleet.Position, ok bool) {
	text := header.Get(positionField)
	if text == "" || len(passedEdges(header)) == 0 {
		return p, false
	}
	number, stream, ok := strings.Cut(text, "@")
	seq, err := strconv.ParseUint(number, 10, 64)
	return fleet.Position{Stream: stream, Seq: seq}, ok && err == nil
}

// awaitTier waits until the state has got as far as the edge that has sent the request. If
// it does not get there in time it must not answer, since it would with what is purged
// there. An edge of another fleet can't be waited for.
func (s *state) awaitTier(ctx context.Context, header http.Header) error {
	f := s.following.Load()
	if f == nil {
		return nil
	}
	p, ok := positionOf(header)
	if !ok {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, positionPatience)
	defer cancel()
	for {
		moved := f.headway.missing(p)
		if moved == nil {
			return nil
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// missing returns what is closed when the state has got further, nil if it has got as far
// as the position.
func (h *headway) missing(p fleet.Position) <-chan struct{} {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.done.Seq == 0: // it has applied nothing yet of any log
	case h.done.Stream != p.Stream || h.done.Seq >= p.Seq:
		return nil
	}
	if h.moved == nil {
		h.moved = make(chan struct{})
	}
	return h.moved
}
