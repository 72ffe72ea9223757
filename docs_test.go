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
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

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

// documents are those for users. What is in their code blocks is tried.
func documents(t *testing.T) []string {
	t.Helper()
	docs, err := filepath.Glob(filepath.Join(repositoryFile(t, "docs"), "*.md"))
	if err != nil || len(docs) == 0 {
		t.Fatal(docs, err)
	}
	names := []string{"README.md", "xcaddy.md"}
	for _, doc := range docs {
		names = append(names, "docs/"+filepath.Base(doc))
	}
	return names
}

// What the documents show of a console is what happens, on the demo.
func TestDocumentsConsole(t *testing.T) {
	shell := tool(t, "bash")
	for _, program := range []string{"curl", "ffprobe", "grep"} {
		tool(t, program)
	}
	for _, name := range documents(t) {
		blocks, _ := codeBlocks(readRepository(t, name), "console")
		if name == "README.md" && len(blocks) < 5 {
			t.Errorf("only %d blocks were found", len(blocks))
		}
		if len(blocks) == 0 {
			continue
		}
		t.Run(name, func(t *testing.T) { runConsole(t, shell, blocks) })
	}
}

// runConsole runs the commands of a document's blocks, in their order.
func runConsole(t *testing.T, shell string, blocks []string) {
	t.Helper()
	d := startDemo(t, false)
	here, ours := "localhost:8080", "localhost:"+d.port
	// what differs each time
	countdown := regexp.MustCompile(`\b(ttl|dur)=[\d.]+`)
	dir := t.TempDir()
	for _, block := range blocks {
		for _, s := range sessions(block) {
			cmd := exec.CommandContext(t.Context(), shell, "-c", strings.ReplaceAll(s.command, here, ours))
			cmd.Dir = dir
			cmd.Stderr = t.Output()
			out, _ := cmd.Output() // grep -c fails when it counts nothing
			got := strings.ReplaceAll(strings.ReplaceAll(string(out), "\r", ""), ours, here)
			if countdown.ReplaceAllString(got, "$1=") != countdown.ReplaceAllString(s.output, "$1=") {
				t.Errorf("%s\nprints\n%s\nthe document has\n%s", s.command, got, s.output)
			}
		}
	}
}

// Commands that can't be tried here, as they install things, are at least such.
func TestDocumentsShell(t *testing.T) {
	shell := tool(t, "bash")
	for _, name := range documents(t) {
		blocks, headings := codeBlocks(readRepository(t, name), "sh")
		// what is shown of a node that is not the demo
		texts, textHeadings := codeBlocks(readRepository(t, name), "text")
		for i, text := range texts {
			if !strings.HasPrefix(text, "$ ") {
				continue // an answer, or a picture
			}
			for _, s := range sessions(text) {
				blocks, headings = append(blocks, s.command), append(headings, textHeadings[i])
			}
		}
		for i, block := range blocks {
			cmd := exec.CommandContext(t.Context(), shell, "-n")
			cmd.Stdin = strings.NewReader(block)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%s, %s: %v: %s", name, headings[i], err, out)
			}
		}
	}
}

// setKeys sets the keys that the examples take from the environment.
func setKeys(t *testing.T) {
	t.Helper()
	for _, name := range []string{
		"R2_ACCESS_KEY_ID", "R2_SECRET_ACCESS_KEY", "VOYO_API_KEY", "VOYO_LINK_KEY", "VOYO_OLD_LINK_KEY",
	} {
		t.Setenv(name, "made-up and long enough")
	}
	t.Setenv("VOYO_NATS_CREDENTIALS", voyo.NewCredentials(t))
}

// checkCaddyfile checks that a Caddyfile is one that could be loaded.
func checkCaddyfile(t *testing.T, caddyfile string) (adapted []byte) {
	t.Helper()
	adapted, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), nil)
	if err != nil {
		t.Fatalf("%v in\n%s", err, caddyfile)
	}
	checkConfig(t, adapted)
	return adapted
}

func checkConfig(t *testing.T, config []byte) {
	t.Helper()
	var cfg *caddy.Config
	if err := json.Unmarshal(config, &cfg); err != nil {
		t.Fatalf("%v in\n%s", err, config)
	}
	if err := caddy.Validate(cfg); err != nil {
		t.Errorf("%v in\n%s", err, config)
	}
}

// inSite makes a whole Caddyfile of what belongs into a site.
func inSite(directives string) string { return ":80 {\n" + directives + "\n}" }

// The Caddyfiles in the documents can be loaded, be they whole or what belongs into a
// site. README's form of the directive is none.
func TestDocumentsCaddyfiles(t *testing.T) {
	setKeys(t)
	for _, name := range documents(t) {
		blocks, headings := codeBlocks(readRepository(t, name), "caddyfile")
		for i, block := range blocks {
			if strings.Contains(block, "<matcher>") {
				continue
			}
			t.Run(name+" "+headings[i], func(t *testing.T) {
				if whole := regexp.MustCompile(`^(\{|[\w.:/]+ \{\n\t*(route|voyo|log|@))`); !whole.MatchString(block) {
					block = inSite(block)
				}
				checkCaddyfile(t, block)
			})
		}
	}
}

// The JSON in the documents is JSON. That of a handler can be loaded, and so can that
// of a whole configuration.
func TestDocumentsJSON(t *testing.T) {
	setKeys(t)
	for _, name := range documents(t) {
		blocks, headings := codeBlocks(readRepository(t, name), "json")
		for i, block := range blocks {
			t.Run(name+" "+headings[i], func(t *testing.T) {
				var object map[string]any
				if err := json.Unmarshal([]byte(block), &object); err != nil {
					t.Fatal(err)
				}
				switch {
				case object["apps"] != nil:
					checkConfig(t, []byte(block))
				case object["handler"] != nil:
					checkConfig(t, []byte(`{"apps":{"http":{"servers":{"edge":{"routes":[{"handle":[`+block+`]}]}}}}}`))
				}
			})
		}
	}
}

// deploy/Caddyfile is a node that can be loaded, with what edge.env.example has.
func TestDeployCaddyfile(t *testing.T) {
	for line := range strings.Lines(readRepository(t, "deploy/edge.env.example")) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(line, "#") {
			t.Setenv(name, value)
		}
	}
	text := readRepository(t, "deploy/Caddyfile")
	if string(caddyfile.Format([]byte(text))) != text {
		t.Error("not formatted as caddy fmt does it")
	}
	if adapted := checkCaddyfile(t, text); bytes.Contains(adapted, []byte("made-up")) {
		t.Error("the keys are in the configuration")
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
	setKeys(t)
	_, example, found := strings.Cut(readRepository(t, "Caddyfile.example"), "\n#\n# {\n")
	if !found {
		t.Fatal("there is none")
	}
	node := regexp.MustCompile(`(?m)^# ?`).ReplaceAllString("# {\n"+example, "")
	checkCaddyfile(t, node)
}

// anchorOf returns the anchor that GitHub gives a heading.
func anchorOf(heading string) string {
	heading = regexp.MustCompile("[^a-z0-9 _-]").ReplaceAllString(strings.ToLower(heading), "")
	return strings.ReplaceAll(heading, " ", "-")
}

// The documents link to files that are there, and to headings in them.
func TestDocumentsLinks(t *testing.T) {
	link := regexp.MustCompile(`\]\(([\w./-]*)(?:#([\w-]+))?\)`)
	headings := regexp.MustCompile(`(?m)^#+ (.*)$`)
	for _, name := range append(documents(t), "CHANGELOG.md", "testdata/demo/README.md") {
		dir := filepath.Dir(repositoryFile(t, name))
		text := readRepository(t, name)
		for _, m := range link.FindAllStringSubmatch(text, -1) {
			to := text
			if m[1] != "" {
				target := filepath.Join(dir, m[1])
				if _, err := os.Stat(target); err != nil {
					t.Errorf("%s: %v", name, err)
					continue
				}
				if filepath.Ext(target) != ".md" {
					continue
				}
				b, err := os.ReadFile(target)
				if err != nil {
					t.Fatal(err)
				}
				to = string(b)
			}
			has := func(h []string) bool { return anchorOf(h[1]) == m[2] }
			if m[2] != "" && !slices.ContainsFunc(headings.FindAllStringSubmatch(to, -1), has) {
				t.Errorf("%s links to %s#%s, and there is no such heading", name, m[1], m[2])
			}
		}
	}
}

// README leads to all documents.
func TestDocumentsIndex(t *testing.T) {
	readme := readRepository(t, "README.md")
	for _, name := range documents(t)[1:] {
		if !strings.Contains(readme, "]("+name+")") {
			t.Errorf("README does not link to %s", name)
		}
	}
}
