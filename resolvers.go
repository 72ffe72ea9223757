package voyo

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/voyo-music/caddy-voyo/resolver"

	// the resolvers that come with voyo
	_ "github.com/voyo-music/caddy-voyo/resolver/api"
	_ "github.com/voyo-music/caddy-voyo/resolver/s3"
	_ "github.com/voyo-music/caddy-voyo/resolver/template"
)

// namedResolver is a resolver in its place in the configuration.
type namedResolver struct {
	resolver.Resolver

	name    string // position and kind, as in "0/template": unique, the same after a reload
	display string // the kind, as in "template"
}

// loadResolvers loads the resolvers and returns what identifies each.
func (h *Handler) loadResolvers(ctx caddy.Context, repl *caddy.Replacer) ([]string, error) {
	configs := h.ResolversRaw // loading clears the field
	mods, err := ctx.LoadModule(h, "ResolversRaw")
	if err != nil {
		return nil, fmt.Errorf("loading resolvers: %w", err)
	}
	var identities []string
	for i, mod := range mods.([]any) {
		kind := mod.(caddy.Module).CaddyModule().ID.Name()
		r, ok := mod.(resolver.Resolver)
		if !ok {
			return nil, fmt.Errorf("resolvers: position %d: module %s (%T) is not a resolver", i, kind, mod)
		}
		identity, err := identify(r, configs[i], repl)
		if err != nil {
			return nil, fmt.Errorf("resolvers: position %d: %w", i, err)
		}
		identities = append(identities, kind, identity)
		h.resolvers = append(h.resolvers, namedResolver{
			Resolver: r,
			name:     fmt.Sprintf("%d/%s", i, kind),
			display:  kind,
		})
	}
	return identities, nil
}

// identify returns what decides which bytes the resolver's assets have: what it
// says itself, or else all of its configuration. That has its placeholders
// expanded, as it is their values that decide.
func identify(r resolver.Resolver, config json.RawMessage, repl *caddy.Replacer) (string, error) {
	if i, ok := r.(resolver.Identifier); ok {
		return i.Identity(), nil
	}
	dec := json.NewDecoder(strings.NewReader(string(config)))
	dec.UseNumber()
	var value any
	if err := dec.Decode(&value); err != nil {
		return "", err
	}
	// marshaled anew, so that spaces and the order of keys do not matter
	canonical, err := json.Marshal(expandStrings(value, repl))
	return string(canonical), err
}

// expandStrings expands the placeholders in all strings of a JSON value.
func expandStrings(value any, repl *caddy.Replacer) any {
	switch v := value.(type) {
	case string:
		return expandKnown(v, repl)
	case []any:
		for i := range v {
			v[i] = expandStrings(v[i], repl)
		}
	case map[string]any:
		for k := range v {
			v[k] = expandStrings(v[k], repl)
		}
	}
	return value
}

// expandKnown expands what package expand does, and leaves the rest.
func expandKnown(s string, repl *caddy.Replacer) string {
	expanded, err := repl.ReplaceFunc(s, func(key string, value any) (any, error) {
		if strings.HasPrefix(key, "env.") || strings.HasPrefix(key, "file.") {
			return value, nil
		}
		return "{" + key + "}", nil
	})
	if err != nil {
		return s // more braces than any value has
	}
	return expanded
}
