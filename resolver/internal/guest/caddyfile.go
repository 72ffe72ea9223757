// Package guest holds what the resolvers that are Caddy modules share.
package guest

import (
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/voyo-music/caddy-voyo/internal/expand"
	"github.com/voyo-music/caddy-voyo/resolver"
)

// Values reads one or more arguments of the subdirective under the cursor into
// dst. A repeated subdirective, an empty argument or none is an error.
func Values(d *caddyfile.Dispenser, dst *[]string) error {
	name := d.Val()
	if len(*dst) > 0 {
		return d.Errf("%s is already given", name)
	}
	args := d.RemainingArgs()
	if len(args) == 0 {
		return d.ArgErr()
	}
	if slices.Contains(args, "") {
		return d.Errf("%s has an empty argument", name)
	}
	*dst = args
	return nil
}

// Value is Values for exactly one argument.
func Value(d *caddyfile.Dispenser, dst *string) error {
	var args []string
	if *dst != "" {
		args = []string{*dst}
	}
	if err := Values(d, &args); err != nil {
		return err
	}
	if len(args) > 1 {
		return d.ArgErr()
	}
	*dst = args[0]
	return nil
}

// Candidates is Values for the candidates of the kind of thing that the subdirective
// names.
func Candidates[T any](d *caddyfile.Dispenser, dst *[]string, compile func(text string, kinds ...resolver.Kind) (T, error)) error {
	list, kind := d.Val(), resolver.Stream
	if list == "art" {
		kind = resolver.Art
	}
	if err := Values(d, dst); err != nil {
		return err
	}
	for i, text := range *dst {
		if err := Check(d, func(repl *caddy.Replacer) error {
			_, err := candidate(repl, list, i, kind, text, compile)
			return err
		}, text); err != nil {
			return err
		}
	}
	return nil
}

// Check is expand.Known for values that the dispenser has just read.
func Check(d *caddyfile.Dispenser, check func(*caddy.Replacer) error, values ...string) error {
	if err := expand.Known(check, values...); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// Unknown says that the subdirective under the cursor is none of the known ones.
func Unknown(d *caddyfile.Dispenser, known string) error {
	if d.Val() == "{" {
		return d.Err("unexpected block")
	}
	return d.Errf("unrecognized subdirective '%s'; known are: %s", d.Val(), known)
}
