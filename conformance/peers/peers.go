package main

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"text/template"

	"github.com/voyo-music/caddy-voyo/conformance"
)

// programs are those that are not in PATH.
type programs struct {
	caddy, souin string
}

// peer is a cache and how its version is asked for.
type peer struct {
	server  conformance.Server
	command []string
	pattern string // what the version is in the command's output
}

// souinOptions have it store what says how long it is fresh, and only that: as it
// comes, everything is fresh for two minutes.
const souinOptions = `order cache before rewrite
	cache {
		ttl 120s
		default_cache_control no-store
	}`

func peers(p programs) []peer {
	return []peer{
		{
			conformance.Caddy("caddy-voyo", p.caddy, "", conformance.Edge),
			[]string{p.caddy, "build-info"}, `github.com/voyo-music/caddy-voyo\s+(\S+)`,
		},
		daemon("nginx", []string{"nginx", "-c", "{{.Dir}}/nginx.conf", "-e", "stderr"}, []string{"-v"}, `nginx/(\S+)`),
		daemon("varnish", []string{
			"varnishd", "-F", "-j", "none", "-n", "{{.Dir}}", "-a", "127.0.0.1:{{.Port}}", "-f", "{{.Dir}}/default.vcl",
			"-s", "malloc,64m", "-p", "default_ttl=0", "-p", "default_grace=0", "-p", "default_keep=3600",
		}, []string{"-V"}, `varnish-(\S+)`),
		daemon("trafficserver", []string{"traffic_server", "--run-root={{.Dir}}/runroot.yaml"}, []string{"-V"}, `Traffic Server (\S+)`),
		daemon("squid", []string{"squid", "-N", "-f", "{{.Dir}}/squid.conf"}, []string{"-v"}, `Version (\S+)`),
		daemon("apache", []string{"apache2", "-DFOREGROUND", "-f", "{{.Dir}}/apache.conf"}, []string{"-v"}, `Apache/(\S+)`),
		{
			conformance.Caddy("souin", p.souin, souinOptions, "cache\n reverse_proxy %s"),
			[]string{p.souin, "build-info"}, `github.com/darkweak/souin\s+(\S+)`,
		},
		{
			conformance.Caddy("caddy", p.caddy, "", "reverse_proxy %s"),
			[]string{p.caddy, "build-info"}, `github.com/caddyserver/caddy/v2\s+(\S+)`,
		},
	}
}

// version asks the program for its version.
func (p peer) version(ctx context.Context) (string, error) {
	if p.command[0] == "" {
		return "", errors.New("the option with its program is missing")
	}
	out, err := exec.CommandContext(ctx, p.command[0], p.command[1:]...).CombinedOutput() // #nosec G204 -- chosen by the caller
	if err != nil {
		return "", err
	}
	m := regexp.MustCompile(p.pattern).FindSubmatch(out)
	if m == nil {
		return "", fmt.Errorf("no version in %q", out)
	}
	return string(m[1]), nil
}

// The configurations: the files in config/<peer>.
//
//go:embed config
var configs embed.FS

// values are what a configuration is told.
type values struct {
	Dir, Port, Origin, OriginPort string
}

// daemon is a peer from Debian. Its command and its configuration are templates.
func daemon(name string, command, version []string, pattern string) peer {
	server := conformance.Program(name, func(dir, port, origin string) ([]string, error) {
		_, originPort, err := net.SplitHostPort(origin)
		if err != nil {
			return nil, err
		}
		v := values{Dir: dir, Port: port, Origin: origin, OriginPort: originPort}
		if err := v.configure("config/" + name); err != nil {
			return nil, err
		}
		args := make([]string, len(command))
		for i, a := range command {
			b, err := v.expand(a)
			if err != nil {
				return nil, err
			}
			args[i] = string(b)
		}
		return args, nil
	})
	return peer{server, append(command[:1:1], version...), pattern}
}

// configure writes the files of a directory of configs.
func (v values) configure(from string) error {
	entries, err := configs.ReadDir(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		text, err := configs.ReadFile(from + "/" + e.Name())
		if err != nil {
			return err
		}
		b, err := v.expand(string(text))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(v.Dir, e.Name()), b, 0o644); err != nil { // #nosec G306 -- servers drop root's rights
			return err
		}
	}
	return nil
}

func (v values) expand(text string) ([]byte, error) {
	t, err := template.New("").Parse(text)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, v)
	return b.Bytes(), err
}
