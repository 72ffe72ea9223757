package main

import (
	"context"
	"embed"
	"io/fs"

	"github.com/voyo-music/caddy-voyo/conformance"
	"github.com/voyo-music/caddy-voyo/internal/peer"
)

// programs are those that are not in PATH.
type programs struct {
	caddy, souin string
}

// tested is a cache and how its version is asked for.
type tested struct {
	server  conformance.Server
	version peer.Version
}

// souinOptions have it store what says how long it is fresh, and only that: as it
// comes, everything is fresh for two minutes.
const souinOptions = `order cache before rewrite
	cache {
		ttl 120s
		default_cache_control no-store
	}`

func peers(p programs) []tested {
	return []tested{
		{
			conformance.Caddy("caddy-voyo", p.caddy, "", conformance.Edge),
			peer.CaddyVersion(p.caddy, "github.com/voyo-music/caddy-voyo"),
		},
		daemon(peer.NGINX),
		daemon(peer.Varnish.With("-s", "malloc,64m", "-p", "default_ttl=0", "-p", "default_grace=0", "-p", "default_keep=3600")),
		daemon(peer.TrafficServer),
		daemon(peer.Daemon{
			Name:    "squid",
			Command: []string{"squid", "-N", "-f", "{{.Dir}}/squid.conf"},
			Version: peer.Version{Command: []string{"squid", "-v"}, Pattern: `Version (\S+)`},
		}),
		daemon(peer.Daemon{
			Name:    "apache",
			Command: []string{"apache2", "-DFOREGROUND", "-f", "{{.Dir}}/apache.conf"},
			Version: peer.Version{Command: []string{"apache2", "-v"}, Pattern: `Apache/(\S+)`},
		}),
		{
			conformance.Caddy("souin", p.souin, souinOptions, "cache\n reverse_proxy %s"),
			peer.CaddyVersion(p.souin, "github.com/darkweak/souin"),
		},
		{
			conformance.Caddy("caddy", p.caddy, "", "reverse_proxy %s"),
			peer.CaddyVersion(p.caddy, "github.com/caddyserver/caddy/v2"),
		},
	}
}

// The configurations: the files in config/<peer>.
//
//go:embed config
var configs embed.FS

// daemon is a peer from Debian.
func daemon(d peer.Daemon) tested {
	start := func(ctx context.Context, dir, origin string) (*peer.Process, error) {
		files, err := fs.Sub(configs, "config")
		if err != nil {
			return nil, err
		}
		return d.Start(ctx, dir, origin, files)
	}
	return tested{conformance.Server{Name: d.Name, Start: start}, d.Version}
}
