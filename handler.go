package voyo

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/voyo-music/caddy-voyo/cache"
	"github.com/voyo-music/caddy-voyo/resolver"
)

// statusClientGone is what logs show of a request whose client did not wait for
// the answer. Nobody receives it; nginx and Caddy's reverse proxy use it too.
const statusClientGone = 499

// answered is a request, and what has come of it, for placeholders.
type answered struct {
	request
	status cache.Status
	source string // the resolver that had it; empty if none was needed
}

// ServeHTTP answers VOYO's requests and leaves all others to the origin, or to the
// next handler if there is none.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	at, ours := locate(r.URL)
	switch {
	case !ours && h.origin == nil:
		return next.ServeHTTP(w, r)
	case !ours:
		return h.serveOrigin(w, r)
	}
	setCommonHeader(w.Header())
	listed := h.origins.admit(w.Header(), r.Header)
	// Health is for operators and their probes, whatever page they look at it from.
	if h.EnforceOrigins && !listed && at.endpoint != endpointHealth {
		return answerError(w, r, errOrigin)
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
	case http.MethodOptions:
		answerPreflight(w)
		return nil
	default:
		w.Header().Set("Allow", allowedMethods)
		return answerError(w, r, errMethod)
	}
	if isLoop(r.Header) {
		w.Header().Set("Cdn-Loop", loopEntry) // tells whoever has sent it that it has met itself, and nobody anything new
		return answerError(w, r, errLoop)
	}
	var req answered
	var err error
	if req.request, err = at.parse(r.URL, h.rawIDs); err != nil {
		return answerError(w, r, errInvalidID)
	}
	setPlaceholders(r, &req)
	h.awaitDisks(r.Context())
	signed, err := h.check(r, at, &req.request)
	switch {
	case err == nil:
	case r.Context().Err() != nil:
		return clientGone(r)
	default:
		if errors.Is(err, errTakenDown) {
			w.Header().Set("Cache-Status", cache.Name+"; detail=takedown") // by which other edges know that one says so
		}
		return answerError(w, r, problemOf(req.asset.Kind, err))
	}
	h.state.enter()
	defer h.state.leave()
	return h.answer(w, r, &req, signed)
}

// check reports whether a request may be answered, and returns the link that it has come
// by, nil if it need not be one. An error is a problem.
func (h *Handler) check(r *http.Request, at *shape, req *request) (*link, error) {
	if req.endpoint != endpointHealth { // which tells how it is with the fleet
		if h.unjoined() || h.state.awaitFleet(r.Context()) != nil {
			return nil, errBehind
		}
		if h.state.takedowns.has(req.asset.ID) {
			return nil, errTakenDown
		}
	}
	return h.checkAsker(r, at, req)
}

// checkAsker is check for who asks, and not for what he asks for.
func (h *Handler) checkAsker(r *http.Request, at *shape, req *request) (*link, error) {
	signed, err := h.checkLink(r, at, req)
	if err != nil {
		return nil, err
	}
	if err := h.admit(r, req); err != nil {
		return nil, err
	}
	// Last, as it may take a while, and anybody can say that he is an edge.
	if req.endpoint != endpointHealth && !h.state.following.Load().admits(r) {
		return nil, errOlder
	}
	return signed, nil
}

// answer leads a request to its endpoint. signed is the link that it came by, nil if it
// need not be one.
func (h *Handler) answer(w http.ResponseWriter, r *http.Request, req *answered, signed *link) error {
	switch req.endpoint {
	case endpointStream:
		return h.serveStream(w, r, req, signed)
	case endpointArt:
		return h.serveArt(w, r, req, signed)
	case endpointExists:
		return h.serveExists(w, r, &req.request)
	case endpointLocate:
		return h.serveLocation(w, r, &req.request, signed)
	case endpointPrefetch:
		return h.servePrefetch(w, r, &req.request)
	default:
		return h.serveHealth(w, r)
	}
}

// serveStream answers with the bytes of a track.
func (h *Handler) serveStream(w http.ResponseWriter, r *http.Request, req *answered, signed *link) error {
	// deferred, because an aborted stream ends in a panic
	h.state.activeStreams.Add(1)
	defer h.state.activeStreams.Add(-1)
	defer widenWrites(r.Context())()

	up := h.upstream(r, req.asset)
	status, err := h.state.streams.Serve(w, r, up.request(h.permit(r), signed))
	return h.conclude(w, r, req, up, status, err)
}

// serveArt answers with the bytes of a cover.
func (h *Handler) serveArt(w http.ResponseWriter, r *http.Request, req *answered, signed *link) error {
	up := h.upstream(r, req.asset)
	status, err := h.state.art.Serve(w, r, up.request(h.permit(r), signed))
	return h.conclude(w, r, req, up, status, err)
}

// conclude ends a request for an asset.
func (h *Handler) conclude(w http.ResponseWriter, r *http.Request, req *answered, up *upstream, status cache.Status, err error) error {
	req.status, req.source = status, up.answeredBy()
	return h.end(r, string(req.asset.Kind), status, err, func() error {
		if !isHit(w.Header()) {
			up.setTiers(w.Header())
		}
		return answerError(w, r, problemOf(req.asset.Kind, err))
	})
}

// end ends a request that the cache has answered. If it could not, and the client
// still is there, tell says so.
func (h *Handler) end(r *http.Request, kind string, status cache.Status, err error, tell func() error) error {
	countAnswer(r, kind, status, err)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, cache.ErrAborted):
		// The header is out: only a broken connection tells the client that the
		// body is not whole.
		panic(http.ErrAbortHandler)
	case r.Context().Err() != nil:
		return clientGone(r)
	default:
		h.reportPanic(err)
		return tell()
	}
}

// clientGone is returned when the client left before anything was sent.
func clientGone(r *http.Request) error {
	return caddyhttp.Error(statusClientGone, r.Context().Err())
}

// setPlaceholders tells access logs and other handlers what was asked for.
func setPlaceholders(r *http.Request, req *answered) {
	if req.endpoint == endpointHealth {
		return
	}
	r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer).Map(req.placeholder)
}

// placeholder returns what a placeholder stands for, when somebody asks.
func (r *answered) placeholder(key string) (any, bool) {
	name, ours := strings.CutPrefix(key, "http.voyo.")
	if !ours {
		return nil, false
	}
	stream := r.asset.Kind == resolver.Stream
	switch name {
	case "id":
		return r.asset.ID.String(), true
	case "vyo_id":
		return r.asset.ID.VOYO(), true
	case "kind":
		return string(r.asset.Kind), true
	case "quality":
		return r.quality, true
	case "cache":
		return string(r.status), r.status != ""
	case "resolver":
		return r.source, r.source != ""
	case "image":
		return r.asset.Image, !stream
	case "type":
		return string(r.asset.Type), stream
	case "bitrate":
		return strconv.Itoa(r.asset.Bitrate), stream
	default:
		return nil, false
	}
}
