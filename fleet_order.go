package voyo

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/voyo-music/caddy-voyo/internal/fleet"
)

// Tiers and the log. Who has purged a track and then asks another node for it must not be
// given what is to be forgotten: nobody would purge that again. So a node tells the one
// that it asks how far in the log it is, and that one answers when it is as far itself.

// appliedField is how, as a sequence number of the log and the log's identity. It has no
// standard.
const appliedField = "Voyo-Applied"

// orderPatience is how long a node that is behind the one that asks it has that wait. As a
// rule all apply an entry within milliseconds.
const orderPatience = time.Second

// headway is how far a log has been applied, for who waits for that. The zero value is
// at its beginning.
type headway struct {
	mu       sync.Mutex
	begun    fleet.Position // the latest entry that was, or is being, applied
	done     fleet.Position // the last one that is in effect
	vain     fleet.Position // the first one that somebody has waited for in vain since done has changed
	advanced chan struct{}  // closed when done changes; nil as long as nobody waits
}

// begin notes that an entry will be in effect at any time from now on.
func (h *headway) begin(to fleet.Position) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.raise(to)
}

// restart notes that all that was stored before a log had an entry is purged. What was
// applied behind that is in no log any more, where this one was restored from a backup: nobody
// could get as far.
func (h *headway) restart(from fleet.Position) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.begun = from
}

// raise never goes back in a log: what is applied again has been in effect before. The
// caller holds h.mu.
func (h *headway) raise(to fleet.Position) {
	back := to.Stream == h.begun.Stream && to.Seq < h.begun.Seq
	if !back && to != (fleet.Position{}) && to != elsewhere {
		h.begun = to
	}
}

// finish notes that it is.
func (h *headway) finish(at fleet.Position) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.raise(at)
	h.done, h.vain = at, fleet.Position{}
	if h.advanced != nil {
		close(h.advanced)
		h.advanced = nil
	}
}

// await reports whether all up to a position is in effect, before ctx ends. It does not wait
// for what somebody has waited for until the deadline of his ctx, as long as nothing has come
// since: the node may be cut off from the log.
func (h *headway) await(ctx context.Context, at fleet.Position) bool {
	for {
		h.mu.Lock()
		there := h.done.Reaches(at)
		if there || h.vain != (fleet.Position{}) && at.Reaches(h.vain) {
			h.mu.Unlock()
			return there
		}
		if h.advanced == nil {
			h.advanced = make(chan struct{})
		}
		advanced := h.advanced
		h.mu.Unlock()
		select {
		case <-advanced:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				h.waitedInVain(at)
			}
			return false
		}
	}
}

func (h *headway) waitedInVain(at fleet.Position) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.done.Reaches(at) && !at.Reaches(h.vain) {
		h.vain = at
	}
}

// stamp tells a shield how far the node is. What a fill stores that has begun after an
// entry was put into effect is as new as that entry.
func (f *following) stamp(header http.Header) {
	if at := f.last(); at.Seq > 0 {
		header.Set(appliedField, strconv.FormatUint(at.Seq, 10)+" "+at.Stream)
	}
}

// last returns the latest entry that may be in effect.
func (f *following) last() fleet.Position {
	if f == nil {
		return fleet.Position{}
	}
	f.headway.mu.Lock()
	defer f.headway.mu.Unlock()
	return f.headway.begun
}

// admits reports whether the node is as far as the edge that asks it. It waits for that,
// not for long. A node without a fleet has nothing to be behind with.
func (f *following) admits(r *http.Request) bool {
	told := r.Header.Get(appliedField)
	if f == nil || told == "" || len(passedEdges(r.Header)) == 0 {
		return true
	}
	number, stream, _ := strings.Cut(told, " ")
	seq, err := strconv.ParseUint(number, 10, 64)
	if err != nil {
		return true // not an edge's
	}
	ctx, cancel := context.WithTimeout(r.Context(), orderPatience)
	defer cancel()
	return f.headway.await(ctx, fleet.Position{Stream: stream, Seq: seq})
}
