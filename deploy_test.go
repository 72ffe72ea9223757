package voyo_test

import (
	"bufio"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"go.yaml.in/yaml/v3"
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

	port, health := strconv.Itoa(reservePort(t)), strconv.Itoa(reservePort(t))
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

// instructions returns those of a Dockerfile, with their arguments, stage by stage.
func instructions(t *testing.T) (stages [][][2]string) {
	t.Helper()
	text := regexp.MustCompile(`(?m)^#.*\n`).ReplaceAllString(readRepository(t, "deploy/Dockerfile"), "")
	text = strings.ReplaceAll(text, "\\\n", " ")
	for line := range strings.Lines(text) {
		name, args, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			continue
		}
		if name == "FROM" {
			stages = append(stages, nil)
		}
		stages[len(stages)-1] = append(stages[len(stages)-1], [2]string{name, args})
	}
	return stages
}

// The Dockerfile fits the checkout. That it builds is not tested: that needs Docker.
func TestDeployDockerfile(t *testing.T) {
	stages := instructions(t)
	if len(stages) != 2 {
		t.Fatalf("%d stages", len(stages))
	}
	goVersion := regexp.MustCompile(`(?m)^go (\d+\.\d+)`).FindStringSubmatch(readRepository(t, "go.mod"))[1]
	if from := stages[0][0][1]; !strings.Contains(from, "golang:"+goVersion+"-bookworm") {
		t.Errorf("built by %s, but go.mod has go %s", from, goVersion)
	}
	final := make(map[string]string)
	for i, stage := range stages {
		for _, in := range stage {
			final[in[0]] = in[1]
			sources := strings.Fields(in[1])
			if in[0] != "COPY" || strings.Contains(in[1], "--from=") {
				continue
			}
			for _, source := range sources[:len(sources)-1] {
				if _, err := os.Stat(repositoryFile(t, source)); err != nil {
					t.Error(err)
				}
			}
		}
		if i == 0 {
			clear(final)
		}
	}
	if user := final["USER"]; user == "" || strings.HasPrefix(user, "0") || strings.HasPrefix(user, "root") {
		t.Errorf("USER is %q", user)
	}
	if check := final["HEALTHCHECK"]; !strings.HasSuffix(check, `CMD ["/usr/local/bin/healthcheck"]`) {
		t.Errorf("HEALTHCHECK is %q", check)
	}
	for _, dir := range []string{"/var/lib/caddy-voyo", "/var/cache/caddy-voyo"} {
		if !strings.Contains(final["VOLUME"], `"`+dir+`"`) {
			t.Errorf("VOLUME lacks %s", dir)
		}
	}
}

// Nothing that the image's programs are made of is kept from it.
func TestDeployDockerignore(t *testing.T) {
	patterns := strings.Fields(regexp.MustCompile(`(?m)^#.*`).ReplaceAllString(readRepository(t, "deploy/Dockerfile.dockerignore"), ""))
	const format = `{{if .Module}}{{if .Module.Main}}{{$dir := .Dir}}{{range .GoFiles}}{{$dir}}/{{.}}
{{end}}{{range .EmbedFiles}}{{$dir}}/{{.}}
{{end}}{{end}}{{end}}`
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", format, "./cmd/caddy", "./deploy/healthcheck")
	cmd.Dir = repositoryFile(t, ".")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(strings.Fields(string(out)), filepath.Join(cmd.Dir, "go.sum")) {
		name, err := filepath.Rel(cmd.Dir, file)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range patterns {
			below, anywhere := strings.CutPrefix(p, "**/")
			matches, _ := path.Match(below, path.Base(name))
			if anywhere && matches || !anywhere && strings.HasPrefix(name, p+"/") {
				t.Errorf("%s is kept from the image by %s", name, p)
			}
		}
	}
	if !slices.Contains(patterns, "**/edge.env") {
		t.Error("the keys would be in the image's layers")
	}
}

func readYAML(t *testing.T, name string, v any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(readRepository(t, name)), v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// The container has no privilege that it does not need, and keeps what it has to.
func TestDeployCompose(t *testing.T) {
	var c struct {
		Services map[string]struct {
			Build       struct{ Context, Dockerfile string }
			EnvFile     string `yaml:"env_file"`
			Environment map[string]string
			MemLimit    string `yaml:"mem_limit"`
			Ports       []string
			Volumes     []string
			ReadOnly    bool     `yaml:"read_only"`
			CapDrop     []string `yaml:"cap_drop"`
			CapAdd      []string `yaml:"cap_add"`
			SecurityOpt []string `yaml:"security_opt"`
			Privileged  bool
			User        string
			Healthcheck struct{ Test []string }
		}
		Volumes map[string]any
	}
	readYAML(t, "deploy/compose.yaml", &c)
	s, ok := c.Services["edge"]
	if !ok {
		t.Fatal("no edge")
	}
	for what, ok := range map[string]bool{
		"built from the Dockerfile":    s.Build.Context == ".." && s.Build.Dockerfile == "deploy/Dockerfile",
		"keys from a file":             s.EnvFile == "edge.env",
		"the image's user":             s.User == "" && !s.Privileged,
		"a read-only root":             s.ReadOnly,
		"no capabilities but one":      slices.Equal(s.CapDrop, []string{"ALL"}) && slices.Equal(s.CapAdd, []string{"NET_BIND_SERVICE"}),
		"no new privileges":            slices.Contains(s.SecurityOpt, "no-new-privileges:true"),
		"HTTP, HTTPS and HTTP/3":       slices.Equal(s.Ports, []string{"80:80", "443:443", "443:443/udp"}),
		"the image's healthcheck":      slices.Equal(s.Healthcheck.Test, []string{"CMD", "/usr/local/bin/healthcheck"}),
		"a bound for memory":           s.MemLimit == "4g" && s.Environment["GOMEMLIMIT"] == "3GiB",
		"a volume for certificates":    slices.Contains(s.Volumes, "data:/var/lib/caddy-voyo"),
		"a volume for the cache":       slices.Contains(s.Volumes, "cache:/var/cache/caddy-voyo"),
		"named volumes":                len(c.Volumes) == 2,
		"the Caddyfile that is tested": slices.Contains(s.Volumes, "./Caddyfile:/etc/caddy-voyo/Caddyfile:ro"),
	} {
		if !ok {
			t.Errorf("compose.yaml lacks %s", what)
		}
	}
}

type workflow struct {
	On          any
	Permissions map[string]string
	Jobs        map[string]struct {
		Uses, Needs, Container string
		Permissions            map[string]string
		Steps                  []struct{ Uses, Run string }
	}
}

// What is pushed is checked by .ci/run, and what is tagged is released after that.
func TestDeployWorkflows(t *testing.T) {
	var ci, release workflow
	readYAML(t, ".github/workflows/ci.yml", &ci)
	readYAML(t, ".github/workflows/release.yml", &release)
	for name, w := range map[string]workflow{"ci": ci, "release": release} {
		if len(w.Permissions) != 1 || w.Permissions["contents"] != "read" {
			t.Errorf("%s: permissions are %v", name, w.Permissions)
		}
		for _, job := range w.Jobs {
			for _, step := range job.Steps {
				if step.Uses != "" && !regexp.MustCompile(`^actions/[a-z-]+@v\d+$`).MatchString(step.Uses) {
					t.Errorf("%s uses %s", name, step.Uses)
				}
			}
		}
	}
	runs := func(w workflow, job string) (commands []string) {
		for _, step := range w.Jobs[job].Steps {
			commands = append(commands, step.Run)
		}
		return commands
	}
	if !slices.Contains(runs(ci, "check"), ".ci/run") {
		t.Error("ci.yml does not run .ci/run")
	}
	if image, from := ci.Jobs["check"].Container, instructions(t)[0][0][1]; !strings.Contains(from, " "+image+" ") {
		t.Errorf("checked in %s, built %s", image, from)
	}
	if release.Jobs["check"].Uses != "./.github/workflows/ci.yml" || release.Jobs["release"].Needs != "check" {
		t.Error("release.yml releases what was not checked")
	}
	if got := release.Jobs["release"].Permissions; len(got) != 1 || got["contents"] != "write" {
		t.Errorf("the release may %v", got)
	}
	commands := strings.Join(runs(release, "release"), "\n")
	for _, want := range []string{`.ci/release "$GITHUB_REF_NAME" dist`, `gh release create "$GITHUB_REF_NAME" --verify-tag`} {
		if !strings.Contains(commands, want) {
			t.Errorf("release.yml lacks %s", want)
		}
	}
	if on, ok := release.On.(map[string]any)["push"]; !ok || !strings.Contains(readRepository(t, ".github/workflows/release.yml"), `tags: ["v*"]`) {
		t.Errorf("released on %v", on)
	}
}
