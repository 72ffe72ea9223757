package voyo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/voyo-music/caddy-voyo/cache"
	"github.com/voyo-music/caddy-voyo/internal/expand"
)

const (
	// pagesMemory is how many bytes of the origin's answers are kept.
	pagesMemory = 64 << 20

	// maxPage is how large, in bytes, an answer may be to be kept: one must not push
	// out all others.
	maxPage = pagesMemory / 4
)

// OriginConfig configures where requests go whose paths are not VOYO's. It is asked
// as by any reverse proxy, and its answers to GET and HEAD are kept in memory, up to
// 64 MiB, as HTTP's rules for shared caches (RFC 9111) allow.
//
// How its pages may be used is the origin's own matter: `allowed_origins` and
// `enforce_origins` do not apply to them. It is told in X-Forwarded-For, -Host and
// -Proto who asked and for what; what clients say of that is passed on only from
// those that Caddy trusts (`trusted_proxies`).
//
// Upgraded connections, as WebSockets are, end when the configuration is replaced.
// They and event streams count for the transport's `max_conns_per_host` while they last.
//
// Of the settings below, some have other defaults here: `ttl` is a tenth of the time
// since the answer was last modified, `negative_ttl` is `0`, `max_object` is 16 MiB
// and may be 64 MiB at most, and without `max_age` clients are sent the origin's own
// Cache-Control.
type OriginConfig struct {
	// Is where the origin is: an http or https URL without a path. Placeholders
	// are expanded. Required.
	URL string `json:"url,omitempty"`

	Policy
}

// gateway is the origin as the configuration has it.
type gateway struct {
	url    *url.URL // scheme and host, and nothing else
	policy cache.Policy
	ended  context.Context // when the configuration is
}

// provisionOrigin sets up the origin, if there is one.
func (h *Handler) provisionOrigin(ctx caddy.Context, repl *caddy.Replacer) error {
	if h.Origin == nil {
		return nil
	}
	policy, err := h.Origin.cachePolicy()
	if err != nil {
		return fmt.Errorf("origin: %w", err)
	}
	u, err := h.Origin.url(repl)
	if err != nil {
		return fmt.Errorf("origin: %w", err)
	}
	h.origin = &gateway{url: u, policy: policy, ended: ctx.Context}
	return nil
}

func (o OriginConfig) url(repl *caddy.Replacer) (*url.URL, error) {
	raw, err := expand.Value(repl, "url", o.URL)
	if err != nil {
		return nil, err
	}
	return parseOriginURL(raw)
}

// cachePolicy returns the policy for the origin's answers.
func (o OriginConfig) cachePolicy() (cache.Policy, error) {
	p, err := o.Policy.cachePolicy(0)
	switch {
	case err != nil:
		return cache.Policy{}, err
	case p.MaxObject > pagesMemory:
		return cache.Policy{}, fmt.Errorf("max_object (%d bytes) exceeds the memory for pages (%d bytes)", p.MaxObject, pagesMemory)
	case p.MaxObject == 0:
		p.MaxObject = maxPage
	}
	p.Gateway = true
	p.NegativeTTL = durationOr(o.NegativeTTL, 0)
	p.MaxAge = durationOr(o.MaxAge, -1)
	return p, nil
}

// parseOriginURL does not repeat the URL in its errors, as it may have a password
// in it.
func parseOriginURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case s == "":
		return nil, errors.New("url is required")
	case err != nil, u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "":
		return nil, errors.New("url must be an absolute http or https URL")
	case u.User != nil, u.Path != "" && u.Path != "/", u.RawQuery != "" || u.ForceQuery, u.Fragment != "":
		return nil, errors.New("url must not have a user, a path, a query or a fragment")
	}
	return &url.URL{Scheme: u.Scheme, Host: normalHost(u.Scheme, u.Host)}, nil
}

// String returns the origin's URL, empty if there is no origin.
func (g *gateway) String() string {
	if g == nil {
		return ""
	}
	return g.url.String()
}

// hostPort is how the guard knows the origin.
func (g *gateway) hostPort() string { return hostPort(g.url) }

// serveOrigin answers with what the origin has to say.
func (h *Handler) serveOrigin(w http.ResponseWriter, r *http.Request) error {
	switch {
	case !hasTarget(r):
		countRefusal(errTarget)
		return caddyhttp.Error(errTarget.status, errTarget)
	case isLoop(r.Header):
		countRefusal(errLoop)
		return caddyhttp.Error(errLoop.status, errLoop)
	}
	h.state.enter()
	defer h.state.leave()
	// Via says who we are, and the origin may have a Server of its own
	w.Header().Del("Server")
	f := newForwarding(r, h.origin.url)
	if f.cacheable && h.state.awaitFleet(r.Context()) == nil {
		return h.servePage(w, r, f)
	}
	setCacheStatus(r, cache.Pass)
	countAnswer(r, kindPage, cache.Pass, nil)
	return h.pass(w, r, f)
}

// servePage answers by way of the cache.
func (h *Handler) servePage(w http.ResponseWriter, r *http.Request, f *forwarding) error {
	// What others made may have the origin refuse the request, and here its answer may
	// be for many: see cdnLoop.
	f.header.Set("Cdn-Loop", cdnLoop(r.Header))
	came := time.Now()
	status, err := h.state.pages.Serve(w, r, cache.Request{
		Key:    f.key(),
		Policy: &h.origin.policy,
		Header: f.header,
		Fetch:  h.fetchPage(f, http.MethodGet),
		Head:   h.fetchPage(f, http.MethodHead),

		Annotate: func(status cache.Status, _ http.Header) { observeFirstByte(kindPage, came, status) },
	})
	setCacheStatus(r, status)
	return h.end(r, kindPage, status, err, func() error { return pageError(err) })
}

// setCacheStatus tells access logs what the cache did for a page.
func setCacheStatus(r *http.Request, status cache.Status) {
	r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer).Set("http.voyo.cache", string(status))
}

// fetchPage returns the cache's Fetch for the method. It may run after the client's
// request has ended.
func (h *Handler) fetchPage(f *forwarding, method string) cache.Fetch {
	return func(ctx context.Context, header http.Header) (*http.Response, error) {
		target := f.url
		out := &http.Request{Method: method, URL: &target, Host: target.Host, Header: f.fetchHeader(header)}
		resp, err := h.client.RoundTrip(out.WithContext(ctx))
		if err == nil && resp.StatusCode < http.StatusOK {
			resp.Body.Close()
			err = errBadAnswer // nobody has asked for another protocol, and net/http sends no status below 100
		}
		countFetch(ctx, kindPage, originSource, resp, err)
		if err != nil {
			if ctx.Err() != nil {
				if err = context.Cause(ctx); !isTimeout(err) {
					return nil, err // nobody waits any more, which is nobody's fault
				}
			}
			return nil, h.originFailed(method, err)
		}
		cache.RemoveHopByHop(resp.Header)
		addVia(resp.Header, resp.ProtoMajor, resp.ProtoMinor)
		resp.Request = nil // it holds what no client may see
		return resp, nil
	}
}

// originFailed logs that the origin could not be used, and returns why.
func (h *Handler) originFailed(method string, err error) failure {
	f := failureOf(err)
	h.logger.Warn("could not fetch from origin", zap.String("method", method), zap.Stringer("reason", f))
	return f
}

// pageError is what the client is told when the origin can't be asked. Unlike VOYO's
// own endpoints, pages have no form for errors: Caddy answers, as it does for any
// reverse proxy.
func pageError(err error) error {
	p := errPage
	if isTimeout(err) {
		p = errSlowPage
	}
	return caddyhttp.Error(p.status, p)
}
