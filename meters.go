package voyo

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/voyo-music/caddy-voyo/cache"
	"github.com/voyo-music/caddy-voyo/resolver"
)

// Why a request could not be answered, as errorsTotal has it.
const (
	errorMissing  = "missing"  // there is no such thing
	errorGone     = "gone"     // its client has left
	errorTimeout  = "timeout"  // an upstream was too slow
	errorBusy     = "busy"     // too many exchanges are under way
	errorLimit    = "limit"    // a rate limit was exceeded
	errorUpstream = "upstream" // an upstream failed
)

var errorReasons = []string{errorMissing, errorGone, errorTimeout, errorBusy, errorLimit, errorUpstream}

// refusals are the problems that have a request refused, in the words of refusedTotal.
// A rate limit goes by its own name.
var refusals = map[problem]string{
	errOrigin:    "origin",
	errInvalidID: "id",
	errSignature: "signature",
	errExpired:   "expired",
	errMethod:    "method",
	errLoop:      "loop",
	errTarget:    "target",
	errTakenDown: "takedown",
	errBehind:    "behind",
	errOlder:     "older",

	{limit: limitRequests}:     limitRequests,
	{limit: limitLookups}:      limitLookups,
	{limit: limitTotalLookups}: limitTotalLookups,
}

// What purgesTotal tells apart.
const (
	purgedByID   = "id"
	purgedByTag  = "tag"
	purgedByPath = "path"
	purgedAll    = "all"
)

var purgedBy = []string{purgedByID, purgedByTag, purgedByPath, purgedAll}

// What diskErrorsTotal tells apart.
const (
	diskErrorFailed  = "failed"  // nothing more is written for now
	diskErrorDamaged = "damaged" // a file is not what it should be
)

// How an answer's beginning came about, as firstByteSeconds has it.
const (
	firstByteHit  = "hit"
	firstByteMiss = "miss"
)

// passedBytes are those that clients were sent past the cache.
var passedBytes atomic.Int64

// countAnswer counts a request that the cache has answered, or could not answer.
func countAnswer(r *http.Request, kind string, status cache.Status, err error) {
	meters[kind].requests[status].Inc()
	if status == cache.Failed {
		errorsTotal.WithLabelValues(kind, errorReason(r, err)).Inc()
	}
	if errors.Is(err, cache.ErrAborted) && r.Context().Err() == nil {
		brokenTotal.WithLabelValues(kind).Inc()
	}
}

func errorReason(r *http.Request, err error) string {
	switch {
	case r.Context().Err() != nil:
		return errorGone
	case errors.Is(err, cache.ErrNotFound):
		return errorMissing
	case errors.Is(err, cache.ErrBusy):
		return errorBusy
	case isA[problem](err):
		return errorLimit
	case isTimeout(err):
		return errorTimeout
	default:
		return errorUpstream
	}
}

// countRefusal counts a request that ends with the problem, if it is a refusal.
func countRefusal(p problem) {
	if p.limit != "" {
		p = problem{limit: p.limit}
	}
	if reason, ok := refusals[p]; ok {
		refusedTotal.WithLabelValues(reason).Inc()
	}
}

// countPurge counts what was purged.
func countPurge(p purgeAnswer) {
	purgesTotal.WithLabelValues(purgedByID).Add(float64(len(p.IDs)))
	purgesTotal.WithLabelValues(purgedByTag).Add(float64(len(p.Tags)))
	purgesTotal.WithLabelValues(purgedByPath).Add(float64(len(p.Paths)))
	if p.All {
		purgesTotal.WithLabelValues(purgedAll).Inc()
	}
}

// observeFirstByte is called when an answer begins, whose request has come at the time
// given.
func observeFirstByte(kind string, came time.Time, status cache.Status) {
	m := meters[kind].firstByteMiss
	if status == cache.Hit || status == cache.Stale {
		m = meters[kind].firstByteHit
	}
	m.Observe(time.Since(came).Seconds())
}

// What came of a lookup, as lookupsTotal has it.
const (
	lookupRemembered = "remembered"
	lookupFound      = "found"
	lookupMissing    = "missing"
	lookupFailed     = "failed"
)

// showSources has the series of the resolvers, of the shields and of the origin begin at zero, so that
// what needs no upstream has something to be compared with.
func (h *Handler) showSources() {
	show := func(kind, source string) {
		upstreamRequestsTotal.WithLabelValues(kind, source)
		upstreamBytesTotal.WithLabelValues(kind, source)
	}
	for _, r := range h.resolvers {
		show(kindStream, r.display)
		show(kindArt, r.display)
		for _, outcome := range []string{lookupRemembered, lookupFound, lookupMissing, lookupFailed} {
			lookupsTotal.WithLabelValues(r.display, outcome)
		}
	}
	if h.shields != nil {
		show(kindStream, shieldSource)
		show(kindArt, shieldSource)
	}
	if h.origin != nil {
		show(kindPage, originSource)
	}
}

// countLookup counts what a resolver was asked.
func countLookup(ctx context.Context, source string, remembered bool, err error) {
	outcome := lookupFound
	switch {
	case remembered:
		outcome = lookupRemembered
	case errors.Is(err, resolver.ErrNotFound):
		outcome = lookupMissing
	case err != nil:
		f, ok := failureIn(ctx, err)
		if !ok {
			return
		}
		outcome = lookupFailed
		lookupFailuresTotal.WithLabelValues(source, f.label()).Inc()
	}
	lookupsTotal.WithLabelValues(source, outcome).Inc()
}

// countFetch counts a request to an upstream, and has what is read of its answer
// counted.
func countFetch(ctx context.Context, kind, source string, resp *http.Response, err error) {
	upstreamRequestsTotal.WithLabelValues(kind, source).Inc()
	switch {
	case err != nil:
		countFailure(ctx, kind, source, err)
	case resp.StatusCode != http.StatusSwitchingProtocols: // or else it is written to as well
		bytes := upstreamBytesTotal.WithLabelValues(kind, source)
		resp.Body = &metered{resp.Body, bytes, func(err error) { countFailure(ctx, kind, source, err) }}
	}
}

// countFailure counts an upstream's failure. That something does not exist is none.
func countFailure(ctx context.Context, kind, source string, err error) {
	if errors.Is(err, resolver.ErrNotFound) {
		return
	}
	if f, ok := failureIn(ctx, err); ok {
		upstreamFailuresTotal.WithLabelValues(kind, source, f.label()).Inc()
	}
}

// failureIn reduces an error to a failure, unless the error is that nobody waits any
// more, which is nobody's fault.
func failureIn(ctx context.Context, err error) (failure, bool) {
	if ctx.Err() != nil {
		if err = context.Cause(ctx); !isTimeout(err) {
			return failure{}, false
		}
	}
	return failureOf(err), true
}

// metered is the body of an upstream's answer.
type metered struct {
	io.ReadCloser

	bytes  prometheus.Counter
	failed func(error)
}

// Read implements io.Reader.
func (m *metered) Read(p []byte) (n int, err error) {
	n, err = m.ReadCloser.Read(p)
	m.bytes.Add(float64(n))
	if err != nil && err != io.EOF && !errors.Is(err, http.ErrBodyReadAfterClose) {
		m.failed(err)
	}
	return n, err
}
