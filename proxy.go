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
	const field = "network_proxy"
	transport := fieldsOf(config)
	if transport[field] == nil {
		return config, nil
	}
	if transport[field], err = expandProxy(transport[field], "url", repl); err != nil {
		return nil, err
	}
	return json.Marshal(transport)
}

// expandProxy expands the URL in one field of an object.
func expandProxy(object json.RawMessage, field string, repl *caddy.Replacer) (json.RawMessage, error) {
	fields := fieldsOf(object)
	var text string
	_ = json.Unmarshal(fields[field], &text)
	if text == "" {
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

// fieldsOf returns the fields of an object, none if it is not one.
func fieldsOf(object json.RawMessage) (fields map[string]json.RawMessage) {
	_ = json.Unmarshal(object, &fields)
	return fields
}
