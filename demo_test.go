package voyo_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/voyo-music/caddy-voyo/internal/ports/portstest"
)

var build struct {
	once sync.Once
	dir  string
	err  error
}

// caddyDir returns the directory of the built program, empty if there is none.
func caddyDir() string { return build.dir }

// caddyProgram returns the path of cmd/caddy, which is built once.
func caddyProgram(t *testing.T) string {
	t.Helper()
	build.once.Do(func() {
		if build.dir, build.err = os.MkdirTemp("", "voyo"); build.err != nil {
			return
		}
		cmd := exec.Command("go", "build", "-o", build.dir, "./cmd/caddy")
		cmd.Dir = repositoryFile(t, ".")
		if out, err := cmd.CombinedOutput(); err != nil {
			build.err = fmt.Errorf("building caddy: %w: %s", err, out)
		}
	})
	if build.err != nil {
		t.Fatal(build.err)
	}
	return filepath.Join(build.dir, "caddy")
}

// tool returns the path of the first of some programs that is installed.
func tool(t *testing.T, names ...string) string {
	t.Helper()
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	t.Fatalf("not installed: %s: run .ci/tools", strings.Join(names, " or "))
	return ""
}

// demo is Caddyfile.example, as it stands, in a process of its own.
type demo struct {
	node

	port string
	env  []string
}

// startDemo starts the demo, from the Caddyfile or from what adapt makes of it.
func startDemo(t *testing.T, json bool) *demo {
	t.Helper()
	port := strconv.Itoa(portstest.Reserve(t))
	dir := t.TempDir()
	d := &demo{newNode(t, port), port, append(os.Environ(),
		"PORT="+port,
		"DEMO_PORT="+strconv.Itoa(portstest.Reserve(t)),
		"ADMIN_PORT="+strconv.Itoa(portstest.Reserve(t)),
		"XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)}
	config := "Caddyfile.example"
	if json {
		adapted, err := d.command(t, "adapt", "--config", config).Output()
		if err != nil {
			t.Fatal(err)
		}
		config = filepath.Join(dir, "caddy.json")
		if err := os.WriteFile(config, adapted, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := d.command(t, "run", "--config", config)
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := await(t, "caddy ends", ended); err != nil {
			t.Errorf("caddy ended with %v", err)
		}
	})
	eventually(t, "caddy answers", func() bool {
		select {
		case err := <-ended:
			ended <- err
			t.Fatalf("caddy ended: %v", err)
		default:
		}
		resp, err := d.client.Get(d.url + "/health")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return d
}

// command returns a command of the demo's Caddy.
func (d *demo) command(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(caddyProgram(t), args...)
	cmd.Dir = repositoryFile(t, ".")
	cmd.Env = d.env
	return cmd
}
