package voyo

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/voyo-music/caddy-voyo/internal/expand"
	"github.com/voyo-music/caddy-voyo/resolver"
)

// defaultShieldPolicy is rendezvous hashing: of a track's path, as that is what the
// policy is asked with.
const defaultShieldPolicy = "uri_hash"

// shieldLinkTime is how long a signed link is good that a shield is sent: for as far as
// the clocks of two nodes may differ.
const shieldLinkTime = 10 * time.Minute

// ShieldConfig configures another tier of edges, which is asked before the resolvers:
// what many edges lack is then fetched once.
//
// An edge that fails is left out for a while, and if none is well the resolvers are
// asked. An edge may list itself, so that all edges of a tier can have one
// configuration. The list is no part of what the caches belong to: it can be changed
// and they stay.
type ShieldConfig struct {
	// Where the edges are: http or https URLs, to which VOYO's paths are added.
	// Placeholders are expanded. All edges have to write them in the same way, or else
	// they do not agree about who has which track. At least one is required.
	URLs []string `json:"urls,omitempty"`

	// Selects the edge that is asked for a track. Any selection policy of the reverse
	// proxy works, but it is told of the track's path alone, and of nothing that is the
	// client's. Default: `uri_hash`, by which an edge that is lost moves its own tracks
	// and no others.
	PolicyRaw json.RawMessage `json:"policy,omitempty" caddy:"namespace=http.reverse_proxy.selection_policies inline_key=policy"`
}

// provisionShields sets up the other tier, if there is one.
func (h *Handler) provisionShields(ctx caddy.Context, repl *caddy.Replacer) error {
	if h.Shield == nil {
		return nil
	}
	list, err := h.Shield.list(repl)
	if err != nil {
		return fmt.Errorf("shield: %w", err)
	}
	policy, err := h.Shield.loadPolicy(ctx)
	if err != nil {
		return fmt.Errorf("shield: %w", err)
	}
	h.shields = &shields{list: list, policy: policy, repl: repl}
	return nil
}

// list returns the shields in their order.
func (c *ShieldConfig) list(repl *caddy.Replacer) (list []*shield, err error) {
	if len(c.URLs) == 0 {
		return nil, errors.New("at least one URL is required")
	}
	seen := make(map[string]int)
	for i, raw := range c.URLs {
		field := fmt.Sprintf("url %d", i+1)
		if raw, err = expand.Value(repl, field, raw); err != nil {
			return nil, err
		}
		u, err := parseBaseURL(field, raw)
		if err != nil {
			return nil, err
		}
		s := newShield(i, u)
		if first, again := seen[s.key()]; again {
			return nil, fmt.Errorf("%s is the same as url %d", field, first)
		}
		seen[s.key()] = i + 1
		list = append(list, s)
	}
	return list, nil
}

func (c *ShieldConfig) loadPolicy(ctx caddy.Context) (reverseproxy.Selector, error) {
	if c.PolicyRaw == nil {
		c.PolicyRaw = json.RawMessage(`{"policy":"` + defaultShieldPolicy + `"}`)
	}
	mod, err := ctx.LoadModule(c, "PolicyRaw")
	if err != nil {
		return nil, fmt.Errorf("loading policy: %w", err)
	}
	policy, ok := mod.(reverseproxy.Selector)
	if !ok {
		return nil, fmt.Errorf("policy: module %T is not a selection policy", mod)
	}
	return policy, nil
}

func (h *Handler) parseShield(d *caddyfile.Dispenser) error {
	h.Shield = new(ShieldConfig)
	if err := readList(&h.Shield.URLs)(d); err != nil {
		return err
	}
	return parseBlock(d, "shield", block{"policy": h.Shield.parsePolicy})
}

func (c *ShieldConfig) parsePolicy(d *caddyfile.Dispenser) (err error) {
	if !d.NextArg() {
		return d.ArgErr()
	}
	c.PolicyRaw, err = parseGuest[reverseproxy.Selector](d, "http.reverse_proxy.selection_policies", "policy", "selection policy")
	return err
}

// shield is one edge of another tier.
type shield struct {
	position int      // in the configuration
	url      *url.URL // without a slash at its end
	choice   *reverseproxy.Upstream
	health   *shieldHealth // set by acquire
}

func newShield(position int, u *url.URL) *shield {
	s := &shield{position: position, url: &url.URL{
		Scheme: u.Scheme, Host: normalHost(u.Scheme, u.Host),
		Path: strings.TrimRight(u.Path, "/"), RawPath: strings.TrimRight(u.RawPath, "/"),
	}}
	s.choice = &reverseproxy.Upstream{Host: new(reverseproxy.Host), Dial: s.key()}
	return s
}

// key is the shield's name for policies: every edge hashes the same text.
func (s *shield) key() string { return s.url.String() }

// hostPort is how the guard knows the shield.
func (s *shield) hostPort() string { return hostPort(s.url) }

// target returns where the shield has an asset. What a client has asked it for is not
// in it. If links have to be signed it is, as the tiers have one configuration.
func (s *shield) target(a resolver.Asset, keys linkKeys) *url.URL {
	path, query := artPath+a.ID.VOYO(), "quality="+a.Quality()
	if a.Kind == resolver.Stream {
		path, query = streamPath+a.ID.VOYO(), "type="+string(a.Type)+"&"+query
	}
	if len(keys) > 0 {
		query += "&" + keys.query(link{target: path, expires: time.Now().Add(shieldLinkTime).Unix()})
	}
	return s.at(path, query)
}

// at returns the shield's URL with a path, in which nothing needs to be escaped, and a query.
func (s *shield) at(path, query string) *url.URL {
	u := *s.url
	u.Path, u.RawQuery = u.Path+path, query
	if u.RawPath != "" {
		u.RawPath += path
	}
	return &u
}
