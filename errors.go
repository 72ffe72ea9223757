package voyo

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strconv"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/voyo-music/caddy-voyo/cache"
	"github.com/voyo-music/caddy-voyo/resolver"
)

// problem is an error as clients see it. Its message names VOYO, and never what
// is behind it.
type problem struct {
	status  int
	message string

	limit      string // that was exceeded; empty for all other problems
	retryAfter int    // in seconds, how long that lasts
}

// Error returns the message, which is the placeholder {http.error.message}.
func (p problem) Error() string { return p.message }

// Is lets what was taken down be known as something that does not exist, which is
// remembered likewise.
func (p problem) Is(target error) bool { return target == cache.ErrNotFound && p.message == takenDown }

// takenDown is the message of what must not be given out (RFC 7725).
const takenDown = "Content not available for legal reasons"

// The problems that clients are told of.
var (
	errInvalidID = problem{status: http.StatusBadRequest, message: "Invalid VOYO track ID"}
	errOrigin    = problem{status: http.StatusForbidden, message: "Origin not allowed"}
	errSignature = problem{status: http.StatusForbidden, message: "Invalid signature"}
	errExpired   = problem{status: http.StatusGone, message: "Link expired"}
	errMethod    = problem{status: http.StatusMethodNotAllowed, message: "Method not allowed"}
	errLoop      = problem{status: http.StatusLoopDetected, message: "VOYO edge loop detected"}
	errNoTrack   = problem{status: http.StatusNotFound, message: "Content not found in VOYO library"}
	errNoArt     = problem{status: http.StatusNotFound, message: "Album art temporarily unavailable"}
	errArt       = problem{status: http.StatusBadGateway, message: "Album art temporarily unavailable"}
	errStream    = problem{status: http.StatusBadGateway, message: "VOYO stream temporarily unavailable"}
	errSlow      = problem{status: http.StatusGatewayTimeout, message: "VOYO stream temporarily unavailable"}
	errPage      = problem{status: http.StatusBadGateway, message: "VOYO page temporarily unavailable"}
	errSlowPage  = problem{status: http.StatusGatewayTimeout, message: "VOYO page temporarily unavailable"}
	errTarget    = problem{status: http.StatusBadRequest, message: "Request target is not a URL"}
	errUpload    = problem{status: http.StatusBadRequest, message: "Request body could not be read"}
	errTakenDown = problem{status: http.StatusUnavailableForLegalReasons, message: takenDown}
	errOlder     = problem{status: http.StatusPreconditionFailed, message: "VOYO edge is not as far as the one that asks it"}
	errBehind    = problem{status: http.StatusServiceUnavailable, message: "VOYO edge is not up to date"}
	errTunnel    = problem{status: http.StatusNotImplemented, message: "VOYO edges do not tunnel"}
)

// problemOf returns what the client is told when an asset can't be had.
func problemOf(kind resolver.Kind, err error) problem {
	if p, ok := errors.AsType[problem](err); ok {
		return p
	}
	missing := errors.Is(err, cache.ErrNotFound)
	switch {
	case kind == resolver.Art && missing:
		return errNoArt
	case kind == resolver.Art:
		return errArt
	case missing:
		return errNoTrack
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, cache.ErrStalled):
		return errSlow
	default:
		return errStream
	}
}

// contentFields describe a body, which is not coming where there is an error.
var contentFields = []string{
	"Accept-Ranges", "Content-Encoding", "Content-Length", "Content-Range", "Content-Type", "Etag", "Last-Modified",
}

// answerError answers with an error: as the server's handle_errors has it, or,
// where that has nothing to say about this error, with a JSON object.
//
// The error can't just be returned for Caddy to handle, because Caddy ends every
// chain of error routes with an empty answer, also if there are none, and no
// handler can put something in its place. So the error routes are run here, as
// Caddy's server would, with another end. Where they fail themselves, that is
// logged, and the answer is the status.
func answerError(w http.ResponseWriter, r *http.Request, p problem) error {
	countRefusal(p)
	for _, name := range contentFields {
		w.Header().Del(name)
	}
	w.Header().Set("Cache-Control", "no-store")
	if p.limit != "" {
		p.announceLimit(w, r)
	}

	srv, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	inErrorRoute := r.Context().Value(caddyhttp.ErrorCtxKey) != nil // or else it would lead here again, for ever
	if inErrorRoute || srv == nil || srv.Errors == nil || len(srv.Errors.Routes) == 0 {
		return answerProblem(w, r, p)
	}
	err := caddyhttp.Error(p.status, p)
	restoreRequest(r)
	fallback := caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		return answerProblem(w, r, p)
	})
	chain := errorChain(srv.Errors.Routes, fallback)
	if routeErr := chain.ServeHTTP(w, srv.Errors.WithError(r, err)); routeErr != nil {
		caddy.Log().Named("http.handlers.voyo").Error("error route failed", zap.Int("status", p.status), zap.Error(routeErr))
		w.WriteHeader(p.status) // which counts only if they have written nothing
	}
	return nil
}

// announceLimit says that a limit was exceeded, to logs as well. No upstream was asked, so
// there is nothing for Cache-Status to say (RFC 9211, section 2).
func (p problem) announceLimit(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Retry-After", strconv.Itoa(p.retryAfter))
	w.Header().Del("Cache-Status")
	repl := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	repl.Set("http.voyo.limit", p.limit)
}

// answerProblem answers with the JSON object.
func answerProblem(w http.ResponseWriter, r *http.Request, p problem) error {
	return answerJSON(w, r, p.status, struct {
		Error      string `json:"error"`
		Reason     string `json:"reason,omitempty"`
		RetryAfter int    `json:"retryAfter,omitempty"`
	}{p.message, p.limit, p.retryAfter})
}

// errorChain compiles error routes like caddyhttp.RouteList.Compile, except that
// fallback has the last word in terminal routes too. Each site's handle_errors is
// such a route, matched by the site's host; within it may be no route for the
// error at hand, as in "handle_errors 404 { ... }".
func errorChain(routes caddyhttp.RouteList, fallback caddyhttp.Handler) caddyhttp.Handler {
	chain := fallback
	for _, route := range slices.Backward(routes) {
		if !route.Terminal || route.Group != "" {
			chain = route.Compile(chain)
			continue
		}
		chain = terminalRoute(route, fallback, chain)
	}
	return chain
}

// terminalRoute runs a route, which goes on to fallback, if the request matches
// it, and next if it does not.
func terminalRoute(route caddyhttp.Route, fallback, next caddyhttp.Handler) caddyhttp.Handler {
	matchers := route.MatcherSets
	route.MatcherSets, route.Terminal = nil, false
	matched := route.Compile(fallback)
	return caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
		ok, err := matchers.AnyMatchWithError(r)
		if err != nil {
			return err
		}
		if !ok {
			return next.ServeHTTP(w, r)
		}
		return matched.ServeHTTP(w, r)
	})
}

// restoreRequest undoes rewrites, as Caddy does before it runs error routes:
// those are written for the URLs that clients use.
func restoreRequest(r *http.Request) {
	orig, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if !ok {
		return
	}
	r.Method, r.RemoteAddr, r.RequestURI = orig.Method, orig.RemoteAddr, orig.RequestURI
	*r.URL = *orig.URL
}
