// Package expand replaces the placeholders of configuration values, once, when
// the configuration is loaded: {env.NAME} and {file./path}. A secret that is not
// there stops the load with an error that names it; no error holds a value.
package expand

import (
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
)

const (
	envPrefix  = "env."
	filePrefix = "file."

	// requestPrefix begins the placeholders that are known for each request only.
	requestPrefix = "http.voyo."
)

// Value returns value with its placeholders replaced. Any placeholder but
// {env.NAME} and {file./path} is an error, and so is one that stands for
// nothing. The field is what errors call the value.
//
// As everywhere in Caddy, a file's trailing newline is left out, and {env.NAME}
// takes no default: only {$NAME:default} of the Caddyfile does.
func Value(repl *caddy.Replacer, field, value string) (string, error) {
	return replace(repl, field, value, false)
}

// Template is Value for a text that is filled in again for each request: it
// leaves {http.voyo.*} as it is.
func Template(repl *caddy.Replacer, field, value string) (string, error) {
	return replace(repl, field, value, true)
}

// Secret is Value for credentials, which must not be written in a configuration:
// the whole value has to be one placeholder.
func Secret(repl *caddy.Replacer, field, value string) (string, error) {
	if err := CheckSecret(field, value); err != nil {
		return "", err
	}
	return Value(repl, field, value)
}

// CheckSecret refuses what Secret does, whatever the placeholder stands for.
func CheckSecret(field, value string) error {
	inner, opened := strings.CutPrefix(value, "{")
	inner, closed := strings.CutSuffix(inner, "}")
	if !opened || !closed || strings.ContainsAny(inner, "{}") || !Holds(value) {
		return fmt.Errorf("%s: must be a placeholder such as {env.NAME} or {file./path}", field)
	}
	return nil
}

// Known checks values where they are read, so that an error can name the line, unless one
// of them takes something from the environment or a file: what that is counts where the
// configuration is loaded.
func Known(check func(*caddy.Replacer) error, values ...string) error {
	if slices.ContainsFunc(values, Holds) {
		return nil
	}
	return check(caddy.NewReplacer())
}

// Holds reports whether the value takes something from the environment or a file.
func Holds(value string) bool {
	return strings.Contains(value, "{"+envPrefix) || strings.Contains(value, "{"+filePrefix)
}

func replace(repl *caddy.Replacer, field, value string, template bool) (string, error) {
	expanded, err := repl.ReplaceFunc(value, func(key string, val any) (any, error) {
		if name, ok := strings.CutPrefix(key, envPrefix); ok {
			return variable(name, val)
		}
		if name, ok := strings.CutPrefix(key, filePrefix); ok {
			return file(name, val)
		}
		if template && strings.HasPrefix(key, requestPrefix) {
			return "{" + key + "}", nil
		}
		return nil, fmt.Errorf("unknown placeholder {%s}", key)
	})
	if err != nil {
		return "", fmt.Errorf("%s: %w", field, err)
	}
	return expanded, nil
}

// variable refuses an environment variable without a value. What follows a
// colon in its name was meant as a default and may be a secret: it isn't shown.
func variable(name string, val any) (any, error) {
	if caddy.ToString(val) != "" {
		return val, nil
	}
	if name, _, found := strings.Cut(name, ":"); found {
		return nil, fmt.Errorf("{env.%s:...} takes no default; the Caddyfile's {$%s:...} does", name, name)
	}
	return nil, fmt.Errorf("environment variable %s is not set or empty", name)
}

// file refuses a file without content.
func file(name string, val any) (any, error) {
	if caddy.ToString(val) != "" {
		return val, nil
	}
	return nil, fmt.Errorf("file %s is missing or empty", name)
}
