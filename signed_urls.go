package voyo

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/voyo-music/caddy-voyo/internal/expand"
)

// minLinkKey is how many bytes a key must have at the least: 16 that are random can't be
// guessed.
const minLinkKey = 16

// SignedURLsConfig has URLs that name a track answered only if they are signed.
type SignedURLsConfig struct {
	// The keys, of which the first one signs and all verify. Each is a placeholder: a
	// key written here is refused. What it stands for has at least 16 bytes. At least one
	// is required.
	Keys []string `json:"keys,omitempty"`
}

// keys returns the keys, none if there is no configuration.
func (c *SignedURLsConfig) keys(repl *caddy.Replacer) (linkKeys, error) {
	switch {
	case c == nil:
		return nil, nil
	case len(c.Keys) == 0:
		return nil, errors.New("at least one key is required")
	}
	keys := make(linkKeys, len(c.Keys))
	for i, value := range c.Keys {
		var err error
		if keys[i], err = expandLinkKey(repl, fmt.Sprintf("key %d", i+1), value); err != nil {
			return nil, err
		}
	}
	return keys, nil
}

// expandLinkKey returns the key that a placeholder stands for.
func expandLinkKey(repl *caddy.Replacer, field, value string) ([]byte, error) {
	key, err := expand.Secret(repl, field, value)
	if err != nil {
		return nil, err
	}
	if len(key) < minLinkKey {
		return nil, fmt.Errorf("%s: must have at least %d bytes, and has %d", field, minLinkKey, len(key))
	}
	return []byte(key), nil
}

// checkLink refuses a request that needs a signature and has none that is right for its
// client and this time. It returns what was signed; nil if nothing need be. That a link is
// over is told only to those who have one.
func (h *Handler) checkLink(r *http.Request, at *shape, req *request) (*link, error) {
	if h.linkKeys == nil || req.endpoint == endpointHealth {
		return nil, nil
	}
	l, signature, err := parseLink(at, r.URL, req.asked)
	switch {
	case err != nil, !h.linkKeys.verify(l, signature), !l.allows(addressOf(r)):
		return nil, errSignature
	case l.over(time.Now()):
		return nil, errExpired
	}
	return &l, nil
}

// boundFreshness sees to it that no answer to a link is fresh for longer than the link is
// good, and that a cache on the way gives none to clients that the link is not for. There
// may be no link.
func boundFreshness(header http.Header, maxAge time.Duration, signed *link) {
	if signed == nil || !strings.HasPrefix(header.Get("Cache-Control"), "public") {
		return // such as a 416, which is not to be kept anyway
	}
	scope := "public"
	if signed.client != "" {
		scope = "private"
	}
	left := max(min(maxAge, time.Until(time.Unix(signed.expires, 0))), 0)
	header.Set("Cache-Control", scope+", max-age="+strconv.FormatInt(int64(left/time.Second), 10))
}
