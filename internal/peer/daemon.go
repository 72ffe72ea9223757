package peer

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"io/fs"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"text/template"

	"github.com/voyo-music/caddy-voyo/internal/ports"
)

// Daemon is a server that is told in its configuration where to listen.
type Daemon struct {
	Name    string
	Command []string       // templates, with values
	Ready   *regexp.Regexp // what it prints when it can be asked; nil: when it listens
	Version Version
}

// The daemons that Debian has. Their configurations are the caller's.
var (
	NGINX = Daemon{
		Name:    "nginx",
		Command: []string{"nginx", "-c", "{{.Dir}}/nginx.conf", "-e", "stderr"},
		Version: Version{[]string{"nginx", "-v"}, `nginx/(\S+)`},
	}
	Varnish = Daemon{
		Name: "varnish",
		Command: []string{
			"varnishd", "-F", "-j", "none", "-n", "{{.Dir}}", "-a", "127.0.0.1:{{.Port}}", "-f", "{{.Dir}}/default.vcl",
		},
		Version: Version{[]string{"varnishd", "-V"}, `varnish-(\S+)`},
	}
	TrafficServer = Daemon{
		Name:    "trafficserver",
		Command: []string{"traffic_server", "--run-root={{.Dir}}/runroot.yaml"},
		Ready:   regexp.MustCompile(`Traffic Server is fully initialized`), // its cache opens after its port
		Version: Version{[]string{"traffic_server", "-V"}, `Traffic Server (\S+)`},
	}
)

// With returns the daemon with more arguments.
func (d Daemon) With(args ...string) Daemon {
	d.Command = slices.Concat(d.Command, args)
	return d
}

// values are what the templates are told.
type values struct {
	Dir, Port, TLSPort, Origin, OriginPort string
}

// Start starts it in front of an origin, a host and a port, in a directory of its own.
// Its configuration are the files in the folder of its name, which are templates.
func (d Daemon) Start(ctx context.Context, dir, origin string, configs fs.FS) (*Process, error) {
	_, originPort, err := net.SplitHostPort(origin)
	if err != nil {
		return nil, err
	}
	plain, release, err := ports.Reserve()
	if err != nil {
		return nil, err
	}
	defer release()
	tls, releaseTLS, err := ports.Reserve()
	if err != nil {
		return nil, err
	}
	defer releaseTLS()
	v := values{dir, strconv.Itoa(plain), strconv.Itoa(tls), origin, originPort}
	if err := v.configure(common, "config/"+d.Name); err != nil {
		return nil, err
	}
	if err := v.configure(configs, d.Name); err != nil {
		return nil, err
	}
	args := make([]string, len(d.Command))
	for i, a := range d.Command {
		b, err := v.expand(a)
		if err != nil {
			return nil, err
		}
		args[i] = string(b)
	}
	cmd := exec.CommandContext(ctx, args[0], args[1:]...) // #nosec G204 -- chosen by the caller
	cmd.Dir = dir
	p, err := Start(cmd, d.Ready)
	if err != nil {
		return nil, err
	}
	p.Addr = []string{net.JoinHostPort("127.0.0.1", v.Port), net.JoinHostPort("127.0.0.1", v.TLSPort)}
	if err := p.connect(ctx, p.Addr[0]); err != nil {
		p.Stop()
		return nil, err
	}
	return p, nil
}

// common are the files that a daemon needs whatever it is to do, in config/<name>.
//
//go:embed config
var common embed.FS

// configure writes the files of a directory, if there is such a one.
func (v values) configure(from fs.FS, dir string) error {
	names, err := fs.Glob(from, dir+"/*")
	if err != nil {
		return err
	}
	for _, name := range names {
		text, err := fs.ReadFile(from, name)
		if err != nil {
			return err
		}
		b, err := v.expand(string(text))
		if err != nil {
			return err
		}
		if err := write(filepath.Join(v.Dir, filepath.Base(name)), b); err != nil {
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

// Version is how a program is asked for its version.
type Version struct {
	Command []string
	Pattern string // what it is in the command's output
}

// CaddyVersion asks a Caddy for the version of one of its modules.
func CaddyVersion(program, module string) Version {
	return Version{[]string{program, "build-info"}, regexp.QuoteMeta(module) + `\s+(\S+)`}
}

// Ask asks for it.
func (v Version) Ask(ctx context.Context) (string, error) {
	out, err := exec.CommandContext(ctx, v.Command[0], v.Command[1:]...).CombinedOutput() // #nosec G204 -- chosen by the caller
	if err != nil {
		return "", err
	}
	m := regexp.MustCompile(v.Pattern).FindSubmatch(out)
	if m == nil {
		return "", fmt.Errorf("no version in %q", out)
	}
	return string(m[1]), nil
}
