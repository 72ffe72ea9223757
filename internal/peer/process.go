// Package peer runs servers of others, and Caddys, for what is measured or tested beside
// them.
package peer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"regexp"
	"sync"
	"syscall"
	"time"
)

// patience is how long a program may take to start or to end.
const patience = 30 * time.Second

// Process is a program that runs until it is stopped.
type Process struct {
	Ready string   // what the pattern of its readiness has in brackets
	Addr  []string // where a server listens: first without TLS, then with it

	cmd  *exec.Cmd
	done chan struct{}
	err  error // how it ended; valid after done
	out  *watcher
}

// Start starts a program and waits until it prints what the pattern matches.
// Without a pattern, it does not wait.
func Start(cmd *exec.Cmd, pattern *regexp.Regexp) (*Process, error) {
	p := &Process{cmd: cmd, done: make(chan struct{}), out: &watcher{pattern: pattern, found: make(chan string, 1)}}
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
	case p.Ready = <-p.out.found:
		return p, nil
	case <-p.done:
		return nil, p.Failure()
	case <-time.After(patience):
		p.Stop()
		return nil, fmt.Errorf("not ready after %s: %s", patience, p.out)
	}
}

// PID returns the ID of the process. A server may have children.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Done is closed when the program has ended.
func (p *Process) Done() <-chan struct{} { return p.done }

// Stop ends it and waits until it has ended.
func (p *Process) Stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-p.done:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// Failure is the error that a program which should run has ended.
func (p *Process) Failure() error {
	return fmt.Errorf("%s has ended: %w\n%s", p.cmd.Path, errors.Join(p.err, p.cmd.Err), p.out)
}

// connect waits until a program listens. Programs that can't be told when they do
// are asked again and again.
func (p *Process) connect(ctx context.Context, address string) error {
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
			return p.Failure()
		case <-ctx.Done():
			return fmt.Errorf("%w: %s", err, p.out)
		case <-again.C:
		}
	}
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
