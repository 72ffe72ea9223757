package voyo_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	voyo "github.com/voyo-music/caddy-voyo"
)

// codeBlocks returns what is in a document's code blocks of a language, each with
// the heading that it stands under.
func codeBlocks(document, language string) (blocks, headings []string) {
	const fence = "```"
	inside, heading := "", "" // inside is the fence that the block began with
	for line := range strings.Lines(document) {
		text := strings.TrimSpace(line)
		switch {
		case inside == "" && strings.HasPrefix(text, fence):
			if inside = text; inside == fence+language {
				blocks, headings = append(blocks, ""), append(headings, heading)
			}
		case inside == "" && strings.HasPrefix(text, "#"):
			heading = strings.TrimLeft(text, "# ")
		case text == fence:
			inside = ""
		case inside == fence+language:
			blocks[len(blocks)-1] += line
		}
	}
	return blocks, headings
}

// session is a command of a console and what it prints.
type session struct{ command, output string }

func sessions(block string) (list []session) {
	for line := range strings.Lines(block) {
		if command, ok := strings.CutPrefix(line, "$ "); ok {
			list = append(list, session{command: strings.TrimSpace(command)})
			continue
		}
		list[len(list)-1].output += line
	}
	return list
}

// What README shows of a console is what happens.
func TestReadmeConsole(t *testing.T) {
	shell := tool(t, "bash")
	for _, program := range []string{"curl", "ffprobe", "grep"} {
		tool(t, program)
	}
	d := startDemo(t, false)
	here, ours := "localhost:8080", "localhost:"+d.port
	countdown := regexp.MustCompile(`\bttl=\d+`)
	dir := t.TempDir()

	run := 0
	blocks, _ := codeBlocks(readRepository(t, "README.md"), "console")
	for _, block := range blocks {
		for _, s := range sessions(block) {
			cmd := exec.CommandContext(t.Context(), shell, "-c", strings.ReplaceAll(s.command, here, ours))
			cmd.Dir = dir
			cmd.Stderr = t.Output()
			out, _ := cmd.Output() // grep -c fails when it counts nothing
			got := strings.ReplaceAll(strings.ReplaceAll(string(out), "\r", ""), ours, here)
			if countdown.ReplaceAllString(got, "ttl=") != countdown.ReplaceAllString(s.output, "ttl=") {
				t.Errorf("%s\nprints\n%s\nREADME has\n%s", s.command, got, s.output)
			}
			run++
		}
	}
	if run < 10 {
		t.Errorf("only %d commands were found", run)
	}
}

// README's Caddyfile is the JSON that it says it is, and lacks no option.
func TestReadmeConfiguration(t *testing.T) {
	document := readRepository(t, "README.md")
	caddyfiles, headings := codeBlocks(document, "caddyfile")
	i := slices.Index(headings, "JSON")
	blocks, _ := codeBlocks(document, "json")
	if i < 0 || len(blocks) == 0 {
		t.Fatal("README has no configuration in JSON")
	}
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(":80 {\nroute {\n"+caddyfiles[i]+"\n}\n}"), nil)
	if err != nil {
		t.Fatal(err)
	}
	from := bytes.Index(adapted, []byte(`{"allowed_origins"`))
	if from < 0 {
		t.Fatalf("no handler in %s", adapted)
	}
	got, want := canonical(t, string(adapted[from:])), canonical(t, blocks[0])
	if got != want {
		t.Errorf("the Caddyfile is\n%s\nREADME has\n%s", got, want)
	}
	var options map[string]json.RawMessage
	if err := json.Unmarshal([]byte(blocks[0]), &options); err != nil {
		t.Fatal(err)
	}
	for option := range options {
		if option != "handler" && !strings.Contains(document, "| `"+strings.TrimSuffix(option, "s")) {
			t.Errorf("README's table has no %s", option)
		}
	}
}

// canonical returns the configuration of a handler in one form, however the
// durations in it are written.
func canonical(t *testing.T, config string) string {
	t.Helper()
	var h voyo.Handler
	var raw struct {
		Resolvers []map[string]any `json:"resolvers"`
		Transport map[string]any   `json:"transport"`
	}
	for _, v := range []any{&h, &raw} {
		// what follows the handler is not of interest
		if err := json.NewDecoder(strings.NewReader(config)).Decode(v); err != nil {
			t.Fatal(err)
		}
	}
	for _, r := range raw.Resolvers {
		if s, ok := r["timeout"].(string); ok {
			d, err := caddy.ParseDuration(s)
			if err != nil {
				t.Fatal(err)
			}
			r["timeout"] = float64(d)
		}
	}
	h.ResolversRaw, h.TransportRaw = nil, nil
	out, err := json.MarshalIndent([]any{h, raw}, "", "\t")
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// The production node at the end of Caddyfile.example is one that can be loaded.
func TestProductionExample(t *testing.T) {
	for _, name := range []string{"R2_ACCESS_KEY_ID", "R2_SECRET_ACCESS_KEY", "VOYO_API_KEY"} {
		t.Setenv(name, "made-up")
	}
	_, example, found := strings.Cut(readRepository(t, "Caddyfile.example"), "\n#\n# {\n")
	if !found {
		t.Fatal("there is none")
	}
	node := regexp.MustCompile(`(?m)^# ?`).ReplaceAllString("# {\n"+example, "")
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(node), nil)
	if err != nil {
		t.Fatal(err)
	}
	var cfg *caddy.Config
	if err := json.Unmarshal(adapted, &cfg); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(cfg); err != nil {
		t.Error(err)
	}
}

// The documents link to files that are there.
func TestDocumentsLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([\w./-]+)\)`)
	for _, name := range []string{"README.md", "xcaddy.md", "CHANGELOG.md", "testdata/demo/README.md"} {
		dir := filepath.Dir(repositoryFile(t, name))
		for _, m := range link.FindAllStringSubmatch(readRepository(t, name), -1) {
			if _, err := os.Stat(filepath.Join(dir, m[1])); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
}
