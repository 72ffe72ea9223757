package api

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/net/http/httpguts"

	"github.com/voyo-music/caddy-voyo/internal/expand"
)

// credentialWords mark the names of headers that carry credentials.
var credentialWords = []string{
	"auth", "cookie", "credential", "key", "password", "secret", "session", "signature", "token",
}

// reserved are headers that belong to the connection or the message, not to
// the configuration.
var reserved = []string{
	"Connection", "Content-Length", "Host", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade",
}

// expandHeaders returns the headers to send. Errors name a header, never its
// value.
func expandHeaders(repl *caddy.Replacer, headers map[string]string) (http.Header, error) {
	expanded := make(http.Header, len(headers))
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		field := "header " + name
		canonical := http.CanonicalHeaderKey(name)
		switch {
		case !httpguts.ValidHeaderFieldName(name):
			return nil, fmt.Errorf("invalid header name %q", name)
		case slices.Contains(reserved, canonical):
			return nil, fmt.Errorf("%s: can't be set", field)
		case expanded[canonical] != nil:
			return nil, fmt.Errorf("%s: is already given", field)
		case credential(name) && !expand.Holds(headers[name]):
			return nil, fmt.Errorf("%s: must take its value from a placeholder such as {env.NAME}", field)
		}
		value, err := expand.Value(repl, field, headers[name])
		if err != nil {
			return nil, err
		}
		if !httpguts.ValidHeaderFieldValue(value) {
			return nil, fmt.Errorf("%s: value has characters that a header can't have", field)
		}
		expanded.Set(canonical, value)
	}
	return expanded, nil
}

// credential reports whether a header of this name is taken to be secret.
func credential(name string) bool {
	name = strings.ToLower(name)
	return slices.ContainsFunc(credentialWords, func(word string) bool { return strings.Contains(name, word) })
}
