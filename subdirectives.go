package voyo

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/dustin/go-humanize"
)

// repeatable names the subdirectives that may be there several times.
var repeatable = []string{"resolver", "signed_urls key"}

// block holds what reads each subdirective of a block, by name. It is called
// with the dispenser at the name.
type block map[string]func(d *caddyfile.Dispenser) error

// parseBlock reads the block that follows, the one of the subdirective parent.
func parseBlock(d *caddyfile.Dispenser, parent string, b block) error {
	seen := make(map[string]bool)
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		name := d.Val()
		full := strings.TrimSpace(parent + " " + name)
		parse, ok := b[name]
		switch {
		case name == "{":
			return d.Err("unexpected block")
		case !ok:
			return d.Errf("unrecognized subdirective '%s'; known are: %s", full, strings.Join(slices.Sorted(maps.Keys(b)), ", "))
		case seen[name] && !slices.Contains(repeatable, full):
			return d.Errf("repeated subdirective '%s'", full)
		}
		seen[name] = true
		if err := parse(d); err != nil {
			return err
		}
	}
	return nil
}

// checked has what a subdirective has read checked at once, so that an error names the
// line. The check is one that is made again when the configuration is loaded.
func checked(read func(*caddyfile.Dispenser) error, check func() error) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		if err := read(d); err != nil {
			return err
		}
		if err := check(); err != nil {
			return d.WrapErr(err)
		}
		return nil
	}
}

// argument returns the only argument, which may not be empty: in JSON that
// would read as if it had not been given.
func argument(d *caddyfile.Dispenser) (string, error) {
	var arg string
	if !d.AllArgs(&arg) {
		return "", d.ArgErr()
	}
	if arg == "" {
		return "", d.Err("empty argument")
	}
	return arg, nil
}

func readText(dst *string) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) (err error) {
		*dst, err = argument(d)
		return err
	}
}

// readMore reads one of several values that are given each by itself.
func readMore(dst *[]string) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		arg, err := argument(d)
		if err != nil {
			return err
		}
		*dst = append(*dst, arg)
		return nil
	}
}

func readList(dst *[]string) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		*dst = d.RemainingArgs()
		switch {
		case len(*dst) == 0:
			return d.ArgErr()
		case slices.Contains(*dst, ""):
			return d.Err("empty argument")
		}
		return nil
	}
}

func readFlag(dst *bool) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		if d.NextArg() {
			return d.ArgErr()
		}
		*dst = true
		return nil
	}
}

func readSwitch(dst **bool) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		arg, err := argument(d)
		if err != nil {
			return err
		}
		if arg != "on" && arg != "off" {
			return d.Errf("must be on or off, not '%s'", arg)
		}
		on := arg == "on"
		*dst = &on
		return nil
	}
}

func readCount(dst *int) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		arg, err := argument(d)
		if err != nil {
			return err
		}
		*dst, err = parseCount(d, arg)
		return err
	}
}

func parseCount(d *caddyfile.Dispenser, arg string) (int, error) {
	n, err := strconv.Atoi(arg)
	if err != nil || n <= 0 {
		return 0, d.Errf("invalid count '%s': must be a positive number", arg)
	}
	return n, nil
}

// readNatural reads a number for which zero has a meaning of its own.
func readNatural(dst **int) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		arg, err := argument(d)
		if err != nil {
			return err
		}
		n, err := strconv.Atoi(arg)
		if err != nil || n < 0 {
			return d.Errf("invalid count '%s': must be a number from 0 on", arg)
		}
		*dst = &n
		return nil
	}
}

func readSize(dst *int64) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		arg, err := argument(d)
		if err != nil {
			return err
		}
		*dst, err = parseSize(d, arg)
		return err
	}
}

func parseSize(d *caddyfile.Dispenser, arg string) (int64, error) {
	n, err := humanize.ParseBytes(arg)
	if err != nil || n == 0 || n > math.MaxInt64 {
		return 0, d.Errf("invalid size '%s': must be a positive number of bytes below 8EiB, as in 64MiB", arg)
	}
	return int64(n), nil
}

func readDisk(dst **DiskConfig) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) (err error) {
		disk, size := new(DiskConfig), ""
		switch {
		case !d.AllArgs(&disk.Dir, &size):
			return d.ArgErr()
		case disk.Dir == "" || size == "":
			return d.Err("empty argument")
		}
		*dst = disk
		disk.Size, err = parseSize(d, size)
		return err
	}
}

// readDuration reads a duration for which zero has a meaning of its own.
func readDuration(dst **caddy.Duration) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		arg, err := argument(d)
		if err != nil {
			return err
		}
		v, err := parseDuration(d, arg)
		if err != nil {
			return err
		}
		*dst = &v
		return nil
	}
}

func parseDuration(d *caddyfile.Dispenser, arg string) (caddy.Duration, error) {
	parsed, err := caddy.ParseDuration(arg)
	switch {
	case err != nil:
		return 0, d.Errf("invalid duration '%s': %v", arg, err)
	case parsed < 0:
		return 0, d.Errf("invalid duration '%s': must not be negative", arg)
	}
	return caddy.Duration(parsed), nil
}

// readPositive reads a duration for which zero would mean the default.
func readPositive(dst *caddy.Duration) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) error {
		arg, err := argument(d)
		if err != nil {
			return err
		}
		*dst, err = parsePositive(d, arg)
		return err
	}
}

func parsePositive(d *caddyfile.Dispenser, arg string) (caddy.Duration, error) {
	v, err := parseDuration(d, arg)
	if err == nil && v == 0 {
		err = d.Errf("invalid duration '%s': must be greater than zero", arg)
	}
	return v, err
}

// readRate reads how often something may happen, and in which time.
func readRate(dst **Rate) func(*caddyfile.Dispenser) error {
	return func(d *caddyfile.Dispenser) (err error) {
		r, count, window := new(Rate), "", ""
		switch {
		case !d.AllArgs(&count, &window):
			return d.ArgErr()
		case count == "" || window == "":
			return d.Err("empty argument")
		}
		*dst = r
		if r.Count, err = parseCount(d, count); err != nil {
			return err
		}
		r.Window, err = parsePositive(d, window)
		return err
	}
}
