package conformance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
)

// Server is a cache to be tested.
type Server struct {
	Name string
	// Start starts it in front of an origin, a host and a port, with a directory of
	// its own, and returns it and its URL. Without it the origin itself is tested.
	Start func(ctx context.Context, dir, origin string) (p *process, base string, err error)
}

// Edge is this module's handler. The resolver is there because a handler needs one;
// nothing is asked of it.
const Edge = `voyo {
	resolver template {
		audio http://127.0.0.1:9/{http.voyo.id}
	}
	origin http://%s
}`

// Caddy is a Caddy whose site has one handler, in which %s is the origin.
func Caddy(name, program, global, handler string) Server {
	return Server{Name: name, Start: func(ctx context.Context, dir, origin string) (*process, string, error) {
		config := filepath.Join(dir, "Caddyfile")
		text := fmt.Sprintf(`{
	admin off
	persist_config off
	auto_https off
	storage file_system %s/storage
	%s
}
http:// {
	bind fd/3
	route {
		%s
	}
}
`, dir, global, fmt.Sprintf(handler, origin))
		if err := write(config, text); err != nil {
			return nil, "", err
		}
		cmd := exec.CommandContext(ctx, program, "run", "--config", config, "--adapter", "caddyfile") // #nosec G204 -- chosen by the caller
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
		return startInherited(ctx, cmd)
	}}
}

// startInherited starts a program that listens on the file descriptor 3. As that is
// there before the program, nobody has to wait: what is asked too early is answered
// when it is ready.
func startInherited(ctx context.Context, cmd *exec.Cmd) (*process, string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	defer l.Close()
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return nil, "", errors.New("no TCP listener")
	}
	file, err := tcp.File()
	if err != nil {
		return nil, "", err
	}
	defer file.Close()
	cmd.ExtraFiles = []*os.File{file}
	p, err := start(cmd, nil)
	return p, "http://" + l.Addr().String(), err
}

// Program is a server that is told in its configuration where to listen. configure
// writes that into the directory and returns the command line. Its arguments are the
// directory, the port to listen on and the origin.
func Program(name string, configure func(dir, port, origin string) ([]string, error)) Server {
	return Server{Name: name, Start: func(ctx context.Context, dir, origin string) (*process, string, error) {
		port, err := freePort(ctx)
		if err != nil {
			return nil, "", err
		}
		args, err := configure(dir, port, origin)
		if err != nil {
			return nil, "", err
		}
		cmd := exec.CommandContext(ctx, args[0], args[1:]...) // #nosec G204 -- chosen by the caller
		cmd.Dir = dir
		p, err := start(cmd, nil)
		if err != nil {
			return nil, "", err
		}
		address := net.JoinHostPort("127.0.0.1", port)
		if err := p.connect(ctx, address); err != nil {
			p.stop()
			return nil, "", err
		}
		return p, "http://" + address, nil
	}}
}
