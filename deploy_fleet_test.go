package voyo_test

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/voyo-music/caddy-voyo/internal/netlab"
	"github.com/voyo-music/caddy-voyo/internal/peer"
	"github.com/voyo-music/caddy-voyo/internal/tools"
)

// fleetVariables returns what the examples of the fleet's files for the environment have.
func fleetVariables(t *testing.T) map[string]string {
	t.Helper()
	variables := make(map[string]string)
	for _, name := range []string{"deploy/fleet/fleet.env.example", "deploy/fleet/nats.env.example"} {
		for line := range strings.Lines(readRepository(t, name)) {
			if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(line, "#") {
				variables[name] = value
			}
		}
	}
	return variables
}

// deploy/fleet/Caddyfile is a node that can be loaded, with what the examples have.
func TestDeployFleetCaddyfile(t *testing.T) {
	for name, value := range fleetVariables(t) {
		t.Setenv(name, value)
	}
	t.Setenv("NODE_NAME", "edge-1")
	text := readRepository(t, "deploy/fleet/Caddyfile")
	if string(caddyfile.Format([]byte(text))) != text {
		t.Error("not formatted as caddy fmt does it")
	}
	adapted := checkCaddyfile(t, text)
	for _, secret := range []string{"R2_SECRET_ACCESS_KEY", "NATS_PASSWORD"} {
		if bytes.Contains(adapted, []byte(os.Getenv(secret))) {
			t.Errorf("%s is in the configuration", secret)
		}
	}
}

// Docker's part of the fleet fits the rest of it. That its images run is not tested: that
// needs Docker.
func TestDeployFleetCompose(t *testing.T) {
	type service struct {
		Image       string
		EnvFile     any `yaml:"env_file"`
		Environment map[string]string
		Ports       []string
		Volumes     []string
		ReadOnly    bool     `yaml:"read_only"`
		CapDrop     []string `yaml:"cap_drop"`
		SecurityOpt []string `yaml:"security_opt"`
		StopGrace   string   `yaml:"stop_grace_period"`
		Networks    []string
		Healthcheck struct{ Test []string }
	}
	var c struct {
		Services map[string]service
		Volumes  map[string]any
		Networks map[string]any
	}
	readYAML(t, "deploy/fleet/compose.yaml", &c)
	variables := fleetVariables(t)
	conf := readRepository(t, "deploy/fleet/nats.conf")
	hosts := func(text, pattern string) (names []string) {
		for _, m := range regexp.MustCompile(pattern).FindAllStringSubmatch(text, -1) {
			names = append(names, m[1])
		}
		return names
	}
	edges := []string{"edge-1", "edge-2", "edge-3"}
	servers := []string{"nats-1", "nats-2", "nats-3"}
	for what, got := range map[string][]string{
		"shields":       hosts(variables["SHIELDS"], `http://([\w-]+):8080`),
		"NATS' URLs":    hosts(variables["NATS_URLS"], `@([\w-]+):4222`),
		"NATS' routes":  hosts(conf, `"nats://([\w-]+):6222"`),
		"NATS' volumes": slices.DeleteFunc(slices.Sorted(maps.Keys(c.Volumes)), func(v string) bool { return !strings.HasPrefix(v, "nats-") }),
	} {
		if want := map[bool][]string{true: edges, false: servers}[what == "shields"]; !slices.Equal(got, want) {
			t.Errorf("%s are %v", what, got)
		}
	}
	if got, want := slices.Sorted(maps.Keys(c.Services)), slices.Concat(edges, servers); !slices.Equal(got, want) {
		t.Fatalf("services are %v", got)
	}
	grace := hosts(readRepository(t, "deploy/fleet/Caddyfile"), `grace_period (\w+)`)
	used := make(map[string]string)
	for name, s := range c.Services {
		edge := strings.HasPrefix(name, "edge-")
		for what, ok := range map[string]bool{
			"a read-only root":  s.ReadOnly,
			"no capabilities":   slices.Equal(s.CapDrop, []string{"ALL"}),
			"no new privileges": slices.Contains(s.SecurityOpt, "no-new-privileges:true"),
			"a name of its own": s.Environment["NODE_NAME"] == name || s.Environment["NATS_NAME"] == name,
			"a healthcheck":     len(s.Healthcheck.Test) > 1,
			"no keys but its":   edge && fmt.Sprint(s.EnvFile) == "[fleet.env nats.env]" || !edge && fmt.Sprint(s.EnvFile) == "nats.env",
			"ports for players": len(s.Ports) == map[bool]int{true: 1}[edge],
			"a network inside":  slices.Contains(s.Networks, "fleet") && slices.Contains(s.Networks, "players") == edge,
			"the tested file":   slices.Contains(s.Volumes, "./Caddyfile:/etc/caddy-voyo/Caddyfile:ro") || slices.Contains(s.Volumes, "./nats.conf:/etc/nats/nats.conf:ro"),
		} {
			if !ok {
				t.Errorf("%s lacks %s", name, what)
			}
		}
		if edge {
			stop, err := time.ParseDuration(s.StopGrace)
			must(t, err)
			if longest, err := time.ParseDuration(grace[0]); err != nil || stop <= longest {
				t.Errorf("%s is killed after %s, and may take %v, %v", name, stop, grace, err)
			}
		} else if !strings.HasPrefix(s.Image, "nats:"+natsVersion(t)) {
			t.Errorf("%s is %s, and tested is %s", name, s.Image, natsVersion(t))
		}
		for _, v := range append(s.Volumes, s.Ports...) {
			from, _, _ := strings.Cut(v, ":")
			if other, again := used[from]; again && !strings.HasPrefix(from, ".") {
				t.Errorf("%s and %s have both %s", name, other, from)
			}
			used[from] = name
		}
	}
	for volume := range c.Volumes {
		if used[volume] == "" {
			t.Errorf("nobody uses %s", volume)
		}
	}
}

// natsVersion is that of the server that the tests run.
func natsVersion(t *testing.T) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), tools.Path(t, "nats-server"), "--version").Output()
	must(t, err)
	return strings.TrimPrefix(strings.TrimSpace(string(out)), "nats-server: v")
}

// The files of the fleet make three nodes and three servers one: a takedown is acknowledged by
// all nodes, and a track that all are asked for leaves the bucket once.
func TestDeployFleetRuns(t *testing.T) {
	songs := newSongs(0, 10, 256<<10)
	f := newFleet(t, 3, songs...)
	places := []string{"//localhost", "//" + f.nodes[0].bind} // what the examples say, and where it is here
	for i, c := range f.nodes {
		places = append(places, f.name(i+1)+":", c.bind+":")
	}
	var servers []*netlab.Host
	for i := range 3 {
		servers = append(servers, f.host(t))
		places = append(places, fmt.Sprintf("nats-%d:", i+1), servers[i].Addr().String()+":")
	}
	here := strings.NewReplacer(places...)
	variables := fleetVariables(t)
	for i, h := range servers {
		startDeployedNATS(t, h, here, "NATS_NAME="+fmt.Sprintf("nats-%d", i+1), "NATS_USER="+variables["NATS_USER"],
			"NATS_PASSWORD="+variables["NATS_PASSWORD"])
	}
	for i, c := range f.nodes {
		must(t, os.WriteFile(filepath.Join(c.dir, "Caddyfile"), []byte(readRepository(t, "deploy/fleet/Caddyfile")), 0o600))
		for name, value := range variables {
			c.env = append(c.env, name+"="+here.Replace(value))
		}
		c.env = append(c.env, "NODE_NAME="+f.name(i+1), "EDGE_SITE="+c.url, "CACHE_DIRECTORY="+c.disk, "S3_ENDPOINT="+f.archive.URL)
		c.start(t)
	}
	for i, c := range f.nodes {
		f.awaitHealthy(t, i)
		c.mustHearAll(t, songs, 4)
	}
	if n := f.archive.requests.Load(); n != int64(len(songs)) {
		t.Errorf("the bucket was asked %d times for %d tracks", n, len(songs))
	}
	f.mustTell(t, 0, takedownURI, songs[0])
	for _, c := range f.nodes {
		c.mustBeTakenDown(t, songs[0])
	}
}

// startDeployedNATS starts a server of deploy/fleet/nats.conf.
func startDeployedNATS(t *testing.T, h *netlab.Host, here *strings.Replacer, env ...string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "nats.conf")
	text := strings.ReplaceAll(here.Replace(readRepository(t, "deploy/fleet/nats.conf")), `"/data"`, `"`+t.TempDir()+`"`)
	must(t, os.WriteFile(file, []byte(text), 0o600))
	cmd := h.Command(t.Context(), tools.Path(t, "nats-server"), "-c", file)
	cmd.Env = append(os.Environ(), env...)
	p, err := peer.Start(cmd, regexp.MustCompile(`Server is ready`))
	must(t, err)
	t.Cleanup(p.Stop)
}
