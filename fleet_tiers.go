package voyo

import (
	"context"
	"net/http"
	"strconv"
	"strings"
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

// setPosition tells a shield how far this node has got, if it is in a fleet.
func (f *following) setPosition(header http.Header) {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.position.Seq > 0 {
		header.Set(positionField, strconv.FormatUint(f.position.Seq, 10)+"@"+f.position.Stream)
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
		moved := f.missing(p)
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
func (f *following) missing(p fleet.Position) <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.position.Stream != p.Stream || f.position.Seq >= p.Seq {
		return nil
	}
	if f.moved == nil {
		f.moved = make(chan struct{})
	}
	return f.moved
}
