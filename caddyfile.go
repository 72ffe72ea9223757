package voyo

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/voyo-music/caddy-voyo/internal/expand"
	"github.com/voyo-music/caddy-voyo/resolver"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("voyo", parseCaddyfile)
	httpcaddyfile.RegisterDirectiveOrder("voyo", httpcaddyfile.Before, "reverse_proxy")
}

func parseCaddyfile(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	v := new(Handler)
	if err := v.UnmarshalCaddyfile(h.Dispenser); err != nil {
		return nil, err
	}
	return v, nil
}

// UnmarshalCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	voyo [<matcher>] {
//	    resolver <name> [<args...>] {
//	        ...
//	    }
//	    location_ttl      <duration>
//	    allowed_origins   <origins...>
//	    enforce_origins
//	    allowed_upstreams <hosts...>
//	    raw_ids           on|off
//	    art {
//	        entries                <count>
//	        memory                 <size>
//	        disk                   <dir> <size>
//	        ttl                    <duration>
//	        override_ttl           <duration>
//	        negative_ttl           <duration>
//	        stale_while_revalidate <duration>
//	        stale_if_error         <duration>
//	        max_age                <duration>
//	        max_object             <size>
//	    }
//	    stream {
//	        memory                 <size>
//	        disk                   <dir> <size>
//	        slice                  <size>
//	        read_ahead             <count>
//	        ttl                    <duration>
//	        override_ttl           <duration>
//	        negative_ttl           <duration>
//	        stale_while_revalidate <duration>
//	        stale_if_error         <duration>
//	        max_age                <duration>
//	        max_object             <size>
//	    }
//	    origin <url> {
//	        ttl                    <duration>
//	        override_ttl           <duration>
//	        negative_ttl           <duration>
//	        stale_while_revalidate <duration>
//	        stale_if_error         <duration>
//	        max_age                <duration>
//	        max_object             <size>
//	    }
//	    rate_limit {
//	        requests      <count> <window>
//	        lookups       <count> <window>
//	        total_lookups <count> <window>
//	    }
//	    transport <name> {
//	        ...
//	    }
//	    public_url <url>
//	    signed_urls {
//	        key <placeholder>
//	    }
//	    shield <urls...> {
//	        policy <name> [<args...>]
//	    }
//	    fleet nats <urls...> {
//	        credentials <file>
//	        node        <name>
//	    }
//	}
//
// At least one resolver is required, and they are asked in the given order. Of several
// keys the first one signs. No other subdirective may be repeated. Placeholders are kept as they are:
// Provision expands them.
func (h *Handler) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume directive name
	if d.NextArg() {
		return d.ArgErr()
	}
	err := parseBlock(d, "", block{
		"resolver":          h.parseResolver,
		"location_ttl":      readPositive(&h.LocationTTL),
		"allowed_origins":   checked(readList(&h.AllowedOrigins), h.checkOrigins),
		"enforce_origins":   readFlag(&h.EnforceOrigins),
		"allowed_upstreams": checked(readList(&h.AllowedUpstreams), h.checkUpstreams),
		"raw_ids":           readSwitch(&h.RawIDs),
		"art":               checked(h.parseArt, h.checkCaches),
		"stream":            checked(h.parseStream, h.checkCaches),
		"origin":            checked(h.parseOrigin, h.checkOrigin),
		"rate_limit":        h.parseRateLimit,
		"transport":         h.parseTransport,
		"public_url":        checked(readText(&h.PublicURL), h.checkPublicURL),
		"signed_urls":       h.parseSignedURLs,
		"shield":            checked(h.parseShield, h.checkShields),
		"fleet":             checked(h.parseFleet, h.checkFleet),
	})
	if err != nil {
		return err
	}
	if len(h.ResolversRaw) == 0 {
		return d.Err("voyo needs at least one resolver")
	}
	if err := h.checkEnforcement(); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

func (h *Handler) parseResolver(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	const namespace = "http.voyo.resolvers"
	if _, err := caddy.GetModule(namespace + "." + d.Val()); err != nil {
		return d.Errf("unknown resolver '%s'", d.Val())
	}
	raw, err := parseGuest[resolver.Resolver](d, namespace, "resolver", "resolver")
	h.ResolversRaw = append(h.ResolversRaw, raw)
	return err
}

// parseGuest reads a module of the namespace, by whose name the dispenser is. It must be a
// T, which errors call what it is. Its name becomes the value of key.
func parseGuest[T any](d *caddyfile.Dispenser, namespace, key, what string) (json.RawMessage, error) {
	name := d.Val()
	mod, err := caddyfile.UnmarshalModule(d, namespace+"."+name)
	if err != nil {
		return nil, err
	}
	if _, ok := mod.(T); !ok {
		return nil, d.Errf("%s (%T) is not a %s", name, mod, what)
	}
	return caddyconfig.JSONModuleObject(mod, key, name, nil), nil
}

func (h *Handler) parseTransport(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	// this one ignores arguments, and with them the block that follows
	if d.Val() == "http" && d.CountRemainingArgs() > 0 {
		return d.ArgErr()
	}
	var err error
	h.TransportRaw, err = parseGuest[http.RoundTripper](d, "http.reverse_proxy.transport", "protocol", "transport")
	return err
}

func (h *Handler) parseArt(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	h.Art = new(ArtConfig)
	b := policyBlock(&h.Art.Policy)
	b["entries"] = readCount(&h.Art.Entries)
	b["memory"] = readSize(&h.Art.Memory)
	b["disk"] = readDisk(&h.Art.Disk)
	return parseBlock(d, "art", b)
}

func (h *Handler) parseStream(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	h.Stream = new(StreamConfig)
	b := policyBlock(&h.Stream.Policy)
	b["memory"] = readSize(&h.Stream.Memory)
	b["disk"] = readDisk(&h.Stream.Disk)
	b["slice"] = readSize(&h.Stream.Slice)
	b["read_ahead"] = readNatural(&h.Stream.ReadAhead)
	return parseBlock(d, "stream", b)
}

func (h *Handler) parseOrigin(d *caddyfile.Dispenser) (err error) {
	h.Origin = new(OriginConfig)
	if h.Origin.URL, err = argument(d); err != nil {
		return err
	}
	return parseBlock(d, "origin", policyBlock(&h.Origin.Policy))
}

func (h *Handler) parseRateLimit(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	h.RateLimit = new(RateLimitConfig)
	err := parseBlock(d, "rate_limit", block{
		limitRequests:     readRate(&h.RateLimit.Requests),
		limitLookups:      readRate(&h.RateLimit.Lookups),
		limitTotalLookups: readRate(&h.RateLimit.TotalLookups),
	})
	if err == nil && *h.RateLimit == (RateLimitConfig{}) {
		err = d.Err("rate_limit needs requests, lookups or total_lookups")
	}
	return err
}

func (h *Handler) parseSignedURLs(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return d.ArgErr()
	}
	h.SignedURLs = new(SignedURLsConfig)
	key := checked(readMore(&h.SignedURLs.Keys), func() error {
		return expand.CheckSecret("signed_urls: key", h.SignedURLs.Keys[len(h.SignedURLs.Keys)-1])
	})
	err := parseBlock(d, "signed_urls", block{"key": key})
	if err == nil && len(h.SignedURLs.Keys) == 0 {
		err = d.Err("signed_urls needs a key")
	}
	return err
}

func (h *Handler) parseFleet(d *caddyfile.Dispenser) error {
	if !d.NextArg() {
		return d.ArgErr()
	}
	if d.Val() != "nats" {
		return d.Errf("unknown kind of fleet '%s'; known is: nats", d.Val())
	}
	h.Fleet = new(FleetConfig)
	if err := readList(&h.Fleet.NATS)(d); err != nil {
		return err
	}
	return parseBlock(d, "fleet", block{
		"credentials": readText(&h.Fleet.Credentials),
		"node":        readText(&h.Fleet.Node),
	})
}

// policyBlock returns what reads the subdirectives that every cache has.
func policyBlock(p *Policy) block {
	return block{
		"ttl":          readPositive(&p.TTL),
		"override_ttl": readPositive(&p.OverrideTTL),
		"negative_ttl": readDuration(&p.NegativeTTL),

		"stale_while_revalidate": readPositive(&p.StaleWhileRevalidate),
		"stale_if_error":         readPositive(&p.StaleIfError),

		"max_age":    readDuration(&p.MaxAge),
		"max_object": readSize(&p.MaxObject),
	}
}

// The checks of what has just been read. All of them are made again when the configuration
// is loaded, when it is known what placeholders stand for.

func (h *Handler) checkOrigins() error {
	return expand.Known(h.provisionOrigins, h.AllowedOrigins...)
}

func (h *Handler) checkPublicURL() error {
	return expand.Known(h.provisionPublicURL, h.PublicURL)
}

func (h *Handler) checkUpstreams() error {
	return expand.Known(func(repl *caddy.Replacer) error {
		hosts, err := expandAll(repl, "allowed_upstreams", h.AllowedUpstreams)
		if err != nil {
			return err
		}
		if _, err = resolver.NewGuard(nil, hosts); err != nil {
			return fmt.Errorf("allowed_upstreams: %w", err)
		}
		return nil
	}, h.AllowedUpstreams...)
}

func (h *Handler) checkCaches() error {
	l, err := h.provisionPolicies()
	if err != nil {
		return err
	}
	return expand.Known(func(repl *caddy.Replacer) error { return h.provisionDisks(repl, l) }, h.diskDirs()...)
}

// diskDirs are the directories of disks, as they are written.
func (h *Handler) diskDirs() (dirs []string) {
	if h.Art != nil && h.Art.Disk != nil {
		dirs = append(dirs, h.Art.Disk.Dir)
	}
	if h.Stream != nil && h.Stream.Disk != nil {
		dirs = append(dirs, h.Stream.Disk.Dir)
	}
	return dirs
}

func (h *Handler) checkOrigin() error {
	return expand.Known(func(repl *caddy.Replacer) error { return h.provisionOrigin(caddy.Context{}, repl) }, h.Origin.URL)
}

func (h *Handler) checkShields() error {
	return expand.Known(func(repl *caddy.Replacer) error {
		if _, err := h.Shield.list(repl); err != nil {
			return fmt.Errorf("shield: %w", err)
		}
		return nil
	}, h.Shield.URLs...)
}

// checkFleet leaves alone what depends on the machine: the file of the credentials, and the
// name of the host.
func (h *Handler) checkFleet() error {
	written := FleetConfig{NATS: h.Fleet.NATS, Node: h.Fleet.Node}
	if written.Node == "" {
		written.Node = "node"
	}
	return expand.Known(func(repl *caddy.Replacer) error {
		if _, err := written.member(repl); err != nil {
			return fmt.Errorf("fleet: %w", err)
		}
		return nil
	}, append(slices.Clone(written.NATS), written.Node)...)
}
