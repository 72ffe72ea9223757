package voyo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/voyo-music/caddy-voyo/resolver"
)

// maxPrefetch is how many tracks one request can have warmed: as many as are warmed or
// wait for that at a time.
const maxPrefetch = maxWarming + maxWaiting

// prefetchRequest is what /voyo/prefetch is sent.
type prefetchRequest struct {
	IDs     []string `json:"ids"`
	Type    string   `json:"type,omitempty"`    // audio or video; default: audio
	Quality string   `json:"quality,omitempty"` // low, medium or high; default: high
}

// What can become of a track.
const (
	prefetchWarming = "warming" // has begun
	prefetchAlready = "already" // warm, or being warmed
	prefetchDone    = "done"    // warm; only where the client waits for it
	prefetchFailed  = "failed"  // could not be warmed; likewise, or at once if it is taken down
	prefetchBusy    = "busy"    // too many others are being warmed
	prefetchInvalid = "invalid" // no ID
)

// prefetchResult is what became of a track.
type prefetchResult struct {
	ID     string `json:"id"` // as it was sent
	VOYOID string `json:"voyoId,omitempty"`
	Status string `json:"status"`
	Error  string `json:"error,omitempty"` // as clients are told
}

// prefetchAnswer is the answer to a client that does not wait.
type prefetchAnswer struct {
	Results []prefetchResult `json:"results"`
}

// servePrefetch has tracks warmed, within the bounds that /prefetch has. With ?wait the
// answer is a line of JSON for each track as soon as it is known what became of it.
func (a *adminAPI) servePrefetch(w http.ResponseWriter, r *http.Request, handlers []*Handler) error {
	var asked prefetchRequest
	if err := readJSON(w, r, &asked); err != nil {
		return err
	}
	if err := asked.check(); err != nil {
		return refusal(http.StatusBadRequest, err)
	}
	list := statesOf(handlers)
	enterAll(list)
	defer leaveAll(list)
	var results []prefetchResult
	var begun []warmings
	for _, id := range asked.IDs {
		result, under := asked.begin(r, firstOfEach(handlers), id)
		results, begun = append(results, result), append(begun, under)
	}
	if !r.URL.Query().Has("wait") {
		return adminJSON(w, r, prefetchAnswer{results})
	}
	return stream(w, r, results, begun)
}

// enterAll keeps states open, until leaveAll is called.
func enterAll(list []*state) {
	for _, s := range list {
		s.enter()
	}
}

func leaveAll(list []*state) {
	for _, s := range list {
		s.leave()
	}
}

func (q prefetchRequest) check() error {
	switch {
	case len(q.IDs) == 0:
		return errors.New(`"ids" is required, and must not be empty`)
	case len(q.IDs) > maxPrefetch:
		return fmt.Errorf("ids: more than %d", maxPrefetch)
	}
	return q.checkVariant()
}

func (q prefetchRequest) checkVariant() error {
	switch {
	case q.Type != "" && q.Type != string(resolver.Audio) && q.Type != string(resolver.Video):
		return fmt.Errorf("type: %q is neither audio nor video", abbreviated(q.Type))
	case q.Quality != "" && q.Quality != "low" && q.Quality != "medium" && q.Quality != "high":
		return fmt.Errorf("quality: %q is neither low, medium nor high", abbreviated(q.Quality))
	}
	return nil
}

// warmings are those of one track, in the states of all handlers.
type warmings []*warmth

// begin has a track warmed for each of the handlers.
func (q prefetchRequest) begin(r *http.Request, handlers []*Handler, id string) (prefetchResult, warmings) {
	result := prefetchResult{ID: abbreviated(id)}
	parsed, err := resolver.ParseID(id)
	if err != nil {
		result.Status, result.Error = prefetchInvalid, errInvalidID.message
		return result, nil
	}
	result.VOYOID, result.Status = parsed.VOYO(), prefetchAlready
	asset := resolver.Asset{
		ID: parsed, Kind: resolver.Stream, Type: resolver.ParseType(q.Type), Bitrate: resolver.ParseBitrate(q.Quality),
	}
	var begun warmings
	for _, h := range handlers {
		if h.state.takedowns.has(parsed) {
			result.Status, result.Error = prefetchFailed, errTakenDown.message
			continue
		}
		h.state.prefetches.Add(1)
		what, w, _ := h.warm(r, asset, nil) // no client's lookup: who may ask this may ask for anything
		switch what {
		case warmingRefused:
			result.Status, result.Error = prefetchBusy, "Too many tracks are being prepared"
			continue
		case warmingBegins:
			if result.Status == prefetchAlready {
				result.Status = prefetchWarming
			}
		}
		begun = append(begun, w)
	}
	return result, begun
}

// stream answers with each result as it comes. That the client leaves ends the wait, and
// not what it has waited for.
func stream(w http.ResponseWriter, r *http.Request, results []prefetchResult, begun []warmings) error {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	lines := make(chan prefetchResult)
	for i := range results {
		go func() {
			select {
			case lines <- begun[i].await(ctx, results[i]):
			case <-ctx.Done():
			}
		}()
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set("Cache-Control", "no-store")
	rc := http.NewResponseController(w)
	// Or else Caddy's deadline for reading a request would end this answer, too: net/http
	// takes it for the client's end.
	_ = rc.SetReadDeadline(time.Time{})
	_ = rc.Flush()
	enc := json.NewEncoder(w)
	for range results {
		select {
		case <-ctx.Done():
			return nil
		case line := <-lines:
			if enc.Encode(line) != nil || rc.Flush() != nil {
				return nil // the client has left
			}
		}
	}
	return nil
}

// await waits until it is known what became of a track.
func (ws warmings) await(ctx context.Context, result prefetchResult) prefetchResult {
	for _, w := range ws {
		select {
		case <-w.done:
		case <-ctx.Done():
			return result
		}
		if result.Status == prefetchBusy {
			continue
		}
		if w.err != nil {
			result.Status, result.Error = prefetchFailed, problemOf(resolver.Stream, w.err).message
		} else if result.Status == prefetchWarming {
			result.Status = prefetchDone
		}
	}
	return result
}
