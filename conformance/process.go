package conformance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"regexp"
	"sync"
	"syscall"
	"time"
)

// patience is how long a program may take to start or to end.
const patience = 30 * time.Second

// process is a program that runs until it is stopped.
type process struct {
	cmd   *exec.Cmd
	ready string // what the pattern of its readiness has in brackets
	done  chan struct{}
	err   error // how it ended; valid after done
	out   *watcher
}

// start starts a program and waits until it prints what the pattern matches.
// Without a pattern, it does not wait.
func start(cmd *exec.Cmd, pattern *regexp.Regexp) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{}), out: &watcher{pattern: pattern, found: make(chan string, 1)}}
	cmd.Stdout, cmd.Stderr = p.out, p.out
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = patience
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	if pattern == nil {
		return p, nil
	}
	select {
	case p.ready = <-p.out.found:
		return p, nil
	case <-p.done:
		return nil, p.failure()
	case <-time.After(patience):
		p.stop()
		return nil, fmt.Errorf("not ready after %s: %s", patience, p.out)
	}
}

// stop ends it and waits until it has ended.
func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.done:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// failure is the error that a program which should run has ended.
func (p *process) failure() error {
	return fmt.Errorf("%s has ended: %w\n%s", p.cmd.Path, errors.Join(p.err, p.cmd.Err), p.out)
}

// watcher keeps the last of what a program prints, and looks for a pattern in it.
type watcher struct {
	pattern *regexp.Regexp
	found   chan string

	mu   sync.Mutex
	text []byte
}

func (w *watcher) Write(b []byte) (int, error) {
	const enough = 8 << 10
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, b...)
	if w.pattern != nil {
		if m := w.pattern.FindSubmatch(w.text); m != nil {
			w.pattern = nil
			w.found <- string(m[len(m)-1])
		}
	}
	if len(w.text) > 2*enough {
		w.text = bytes.Clone(w.text[len(w.text)-enough:])
	}
	return len(b), nil
}

func (w *watcher) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return string(bytes.TrimSpace(w.text))
}

// freePort returns a port of the loopback interface that nobody listens on.
func freePort(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, err
}

// connect waits until a program listens. Programs that can't be told when they do
// are asked again and again.
func (p *process) connect(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err == nil {
			return c.Close()
		}
		select {
		case <-p.done:
			return p.failure()
		case <-ctx.Done():
			return fmt.Errorf("%w: %s", err, p.out)
		case <-again.C:
		}
	}
}

// write writes a file that every user may read.
func write(path, text string) error {
	return os.WriteFile(path, []byte(text), 0o644) // #nosec G306 -- no secrets, and servers drop root's rights
}
