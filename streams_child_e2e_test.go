package voyo_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/voyo-music/caddy-voyo/internal/netlab"
	"github.com/voyo-music/caddy-voyo/internal/ports/portstest"
)

// child is an edge in a process of its own, so that it can be measured, limited and
// killed. It keeps its port and its configuration from one start to the next.
type child struct {
	node

	host     *netlab.Host // nil: this one
	bind     string       // the address that it listens on
	admin    string       // where the admin API is, on its host
	operator *http.Client // is on its host
	options  string       // global ones, for the next configuration
	dir      string
	env      []string
	cmd      *exec.Cmd
	ended    chan error
}

// newChild returns an edge that is not running yet. env are variables, as in
// GOMEMLIMIT=256MiB.
func newChild(t *testing.T, site string, env ...string) *child {
	t.Helper()
	port := strconv.Itoa(portstest.Reserve(t))
	c := &child{node: newNode(t, port), bind: "127.0.0.1", admin: fmt.Sprintf("127.0.0.1:%d", portstest.Reserve(t))}
	c.operator = c.client
	c.prepare(t, site, env...)
	return c
}

// prepare has it be stopped when the test ends, and tell what it has logged if that fails.
func (c *child) prepare(t *testing.T, site string, env ...string) {
	t.Helper()
	c.dir = t.TempDir()
	c.env = append(os.Environ(), "XDG_DATA_HOME="+c.dir, "XDG_CONFIG_HOME="+c.dir)
	c.env = append(c.env, env...)
	c.configure(t, site)
	t.Cleanup(func() {
		if c.cmd != nil {
			c.stop(t)
		}
		if t.Failed() {
			log := c.log(t)
			t.Logf("%s: the edge's log ends with:\n%s", c.url, log[max(0, len(log)-4000):])
		}
	})
}

func startChild(t *testing.T, site string, env ...string) *child {
	t.Helper()
	c := newChild(t, site, env...)
	c.start(t)
	return c
}

// newSecureChild returns an edge that is not running yet, whose site is served over TLS,
// with HTTP/2 and 3, to clients who trust it.
func newSecureChild(t *testing.T, trust *tls.Config, env ...string) *child {
	t.Helper()
	c := newChild(t, "", env...)
	c.url = strings.Replace(c.url, "http://", "https://", 1)
	transport := &http.Transport{TLSClientConfig: trust, ForceAttemptHTTP2: true, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	c.client = &http.Client{Transport: transport}
	return c
}

// startSecureChild starts one, and returns it with what its clients trust.
func startSecureChild(t *testing.T, site string) (*child, *tls.Config) {
	t.Helper()
	cert, key, pool := newCertificate(t)
	trust := &tls.Config{RootCAs: pool}
	c := newSecureChild(t, trust)
	c.configure(t, fmt.Sprintf("tls %s %s\n%s", cert, key, site))
	c.start(t)
	return c, trust
}

// configure sets the site that is served from the next start on.
func (c *child) configure(t *testing.T, site string) {
	t.Helper()
	caddyfile := fmt.Sprintf(`{
		admin %s
		persist_config off
		auto_https off
		storage file_system %s/storage
		%s
	}
	%s {
		bind %s
		%s
	}`, c.admin, c.dir, c.options, c.url, c.bind, site)
	if err := os.WriteFile(filepath.Join(c.dir, "Caddyfile"), []byte(caddyfile), 0o600); err != nil {
		t.Fatal(err)
	}
}

// command returns the command that runs it. What it says goes to the log.
func (c *child) command(ctx context.Context, t *testing.T) *exec.Cmd {
	t.Helper()
	log, err := os.OpenFile(filepath.Join(c.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	command := exec.CommandContext
	if c.host != nil {
		command = c.host.Command
	}
	cmd := command(ctx, caddyProgram(t), "run", "--config", filepath.Join(c.dir, "Caddyfile"), "--adapter", "caddyfile")
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = c.dir, c.env, log, log
	return cmd
}

// start starts it, and waits until it answers.
func (c *child) start(t *testing.T) {
	t.Helper()
	c.cmd = c.command(context.Background(), t)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	cmd := c.cmd
	go func() { ended <- cmd.Wait() }()
	c.ended = ended
	eventually(t, "the edge answers", func() bool {
		select {
		case err := <-ended:
			c.cmd = nil
			t.Fatalf("the edge ended: %v: %s", err, c.log(t))
		default:
		}
		resp, err := c.client.Get(c.url + "/health")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return true // be it well or not
	})
}

// mustNotStart starts it, and returns what it has said when it has given up.
func (c *child) mustNotStart(t *testing.T) string {
	t.Helper()
	before := len(c.log(t))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err := c.command(ctx, t).Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || !exit.Exited() || exit.ExitCode() == 0 {
		t.Fatalf("it should have ended with a status: %v", err)
	}
	return c.log(t)[before:]
}

// stop has it end as a service manager does.
func (c *child) stop(t *testing.T) {
	t.Helper()
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	if err := c.wait(t); err != nil {
		t.Errorf("the edge ended with %v", err)
	}
}

// kill ends it in the middle of whatever it does.
func (c *child) kill(t *testing.T) {
	t.Helper()
	if err := c.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = c.wait(t)
}

func (c *child) wait(t *testing.T) error {
	t.Helper()
	edge := c.cmd.Process
	c.cmd = nil
	defer c.client.CloseIdleConnections()
	select {
	case err := <-c.ended:
		return err
	case <-time.After(patience):
		_ = edge.Signal(syscall.SIGABRT) // has Go log what all goroutines do
		ended := <-c.ended
		_, doing, _ := strings.Cut(c.log(t), "SIGABRT")
		t.Fatalf("still not after %s: the edge ends (now with %v). This is what it does:\n%s", patience, ended, doing)
		return nil
	}
}

func (c *child) log(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(c.dir, "log"))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return string(text)
}

// peakBytes returns the most memory that it has taken up so far. See
// proc_pid_status(5).
func (c *child) peakBytes(t *testing.T) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(status), "\nVmHWM:")
	value, _, _ := strings.Cut(rest, " kB")
	n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}
