package voyo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/voyo-music/caddy-voyo/cache"
	"github.com/voyo-music/caddy-voyo/internal/byterange"
	"github.com/voyo-music/caddy-voyo/resolver"
)

// explainAnswer says what a GET of a URL would be answered with, if it came to a voyo
// handler with that path.
type explainAnswer struct {
	URL      string        `json:"url"`
	Endpoint string        `json:"endpoint"`
	Asset    *assetNames   `json:"asset,omitempty"`
	Handlers []explanation `json:"handlers"` // one for each handler, in the configuration's order
}

// assetNames say which stream or cover a URL names.
type assetNames struct {
	trackNames
	Kind    string `json:"kind"`
	Type    string `json:"type,omitempty"`
	Bitrate int    `json:"bitrate,omitempty"`
	Image   string `json:"image,omitempty"`
	Quality string `json:"quality"`
}

// explanation is what one handler would do.
type explanation struct {
	Outcome   string             `json:"outcome"`
	Reason    string             `json:"reason"`
	Key       string             `json:"key,omitempty"` // the cache's
	Stored    []storedThing      `json:"stored,omitempty"`
	Shield    *shieldStatus      `json:"shield,omitempty"`    // that would be asked before the resolvers; nil: none
	Resolvers []explainedAnswers `json:"resolvers,omitempty"` // in the order in which they would be asked

	// What is asked for next if no resolver has it.
	Alternatives []string `json:"alternatives,omitempty"`
}

// The outcomes, in the words of Cache-Status where it has some.
const (
	outcomeHit         = "hit"
	outcomePartial     = "partial"
	outcomeStale       = "stale"
	outcomeRevalidated = "revalidate" // it is asked whether what is stored still is good
	outcomeMiss        = "miss"
	outcomePass        = "pass"
	outcomeNegative    = "negative" // it is remembered that there is no such thing
	outcomeRefused     = "refused"
	outcomeHere        = "here" // the edge itself knows the answer
	outcomeNext        = "next" // another handler's matter
	outcomeUnknown     = "unknown"
)

// storedThing is what a cache has of an object. Times are in seconds, and ranges as in
// HTTP: the last byte is included.
type storedThing struct {
	Status               int      `json:"status"`
	Type                 string   `json:"type,omitempty"`
	Vary                 []string `json:"vary,omitempty"`
	Size                 int64    `json:"size"` // -1 if unknown yet
	StoredBytes          int64    `json:"storedBytes"`
	Age                  int64    `json:"age"`
	TTL                  int64    `json:"ttl"` // below zero: stale for so long
	StaleWhileRevalidate int64    `json:"staleWhileRevalidate,omitempty"`
	StaleIfError         int64    `json:"staleIfError,omitempty"`
	Memory               []string `json:"memory"`
	Disk                 []string `json:"disk"`
	Filling              bool     `json:"filling,omitempty"`
}

// explainedAnswers say what is known of a resolver. Of places only the hosts are told:
// the rest may be signed.
type explainedAnswers struct {
	resolverStatus
	Remembered string   `json:"remembered,omitempty"` // found, or not found; empty: it would be asked
	Hosts      []string `json:"hosts,omitempty"`
	TTL        int64    `json:"ttl,omitempty"` // of what is remembered, in seconds
}

// serveExplain answers what a URL would be answered with, and why, without fetching it.
// The parameter origin is that of the page that asks, if one does.
func (a *adminAPI) serveExplain(w http.ResponseWriter, r *http.Request, handlers []*Handler) error {
	query := r.URL.Query()
	u, err := parseAsked(query.Get("url"))
	if err != nil {
		return refusal(http.StatusBadRequest, fmt.Errorf("url: %w", err))
	}
	at, ours := locate(u)
	answer := explainAnswer{URL: u.String(), Endpoint: "page"}
	if ours {
		answer.Endpoint = at.endpoint.String()
		if req, err := at.parse(u, true); err == nil && at.endpoint != endpointHealth {
			answer.Asset = nameAsset(req)
		}
	}
	for _, h := range handlers {
		if ours {
			answer.Handlers = append(answer.Handlers, h.explainOurs(r.Context(), at, u, query.Get("origin")))
		} else {
			answer.Handlers = append(answer.Handlers, h.explainPage(r.Context(), u))
		}
	}
	return adminJSON(w, r, answer)
}

// parseAsked reads a URL, or a path.
func parseAsked(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case s == "":
		return nil, errors.New("it is required")
	case err != nil, u.Opaque != "", u.Host == "" && !strings.HasPrefix(s, "/"):
		return nil, errors.New("not a path or URL")
	case u.Host != "" && u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("not an http or https URL")
	}
	u.User, u.Fragment, u.RawFragment = nil, "", ""
	if u.Path == "" {
		u.Path = "/"
	}
	return u, nil
}

// String returns the endpoint's name.
func (e endpoint) String() string {
	return [...]string{"", "stream", "art", "exists", "locate", "prefetch", "health"}[e]
}

func nameAsset(req request) *assetNames {
	a := req.asset
	return &assetNames{
		trackNames: namesOf(a.ID),
		Kind:       string(a.Kind),
		Type:       string(a.Type),
		Bitrate:    a.Bitrate,
		Image:      a.Image,
		Quality:    req.quality,
	}
}

// explainOurs explains one of VOYO's URLs.
func (h *Handler) explainOurs(ctx context.Context, at *shape, u *url.URL, origin string) explanation {
	asking := make(http.Header)
	if origin != "" {
		asking.Set("Origin", origin)
	}
	listed := h.origins.admit(make(http.Header), asking)
	if h.EnforceOrigins && !listed && at.endpoint != endpointHealth {
		return explanation{Outcome: outcomeRefused, Reason: errOrigin.message}
	}
	req, err := at.parse(u, h.rawIDs)
	if err != nil {
		return explanation{Outcome: outcomeRefused, Reason: errInvalidID.message}
	}
	if at.endpoint != endpointHealth && h.state.takedowns.has(req.asset.ID) {
		return explanation{Outcome: outcomeRefused, Reason: "the track is taken down: " + errTakenDown.message}
	}
	switch at.endpoint {
	case endpointStream:
		return h.explainAsset(ctx, h.state.streams, req.asset)
	case endpointArt:
		return h.explainAsset(ctx, h.state.art, req.asset)
	case endpointExists:
		return explanation{Outcome: outcomeHere, Reason: "the resolvers are asked each time", Resolvers: h.explainResolvers(req.asset)}
	default:
		return explanation{Outcome: outcomeHere, Reason: "it is made for each request"}
	}
}

// explainAsset explains what the cache, or else the resolvers, would do for an asset.
func (h *Handler) explainAsset(ctx context.Context, c *cache.Cache, a resolver.Asset) explanation {
	known := c.Explain(ctx, a.Key())
	e := explanation{Key: a.Key(), Stored: storedThings(known.Stored), Shield: h.explainShield(a), Resolvers: h.explainResolvers(a)}
	for _, other := range a.Alternatives()[1:] {
		e.Alternatives = append(e.Alternatives, other.Key())
	}
	switch known.Remembered {
	case cache.RememberedMissing:
		e.Outcome, e.Reason = outcomeNegative, "no resolver had it a moment ago; asked again in "+seconds(known.RememberedFor)
	case "":
		e.Outcome, e.Reason = judge(known)
	default:
		e.Outcome, e.Reason = outcomePass, "answers are "+string(known.Remembered)+"; tried again in "+seconds(known.RememberedFor)
	}
	return e
}

// explainPage explains a URL that is not VOYO's.
func (h *Handler) explainPage(ctx context.Context, u *url.URL) explanation {
	switch {
	case h.origin == nil:
		return explanation{Outcome: outcomeNext, Reason: "not one of VOYO's paths, and there is no origin: the next handler's"}
	case u.Host == "":
		return explanation{Outcome: outcomeUnknown, Reason: "a page is kept by its whole URL, with scheme and host"}
	}
	known := h.state.pages.Explain(ctx, keyOf(u))
	e := explanation{Key: keyOf(u), Stored: storedThings(known.Stored)}
	switch {
	case len(known.Stored) > 1:
		e.Outcome, e.Reason = outcomeUnknown, "which of the stored answers is used depends on the fields that they vary on"
	case len(known.Stored) == 0 && known.Remembered != "":
		e.Outcome, e.Reason = outcomePass, "the origin's answers are "+string(known.Remembered)
	default:
		e.Outcome, e.Reason = judge(known)
	}
	return e
}

// judge says what becomes of a request for all of an object, of which at most one
// version is stored.
func judge(known cache.Explanation) (outcome, reason string) {
	if len(known.Stored) == 0 {
		if known.Opening {
			return outcomeMiss, "not stored, and is being fetched"
		}
		return outcomeMiss, "not stored"
	}
	s := known.Stored[0]
	stale := -s.TTL
	switch {
	case s.TTL > 0 && union(s.Memory, s.Disk) == s.Size:
		return outcomeHit, "all of it is stored, and fresh for " + seconds(s.TTL)
	case s.TTL > 0:
		return outcomePartial, "a part of it is stored, and fresh for " + seconds(s.TTL) + "; the rest is fetched"
	case stale < s.WhileRevalidate:
		return outcomeStale, "stale for " + seconds(stale) + ", and sent while it is confirmed"
	case stale < s.IfError:
		return outcomeRevalidated, "stale for " + seconds(stale) + ": the upstream is asked, and what is stored is sent if that fails"
	default:
		return outcomeRevalidated, "stale for " + seconds(stale) + ": the upstream is asked first"
	}
}

// seconds formats a duration as clients see it in headers.
func seconds(d time.Duration) string { return d.Truncate(time.Second).String() }

func storedThings(list []cache.Stored) (things []storedThing) {
	for _, s := range list {
		things = append(things, storedThing{
			Status:               s.Status,
			Type:                 s.Type,
			Vary:                 s.Vary,
			Size:                 s.Size,
			StoredBytes:          union(s.Memory, s.Disk),
			Age:                  int64(s.Age / time.Second),
			TTL:                  int64(s.TTL / time.Second),
			StaleWhileRevalidate: int64(s.WhileRevalidate / time.Second),
			StaleIfError:         int64(s.IfError / time.Second),
			Memory:               rangeTexts(s.Memory),
			Disk:                 rangeTexts(s.Disk),
			Filling:              s.Filling,
		})
	}
	return things
}

// union returns how many bytes are in one of the ranges at least.
func union(some, others []byterange.Range) (n int64) {
	all := slices.Concat(some, others)
	slices.SortFunc(all, func(a, b byterange.Range) int { return cmp.Compare(a.Start, b.Start) })
	var end int64
	for _, r := range all {
		start := max(r.Start, end)
		end = max(end, r.End)
		n += end - min(start, end)
	}
	return n
}

func rangeTexts(ranges []byterange.Range) []string {
	texts := make([]string, len(ranges))
	for i, r := range ranges {
		texts[i] = fmt.Sprintf("%d-%d", r.Start, r.End-1)
	}
	return texts
}

// explainShield returns the shield that would be asked, nil if none would be. A policy
// that goes by chance may choose another one when it comes to it.
func (h *Handler) explainShield(a resolver.Asset) *shieldStatus {
	if h.shields == nil {
		return nil
	}
	now := time.Now()
	s := h.shields.first(a.ID, now)
	if s == nil {
		return nil
	}
	status := s.status(now)
	return &status
}

// explainResolvers says of each resolver how it is, and what it is remembered to have
// answered.
func (h *Handler) explainResolvers(a resolver.Asset) (list []explainedAnswers) {
	for i, status := range h.resolverStatus(time.Now()) {
		e := explainedAnswers{resolverStatus: status}
		ans, left, ok := h.state.memo.Peek(h.resolvers[i].name, a, h.memoTTL)
		switch {
		case !ok:
		case ans == nil:
			e.Remembered, e.TTL = "not found", int64(left/time.Second)
		default:
			e.Remembered, e.TTL = "found", int64(left/time.Second)
			for _, t := range ans.Targets {
				if !slices.Contains(e.Hosts, t.URL.Host) {
					e.Hosts = append(e.Hosts, t.URL.Host)
				}
			}
		}
		list = append(list, e)
	}
	return list
}
