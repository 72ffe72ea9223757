package peer

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
)

// StartCaddy starts a Caddy with a Caddyfile, in a directory of its own. The sites have
// to be bound to fd/3 and fd/4, which are where it listens. As these are there before the
// program, nobody has to wait: what is asked too early is answered when it is ready. env is
// added to its environment.
func StartCaddy(ctx context.Context, program, dir, caddyfile string, env ...string) (*Process, error) {
	config := filepath.Join(dir, "Caddyfile")
	if err := write(config, []byte(caddyfile)); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program, "run", "--config", config, "--adapter", "caddyfile") // #nosec G204 -- chosen by the caller
	cmd.Dir, cmd.Env = dir, append(append(os.Environ(), "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir), env...)
	var addresses []string
	defer func() {
		for _, file := range cmd.ExtraFiles {
			file.Close() // the child has its own
		}
	}()
	for range 2 {
		file, address, err := listen(ctx)
		if err != nil {
			return nil, err
		}
		cmd.ExtraFiles, addresses = append(cmd.ExtraFiles, file), append(addresses, address)
	}
	p, err := Start(cmd, nil)
	if err != nil {
		return nil, err
	}
	p.Addr = addresses
	return p, nil
}

// listen returns the file of a listener on a port of the system's choice.
func listen(ctx context.Context) (*os.File, string, error) {
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
	return file, l.Addr().String(), err
}

// write writes a file that every user may read.
func write(path string, b []byte) error {
	return os.WriteFile(path, b, 0o644) // #nosec G306 -- no secrets, and servers drop root's rights
}
