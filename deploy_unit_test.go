package voyo_test

import (
	"bufio"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/voyo-music/caddy-voyo/internal/ports/portstest"
)

// deployed is a node of deploy/Caddyfile, started as the systemd unit says, with the
// demo's tracks in the place of VOYO's bucket.
type deployed struct {
	node

	local  node   // as those on the same machine see it
	dir    string // has the Caddyfile
	env    []string
	unit   map[string][]string
	notes  *bufio.Reader // what it tells systemd
	exited chan error
	pid    int
}

// unitSettings returns the settings of a systemd unit, each with all its lines.
func unitSettings(t *testing.T) map[string][]string {
	t.Helper()
	settings := make(map[string][]string)
	for line := range strings.Lines(readRepository(t, "deploy/caddy-voyo.service")) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(name, "#") {
			settings[name] = append(settings[name], value)
		}
	}
	return settings
}

// command is a command line of the unit, with this test's paths.
func (d *deployed) command(t *testing.T, setting string) *exec.Cmd {
	t.Helper()
	if len(d.unit[setting]) != 1 {
		t.Fatalf("%s: %v", setting, d.unit[setting])
	}
	args := strings.Fields(d.unit[setting][0])
	if args[0] != "/usr/local/bin/caddy" || !slices.Contains(args, "/etc/caddy-voyo/Caddyfile") {
		t.Fatalf("%s: %v", setting, args)
	}
	for i, arg := range args {
		args[i] = strings.ReplaceAll(arg, "/etc/caddy-voyo", d.dir)
	}
	cmd := exec.Command(caddyProgram(t), args[1:]...)
	cmd.Dir, cmd.Env, cmd.Stderr = "/", d.env, t.Output()
	return cmd
}

// environment is what systemd would give the unit's commands.
func (d *deployed) environment(t *testing.T, ours map[string]string) []string {
	t.Helper()
	env := []string{"PATH=/usr/bin:/bin"}
	paths := strings.NewReplacer("%S/caddy-voyo", d.dir+"/state", "/run/caddy-voyo", d.dir)
	for _, line := range d.unit["Environment"] {
		env = append(env, strings.Fields(paths.Replace(line))...)
	}
	for line := range strings.Lines(readRepository(t, "deploy/edge.env.example")) {
		line = strings.TrimSpace(line)
		name, _, ok := strings.Cut(line, "=")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		if value, ok := ours[name]; ok {
			line = name + "=" + value
			delete(ours, name)
		}
		env = append(env, line)
	}
	for name, value := range ours {
		env = append(env, name+"="+value) // systemd's own
	}
	return env
}

func startDeployed(t *testing.T) *deployed {
	t.Helper()
	bucket := http.NewServeMux()
	bucket.Handle("/voyo-audio/", http.StripPrefix("/voyo-audio/", http.FileServer(http.Dir(repositoryFile(t, "testdata/demo")))))
	upstream := newOrigin(t, bucket.ServeHTTP)

	port, health := strconv.Itoa(portstest.Reserve(t)), strconv.Itoa(portstest.Reserve(t))
	d := &deployed{node: newNode(t, port), local: newNode(t, health), unit: unitSettings(t), exited: make(chan error, 1)}
	d.dir = shortDir(t)
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: filepath.Join(d.dir, "notify"), Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { notify.Close() })
	d.notes = bufio.NewReader(notify)
	d.env = d.environment(t, map[string]string{
		"EDGE_SITE": "http://127.0.0.1:" + port, "HEALTH_PORT": health, "S3_ENDPOINT": upstream.URL,
		"CACHE_DIRECTORY": d.dir + "/cache", "NOTIFY_SOCKET": d.dir + "/notify",
	})
	d.write(t, readRepository(t, "deploy/Caddyfile"))

	cmd := d.command(t, "ExecStart")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	d.pid = cmd.Process.Pid
	go func() { d.exited <- cmd.Wait() }()
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	return d
}

// shortDir returns a directory in which sockets have paths that are short enough.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "voyo") // t.TempDir's is named after the test
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (d *deployed) write(t *testing.T, caddyfile string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(d.dir, "Caddyfile"), []byte(caddyfile), 0o600); err != nil {
		t.Fatal(err)
	}
}

// told waits until systemd is told so.
func (d *deployed) told(t *testing.T, want string) {
	t.Helper()
	found := make(chan error, 1)
	go func() {
		note := make([]byte, 4096)
		for {
			n, err := d.notes.Read(note)
			if err != nil || strings.HasPrefix(string(note[:n]), want) {
				found <- err
				return
			}
		}
	}()
	if err := await(t, "systemd is told "+want, found); err != nil {
		t.Fatal(err)
	}
}

// healthcheck runs what the image runs, and returns what it says.
func (d *deployed) healthcheck(t *testing.T) (string, error) {
	t.Helper()
	program := filepath.Join(filepath.Dir(caddyProgram(t)), "healthcheck")
	build := exec.Command("go", "build", "-o", program, "./deploy/healthcheck")
	build.Dir = repositoryFile(t, ".")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	cmd := exec.Command(program)
	cmd.Env = d.env
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// The unit's own commands start the production Caddyfile, reload it and stop it.
func TestDeployUnitRuns(t *testing.T) {
	d := startDeployed(t)
	d.told(t, "READY=1")
	track := readRepository(t, "testdata/demo/128/OSBan_sH_b8.opus")
	if d.mustGet(t, "/cdn/stream/"+songVOYO, track) {
		t.Error("a hit before there was anything")
	}
	if out, err := d.healthcheck(t); err != nil {
		t.Errorf("healthy: %v: %s", err, out)
	}
	if n := d.local.health(t).Cache.StreamCacheSize; n != 1 {
		t.Errorf("the local port has a cache of its own, with %d tracks", n)
	}

	t.Run("reload", func(t *testing.T) {
		changed := strings.Replace(readRepository(t, "deploy/Caddyfile"), "\tlog\n", "\tlog\n\theader X-Reloaded yes\n", 1)
		d.write(t, changed)
		if err := d.command(t, "ExecReload").Run(); err != nil {
			t.Fatal(err)
		}
		d.told(t, "READY=1")
		if got := d.get(t, "/health").header.Get("X-Reloaded"); got != "yes" {
			t.Error("the new Caddyfile is not in effect")
		}
		if !d.mustGet(t, "/cdn/stream/"+songVOYO, track) {
			t.Error("the cache is gone")
		}
		d.write(t, "nonsense {")
		if err := d.command(t, "ExecReload").Run(); err == nil {
			t.Error("a wrong Caddyfile is reloaded")
		}
		d.mustGet(t, "/cdn/stream/"+songVOYO, track)
	})
	t.Run("who may read what", func(t *testing.T) {
		for _, name := range []string{"state", "cache/stream"} {
			fi, err := os.Stat(filepath.Join(d.dir, name))
			if err != nil || fi.Mode().Perm() != 0o700 {
				t.Errorf("%s: %v, %v", name, fi, err)
			}
		}
		fi, err := os.Stat(filepath.Join(d.dir, "admin.sock"))
		if err != nil || fi.Mode().Perm()&0o077 != 0 {
			t.Errorf("admin.sock: %v, %v", fi, err)
		}
	})
	d.client.CloseIdleConnections()
	d.local.client.CloseIdleConnections()
	if err := syscall.Kill(d.pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := await(t, "caddy ends", d.exited); err != nil {
		t.Errorf("caddy ended with %v", err)
	}
	if out, err := d.healthcheck(t); err == nil {
		t.Errorf("nobody is there, and it says %q", out)
	}
}

// exposure is the most that systemd-analyze may say against the unit, in tenths.
const exposure = 15

// systemd knows all of the unit's settings, and finds little that it could do harm
// with.
func TestDeployUnit(t *testing.T) {
	analyze := tool(t, "systemd-analyze")
	text := readRepository(t, "deploy/caddy-voyo.service")
	file := filepath.Join(t.TempDir(), "caddy-voyo.service")
	// it looks for the program
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(text, "/usr/local/bin/caddy", "/bin/true")), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", file).CombinedOutput()
	if err != nil || strings.Contains(string(out), "caddy-voyo.service") {
		t.Errorf("verify: %v\n%s", err, out)
	}
	out, err = exec.CommandContext(t.Context(), analyze, "security", "--no-pager", "--offline=true",
		"--threshold="+strconv.Itoa(exposure), file).CombinedOutput()
	if err != nil {
		t.Errorf("security: %v\n%s", err, out)
	}
	unit := unitSettings(t)
	for name, want := range map[string]string{
		"Type": "notify", "DynamicUser": "yes", "User": "caddy-voyo", "NoNewPrivileges": "yes", "ProtectSystem": "strict",
		"AmbientCapabilities": "CAP_NET_BIND_SERVICE", "CapabilityBoundingSet": "CAP_NET_BIND_SERVICE",
		"EnvironmentFile": "/etc/caddy-voyo/edge.env", "CacheDirectory": "caddy-voyo", "StateDirectory": "caddy-voyo",
	} {
		if !slices.Equal(unit[name], []string{want}) {
			t.Errorf("%s is %v, want %s", name, unit[name], want)
		}
	}
	if strings.Contains(text, "--environ") {
		t.Error("the keys would be in the log")
	}
}
