package voyo_test

import (
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

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
		Uses, Needs string
		Container   struct{ Image, Options string }
		Permissions map[string]string
		Steps       []struct{ Uses, Run string }
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
	if image, from := ci.Jobs["check"].Container.Image, instructions(t)[0][0][1]; !strings.Contains(from, " "+image+" ") {
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
