// Package voyo is a Caddy HTTP handler that makes any Caddy a CDN edge node for
// VOYO, a music service.
package voyo

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/voyo-music/caddy-voyo/cache"
	"github.com/voyo-music/caddy-voyo/internal/expand"
	"github.com/voyo-music/caddy-voyo/resolver"
)

func init() {
	caddy.RegisterModule(Handler{})
}

const defaultLocationTTL = 4 * time.Hour

// Handler is an edge node for VOYO. It answers VOYO's requests for streams and
// covers: a track's ID is resolved to a place upstream, and what is there goes
// to the client by way of a cache. All other requests go to the origin, or to the
// next handler if there is none.
//
// The caches outlive a change of the configuration, as long as the new one
// would fetch the same things: its resolvers, allowed upstreams and origin are equal.
// Limits that were changed take effect as soon as the old configuration is gone. What
// clients have used up of the rate limits outlives it too, if these are equal.
//
// The placeholders `{env.*}` and `{file.*}` in origins, upstream hosts, the public
// URL, the URLs of the origin and of shields, the directories of disks, the keys of signed
// URLs and the fleet are expanded once, when the configuration is loaded. One that stands for
// nothing is an error.
//
// These placeholders are set for each of VOYO's requests; for those that go to the
// origin it is `{http.voyo.cache}` alone. The templates of
// resolvers and the handlers that come before this one, such as an access log,
// can use them:
//
// Placeholder | Description
// ------------|-------------
// `{http.voyo.id}` | The track's source ID
// `{http.voyo.vyo_id}` | The track's VOYO ID
// `{http.voyo.kind}` | What is asked for: `stream` or `art`
// `{http.voyo.type}` | The medium of a stream: `audio` or `video`
// `{http.voyo.quality}` | The quality, as asked for
// `{http.voyo.bitrate}` | The bitrate of a stream: `64` or `128`
// `{http.voyo.image}` | The name of a cover, such as `hqdefault`
// `{http.voyo.cache}` | After the answer, what the cache did: `hit`, `miss`, `partial`, `stale`, `revalidated`, `pass` or `error`
// `{http.voyo.resolver}` | After the answer, the resolver that knew the place, or `shield`
// `{http.voyo.limit}` | After the answer, the limit that was exceeded, if one was: `requests`, `lookups` or `total_lookups`
type Handler struct {
	// Know where a track can be fetched. They are asked in this order until one
	// has it. At least one is required.
	ResolversRaw []json.RawMessage `json:"resolvers,omitempty" caddy:"namespace=http.voyo.resolvers inline_key=resolver"`

	// How long a resolver's answer is used before it is asked again, if it does
	// not say itself that it expires sooner. Default: `4h`, also if zero.
	LocationTTL caddy.Duration `json:"location_ttl,omitempty"`

	// Lists the origins whose pages may read the answers: exact origins such as
	// `https://voyo.example`, `https://*.voyo.example` for all subdomains, or
	// `*` for every origin. Default: none.
	AllowedOrigins []string `json:"allowed_origins,omitempty"`

	// Refuses requests from other origins with status 403. Default: `false`:
	// they are answered, but a browser keeps the answer from the page.
	EnforceOrigins bool `json:"enforce_origins,omitempty"`

	// Lists the hosts that may be fetched from where an upstream's answer names
	// them, in a URL or a redirect: exact, or `*.suffix`, either with or without
	// a port. A CIDR allows a range of private addresses, which are refused
	// otherwise. Hosts named in the configuration of a resolver, of the shields or
	// of the origin need not be listed. Default: none.
	AllowedUpstreams []string `json:"allowed_upstreams,omitempty"`

	// Accepts source IDs besides VOYO IDs, as older players send them.
	// Default: `true`.
	RawIDs *bool `json:"raw_ids,omitempty"`

	// Configures how covers are cached.
	Art *ArtConfig `json:"art,omitempty"`

	// Configures how streams are cached.
	Stream *StreamConfig `json:"stream,omitempty"`

	// Is asked for everything that is not one of VOYO's paths. Default: none, which
	// leaves that to the next handler.
	Origin *OriginConfig `json:"origin,omitempty"`

	// Is asked before the resolvers: another tier of edges. Default: none.
	Shield *ShieldConfig `json:"shield,omitempty"`

	// Fetches from upstreams. Any transport of the reverse proxy works; only
	// with `http`, over HTTP/1.1 or 2 and without a forward proxy, may hosts be
	// fetched from that are not named in the configuration of a resolver. For
	// `http`, `max_conns_per_host` is `50` unless given (a negative number means
	// no limit), as many connections are kept open when idle, and
	// `response_header_timeout` is `15s` and `max_response_header_size` is 1 MiB
	// unless given. Certificates are always checked. Default: `http`.
	TransportRaw json.RawMessage `json:"transport,omitempty" caddy:"namespace=http.reverse_proxy.transport inline_key=protocol"`

	// Limits what clients may ask for. Default: no limits.
	RateLimit *RateLimitConfig `json:"rate_limit,omitempty"`

	// Is how clients reach this edge, for the URLs in JSON answers: an absolute
	// http or https URL, which may have a path. Default: taken from each
	// request.
	PublicURL string `json:"public_url,omitempty"`

	// Has all URLs that name a track answered only if they are signed with one of its
	// keys, and not over. Default: none, which leaves them open to everybody.
	SignedURLs *SignedURLsConfig `json:"signed_urls,omitempty"`

	// Makes the node one of a fleet, which purges and takes down together. Default: none.
	Fleet *FleetConfig `json:"fleet,omitempty"`

	logger       *zap.Logger
	resolvers    []namedResolver
	memoTTL      time.Duration
	client       http.RoundTripper // checks every host
	places       places
	app          *App
	member       member
	lease        *lease
	state        *state
	origins      originList
	origin       *gateway // may be nil
	shields      *shields // nil: there is no other tier
	artPolicy    cache.Policy
	streamPolicy cache.Policy
	rates        rates
	limiter      *limiter
	publicURL    *url.URL // nil: taken from the request
	linkKeys     linkKeys // nil: nothing need be signed
	rawIDs       bool
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.voyo",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision sets up the handler. The state comes last: whatever fails before
// has nothing to give back, and nothing can fail after.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	if err := registerMetrics(ctx); err != nil {
		return err
	}
	l, err := h.provisionPolicies()
	if err != nil {
		return err
	}
	repl := caddy.NewReplacer()
	if err := h.provisionDisks(repl, l); err != nil {
		return err
	}
	if err := h.provisionOrigins(repl); err != nil {
		return err
	}
	if err := h.provisionPublicURL(repl); err != nil {
		return err
	}
	upstreams, err := expandAll(repl, "allowed_upstreams", h.AllowedUpstreams)
	if err != nil {
		return err
	}
	if err := h.provisionNode(repl); err != nil {
		return err
	}
	identities, err := h.loadResolvers(ctx, repl)
	if err != nil {
		return err
	}
	if err := h.provisionOrigin(ctx, repl); err != nil {
		return err
	}
	if err := h.provisionShields(ctx, repl); err != nil {
		return err
	}
	guard, err := resolver.NewGuard(h.trustedHosts(), upstreams)
	if err != nil {
		return fmt.Errorf("upstreams: %w", err)
	}
	h.client, err = h.loadTransport(ctx, guard)
	if err != nil {
		return err
	}
	for _, r := range h.resolvers {
		if user, ok := r.Resolver.(resolver.TransportUser); ok {
			user.UseTransport(h.client)
		}
	}
	h.showSources()
	h.shields.acquire()
	h.lease = acquireState(stateKey(h.CaddyModule().ID, identities, upstreams, h.origin.String()), l)
	h.state = h.lease.state
	h.limiter = h.lease.limit(h.rates)
	return h.joinApp(ctx)
}

// Validate checks that the settings make sense together.
func (h *Handler) Validate() error {
	if len(h.resolvers) == 0 {
		return errors.New("at least one resolver is required")
	}
	return h.checkEnforcement()
}

func (h *Handler) checkEnforcement() error {
	if h.EnforceOrigins && len(h.AllowedOrigins) == 0 {
		return errors.New("enforce_origins needs allowed_origins: every origin would be refused")
	}
	return nil
}

// Cleanup gives back the state, if Provision got as far as acquiring it.
func (h *Handler) Cleanup() error {
	if h.app != nil {
		h.app.remove(h)
	}
	if h.lease == nil {
		return nil
	}
	err := errors.Join(h.lease.release(), h.shields.release())
	h.lease = nil
	return err
}

func (h *Handler) provisionPolicies() (l limits, err error) {
	if err := checkDuration("location_ttl", &h.LocationTTL); err != nil {
		return limits{}, err
	}
	h.memoTTL = time.Duration(h.LocationTTL)
	if h.memoTTL == 0 {
		h.memoTTL = defaultLocationTTL
	}
	h.rawIDs = h.RawIDs == nil || *h.RawIDs

	var art ArtConfig
	if h.Art != nil {
		art = *h.Art
	}
	if l.art, err = art.limits(); err != nil {
		return limits{}, fmt.Errorf("art: %w", err)
	}
	if h.artPolicy, err = art.cachePolicy(l.art.Memory); err != nil {
		return limits{}, fmt.Errorf("art: %w", err)
	}
	var stream StreamConfig
	if h.Stream != nil {
		stream = *h.Stream
	}
	if l.streams, err = stream.limits(); err != nil {
		return limits{}, fmt.Errorf("stream: %w", err)
	}
	if h.streamPolicy, err = stream.cachePolicy(); err != nil {
		return limits{}, fmt.Errorf("stream: %w", err)
	}
	l.pages = cache.Limits{Memory: pagesMemory}
	if h.rates, err = h.RateLimit.rates(); err != nil {
		return limits{}, fmt.Errorf("rate_limit: %w", err)
	}
	return l, nil
}

// provisionNode finds out what the node has in common with others.
func (h *Handler) provisionNode(repl *caddy.Replacer) (err error) {
	if h.linkKeys, err = h.SignedURLs.keys(repl); err != nil {
		return fmt.Errorf("signed_urls: %w", err)
	}
	if h.member, err = h.Fleet.member(repl); err != nil {
		return fmt.Errorf("fleet: %w", err)
	}
	return nil
}

func (h *Handler) provisionOrigins(repl *caddy.Replacer) error {
	origins, err := expandAll(repl, "allowed_origins", h.AllowedOrigins)
	if err != nil {
		return err
	}
	h.origins, err = parseOrigins(origins)
	if err != nil {
		return fmt.Errorf("allowed_origins: %w", err)
	}
	return nil
}

func (h *Handler) provisionPublicURL(repl *caddy.Replacer) error {
	if h.PublicURL == "" {
		return nil
	}
	public, err := expand.Value(repl, "public_url", h.PublicURL)
	if err != nil {
		return err
	}
	h.publicURL, err = parseBaseURL("public_url", public)
	return err
}

// trustedHosts lists the hosts that the configuration of the resolvers, of the shields
// and of the origin names.
func (h *Handler) trustedHosts() []string {
	var hosts []string
	for _, r := range h.resolvers {
		if l, ok := r.Resolver.(resolver.HostLister); ok {
			hosts = append(hosts, l.Hosts()...)
		}
	}
	if h.shields != nil {
		for _, s := range h.shields.list {
			hosts = append(hosts, s.hostPort())
		}
	}
	if h.origin != nil {
		hosts = append(hosts, h.origin.hostPort())
	}
	return hosts
}

// parseBaseURL parses the URL of an edge, which paths are added to. It does not repeat
// the URL in its errors, as it may have a password in it.
func parseBaseURL(field, s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return nil, errors.New(field + " must be an absolute http or https URL")
	case u.User != nil, u.RawQuery != "" || u.ForceQuery, u.Fragment != "":
		return nil, errors.New(field + " must not have a user, a query or a fragment")
	}
	return u, nil
}

// expandAll expands the placeholders in each of the values.
func expandAll(repl *caddy.Replacer, field string, values []string) ([]string, error) {
	expanded := make([]string, len(values))
	for i, v := range values {
		var err error
		if expanded[i], err = expand.Value(repl, field, v); err != nil {
			return nil, err
		}
	}
	return expanded, nil
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.Validator             = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ caddyfile.Unmarshaler       = (*Handler)(nil)
)
