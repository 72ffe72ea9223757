package main

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/voyo-music/caddy-voyo/internal/peer"
)

// server is one of those that are measured beside each other.
type server struct {
	name      string
	about     string   // what it is, for the report
	workloads []string // that it takes part in; nil: all
	version   peer.Version
	// start starts it in a directory of its own. Without it the origin itself is asked.
	start func(ctx context.Context, l *lab, dir string) (*peer.Process, error)
	edge  bool   // it has the edge's paths
	fixed string // what it answers to everything, if that is not the origin's
}

const (
	edgeName      = "edge"
	referenceName = "nginx"
	directName    = "direct"
)

// letters are as many as a cover has bytes.
var letters = strings.Repeat("x", int(cover.size))

// warm are the workloads of those that are no caches: all that they could be asked for
// a second time.
var warm = []string{"W1", "W1s-h1", "W1s-h2", "W2", "W3", "W6b"}

func servers(l *lab) []server {
	caddy := peer.CaddyVersion(l.caddy, "github.com/caddyserver/caddy/v2")
	revision := peer.Version{Command: []string{"git", "describe", "--always", "--dirty"}, Pattern: `(\S+)`}
	return []server{
		{
			name: edgeName, about: "this module, with room for 10,000 covers and 256 MiB of streams in memory", version: revision,
			start: caddyWith(l.caddy, edgeSite(roomForCovers)), edge: true,
		},
		{
			name: "edge-disk", about: "the same with memory for half a track, the rest on disk", version: revision,
			workloads: []string{"W2", "W3"},
			start:     caddyWith(l.caddy, edgeSite("stream {\n memory 2MiB\n disk %[1]s/tracks 1GiB\n }")), edge: true,
		},
		daemon(peer.NGINX, "proxy_cache with its lock, streams in slices of 1 MiB, a worker for each core"),
		withoutTLS(daemon(peer.Varnish.With("-s", "malloc,1G", "-p", "thread_pools=2", "-p", "timeout_idle=600"),
			"1 GiB of memory, 2 thread pools, its own rules")),
		daemon(peer.TrafficServer, "1 GiB of memory, reads what is being written, a thread for each core"),
		{
			name: "caddy-file", about: "file_server, with the same objects as files", version: caddy, workloads: warm,
			start: caddyWith(l.caddy, "root * "+l.files+"\n file_server"),
		},
		{
			name: "caddy-respond", about: "respond, with as many bytes as a cover has", version: caddy,
			workloads: []string{"W1", "W1s-h1", "W1s-h2"}, fixed: letters,
			start: caddyWith(l.caddy, "header Content-Type image/jpeg\n respond "+letters),
		},
		{
			name: "bare", about: "bench/bare: a Caddy whose handler writes what it has in memory, with the edge's fields", version: caddy,
			workloads: warm, start: caddyWith(l.bare, "bare http://%[2]s header"),
		},
		{name: directName, about: "no server: the clients ask the origin", workloads: []string{"W4", "W4a", "W5", "W7", "W8"}},
	}
}

// roomForCovers is the option that has room for all covers of W6a.
const roomForCovers = "art {\n entries 10000\n memory 256MiB\n }\n"

// edgeSite is the edge's handler before the origin, with options.
func edgeSite(options string) string {
	return `voyo {
		resolver template {
			audio http://%[2]s/128/{http.voyo.id}.opus
			video http://%[2]s/video/{http.voyo.id}.mp4
			art http://%[2]s/vi/{http.voyo.id}/{http.voyo.image}.jpg
		}
		` + options + `
	}`
}

// caddyWith is a Caddy whose two sites, one of them with TLS, have a handler. In that %[1]s
// is its directory and %[2]s the origin. env is added to its environment.
func caddyWith(program, handler string, env ...string) func(context.Context, *lab, string) (*peer.Process, error) {
	return func(ctx context.Context, l *lab, dir string) (*peer.Process, error) {
		if strings.Contains(handler, "%") {
			handler = fmt.Sprintf(handler, dir, l.origin)
		}
		return peer.StartCaddy(ctx, program, dir, fmt.Sprintf(`{
	admin off
	auto_https off
	persist_config off
	storage file_system %[1]s/storage
	log {
		level ERROR
	}
	servers {
		protocols h1 h2
	}
}
http:// {
	bind fd/3
	%[2]s
}
https:// {
	bind fd/4
	tls %[1]s/cert.pem %[1]s/key.pem
	%[2]s
}
`, dir, handler), env...)
	}
}

// The configurations of what Debian has: the files in config/<server>.
//
//go:embed config
var configs embed.FS

func daemon(d peer.Daemon, about string) server {
	return server{
		name: d.Name, about: about, version: d.Version,
		start: func(ctx context.Context, l *lab, dir string) (*peer.Process, error) {
			files, err := fs.Sub(configs, "config")
			if err != nil {
				return nil, err
			}
			return d.Start(ctx, dir, string(l.origin), files)
		},
	}
}

func withoutTLS(s server) server {
	for _, w := range workloads {
		if !w.tls {
			s.workloads = append(s.workloads, w.name)
		}
	}
	return s
}

// path returns where it has an object.
func (s server) path(o object) string {
	if s.edge {
		return o.pathAtEdge()
	}
	return o.pathAtOrigin()
}

// request returns one for an object.
func (s server) request(o object) request {
	if s.fixed != "" {
		o.begins = s.fixed
	}
	return request{path: s.path(o), object: o}
}

// runIn starts it in a directory which has what each server needs, and which is emptied first.
func (s server) runIn(ctx context.Context, l *lab, dir string) (*peer.Process, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if err := openDir(dir); err != nil {
		return nil, err
	}
	for name, b := range map[string][]byte{"cert.pem": l.cert, "key.pem": l.key} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o644); err != nil { // #nosec G306 -- of this run alone
			return nil, err
		}
	}
	return s.start(ctx, l, dir)
}

// openDir makes a directory that servers which drop root's rights can use too.
func openDir(dir string) error {
	if err := os.Mkdir(dir, 0o777); err != nil { // #nosec G301 -- see above
		return err
	}
	return os.Chmod(dir, 0o777) // #nosec G302 -- see above
}
