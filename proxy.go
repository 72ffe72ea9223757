package voyo

import (
	"encoding/json"
	"errors"
	"net/url"

	"github.com/caddyserver/caddy/v2"

	"github.com/voyo-music/caddy-voyo/internal/expand"
)

// expandProxies returns a transport's configuration with the URLs of forward proxies
// expanded. Caddy would do that for each request, and log the URL, which may have a
// password in it; a malformed one would be in the error that it ends loading with.
// What else is malformed is left to the module to report.
func expandProxies(config json.RawMessage, repl *caddy.Replacer) (json.RawMessage, error) {
	config, err := expandProxy(config, "forward_proxy_url", repl)
	if err != nil {
		return nil, err
	}
	var transport map[string]json.RawMessage
	if json.Unmarshal(config, &transport) != nil || transport["network_proxy"] == nil {
		return config, nil
	}
	if transport["network_proxy"], err = expandProxy(transport["network_proxy"], "url", repl); err != nil {
		return nil, err
	}
	return json.Marshal(transport)
}

// expandProxy expands the URL in one field of an object.
func expandProxy(object json.RawMessage, field string, repl *caddy.Replacer) (json.RawMessage, error) {
	var fields map[string]json.RawMessage
	var text string
	if json.Unmarshal(object, &fields) != nil || json.Unmarshal(fields[field], &text) != nil || text == "" {
		return object, nil
	}
	expanded, err := expand.Value(repl, field, text)
	if err != nil {
		return nil, err
	}
	if u, err := url.Parse(expanded); err != nil || u.Hostname() == "" {
		return nil, errors.New(field + ": not an absolute URL")
	}
	if fields[field], err = json.Marshal(expanded); err != nil {
		return nil, err
	}
	return json.Marshal(fields)
}
