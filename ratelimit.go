package voyo

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// RateLimitConfig limits what clients may ask for. At least one limit is required.
//
// A client is known by its IP address as Caddy knows it, `trusted_proxies` included;
// IPv6 addresses count by their first 64 bits, since whoever has one of them has all.
type RateLimitConfig struct {
	// How many requests for VOYO's paths each client may make, `/health` and CORS
	// preflights not counted. Default: no limit.
	Requests *Rate `json:"requests,omitempty"`

	// How many of a client's requests may have an upstream asked for something of
	// which nothing is cached, or nothing that is fresh. What the cache has is free, and
	// so is what another client waits for already. Default: no limit.
	Lookups *Rate `json:"lookups,omitempty"`

	// How many requests of all clients together may do so. Default: no limit.
	TotalLookups *Rate `json:"total_lookups,omitempty"`
}

// Rate is how often something may happen.
type Rate struct {
	// How often it may happen at once, and how often more in each window after that.
	// Required.
	Count int `json:"count,omitempty"`

	// The time in which that many more are granted, one after the other, at equal
	// intervals. Required.
	Window caddy.Duration `json:"window,omitempty"`
}

// rates are the limits of a configuration. Those that are zero are off.
type rates struct {
	requests, lookups, totalLookups Rate
}

// rates returns the limits; there may be no configuration.
func (c *RateLimitConfig) rates() (r rates, err error) {
	switch {
	case c == nil:
		return rates{}, nil
	case *c == RateLimitConfig{}:
		return rates{}, errors.New("requests, lookups or total_lookups is required")
	}
	for _, limit := range []struct {
		name string
		from *Rate
		to   *Rate
	}{
		{limitRequests, c.Requests, &r.requests},
		{limitLookups, c.Lookups, &r.lookups},
		{limitTotalLookups, c.TotalLookups, &r.totalLookups},
	} {
		switch {
		case limit.from == nil:
			continue
		case limit.from.Count <= 0:
			return rates{}, fmt.Errorf("%s: count must be positive: %d", limit.name, limit.from.Count)
		case limit.from.Window <= 0:
			return rates{}, fmt.Errorf("%s: window must be positive: %s", limit.name, time.Duration(limit.from.Window))
		}
		*limit.to = *limit.from
	}
	return r, nil
}

// admit counts a request, and refuses it if its client is over the limit. Health is
// for load balancers, whatever else comes from where they are.
func (h *Handler) admit(r *http.Request, req *request) error {
	if req.endpoint == endpointHealth || !h.limiter.knowsClients() {
		return nil
	}
	return h.limiter.admit(clientOf(r))
}

// permit returns what is to be asked before an upstream is, on behalf of a request; nil
// if that is not limited. It may outlive the request, and holds nothing of it but the
// client's address.
func (h *Handler) permit(r *http.Request) func() error {
	l := h.limiter
	if !l.limitsLookups() {
		return nil
	}
	client := clientOf(r)
	return func() error { return l.permit(client) }
}

// clientOf returns what a client is known by. Those that have no address can't be told
// apart.
func clientOf(r *http.Request) netip.Addr {
	addr := addressOf(r)
	if addr.Is6() {
		network, _ := addr.Prefix(64) // which every such address has
		addr = network.Addr()
	}
	return addr
}

// addressOf returns the address of a client, as Caddy knows it. On a Unix socket it has
// none.
func addressOf(r *http.Request) netip.Addr {
	ip, _ := caddyhttp.GetVar(r.Context(), caddyhttp.ClientIPVarKey).(string)
	addr, err := netip.ParseAddr(ip)
	if err != nil {
		return netip.Addr{}
	}
	return addr.Unmap().WithZone("")
}
