package voyo_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// metric is one as the scrape has it, or the document.
type metric struct{ name, kind, labels string }

// described returns the metrics that are in a scrape.
func described(text string) (list []metric) {
	label := regexp.MustCompile(`(\w+)="`)
	types := make(map[string]string)
	labels := make(map[string]string)
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); f[0] == "#" {
			if f[1] == "TYPE" {
				types[f[2]] = f[3]
			}
			continue
		}
		name, rest, _ := strings.Cut(line, "{")
		name, _, _ = strings.Cut(name, " ")
		name = regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
		var names []string
		for _, m := range label.FindAllStringSubmatch(rest, -1) {
			if m[1] != "le" {
				names = append(names, m[1])
			}
		}
		slices.Sort(names)
		labels[name] = strings.Join(names, ", ")
	}
	for name, kind := range types {
		list = append(list, metric{name, kind, labels[name]})
	}
	return sortedMetrics(list)
}

func sortedMetrics(list []metric) []metric {
	slices.SortFunc(list, func(a, b metric) int { return strings.Compare(a.name, b.name) })
	return list
}

// The document's table is of the metrics that there are.
func TestMetricsDocument(t *testing.T) {
	row := regexp.MustCompile("(?m)^\\| `(caddy_voyo_\\w+)` \\| (\\w+) \\| (.*?) ?\\| ")
	var documented []metric
	for _, m := range row.FindAllStringSubmatch(readRepository(t, "docs/metrics.md"), -1) {
		names := strings.Split(strings.ReplaceAll(m[3], "`", ""), ", ")
		slices.Sort(names)
		documented = append(documented, metric{m[1], m[2], strings.Join(names, ", ")})
	}
	got, want := sortedMetrics(documented), described(someOfEverything(t))
	if !slices.Equal(got, want) {
		t.Errorf("the document has\n%q\nthe edge has\n%q", got, want)
	}
}

// alert is a rule of deploy/alerts.yml.
type alert struct {
	Alert       string
	Expr        string
	For         string
	Labels      map[string]string
	Annotations map[string]string
}

func alerts(t *testing.T) (list []alert) {
	t.Helper()
	var file struct {
		Groups []struct{ Rules []alert }
	}
	if err := yaml.Unmarshal([]byte(readRepository(t, "deploy/alerts.yml")), &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		list = append(list, g.Rules...)
	}
	if len(list) == 0 {
		t.Fatal("there are no alerts")
	}
	return list
}

// Each alert says all that whoever is woken by it needs, and is in the document.
func TestAlertsAreComplete(t *testing.T) {
	document := readRepository(t, "docs/metrics.md")
	list := alerts(t)
	for _, a := range list {
		if a.For == "" || a.Annotations["summary"] == "" || a.Annotations["description"] == "" || a.Annotations["runbook"] == "" {
			t.Errorf("%s lacks something: %+v", a.Alert, a)
		}
		if !strings.Contains(document, "| `"+a.Alert+"` | "+a.Labels["severity"]+" |") {
			t.Errorf("%s (%s) is not in the document", a.Alert, a.Labels["severity"])
		}
	}
	if n := strings.Count(document, "\n| `Voyo"); n != len(list) {
		t.Errorf("the document has %d alerts, there are %d", n, len(list))
	}
}

// queries returns all that the dashboard, the alerts and the document ask Prometheus.
func queries(t *testing.T) (list []string) {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			Title   string
			Type    string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(readRepository(t, "deploy/grafana-dashboard.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	variables := strings.NewReplacer("$__rate_interval", "5m", "$__range", "6h", "$instance", ".*")
	for _, p := range dashboard.Panels {
		if p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %q asks nothing", p.Title)
		}
		for _, target := range p.Targets {
			list = append(list, variables.Replace(target.Expr))
		}
	}
	if len(list) < 30 {
		t.Errorf("the dashboard has %d queries", len(list))
	}
	for _, a := range alerts(t) {
		list = append(list, a.Expr)
	}
	blocks, _ := codeBlocks(readRepository(t, "docs/metrics.md"), "promql")
	return append(list, blocks...)
}

// What is asked is PromQL, and of metrics that there are, with labels that they have.
func TestQueries(t *testing.T) {
	promtool := tool(t, "promtool")
	type rule struct {
		Record string `yaml:"record"`
		Expr   string `yaml:"expr"`
	}
	var rules []rule
	known := make(map[string]string)
	for _, m := range described(someOfEverything(t)) {
		known[m.name] = m.labels
		if m.kind == "histogram" {
			known[m.name+"_bucket"] = m.labels + ", le"
		}
	}
	name := regexp.MustCompile(`caddy_voyo_\w+(\{[^}]*\})?`)
	label := regexp.MustCompile(`(\w+) *(?:=~|!~|!=|=) *"`)
	for _, q := range queries(t) {
		rules = append(rules, rule{"test:query", q})
		for _, selector := range name.FindAllString(q, -1) {
			metric, matchers, _ := strings.Cut(selector, "{")
			labels, ok := known[metric]
			if !ok {
				t.Errorf("there is no %s, which is asked for by %s", metric, q)
			}
			for _, m := range label.FindAllStringSubmatch(matchers, -1) {
				if m[1] != "instance" && !slices.Contains(strings.Split(labels, ", "), m[1]) {
					t.Errorf("%s has no label %s, which is asked for by %s", metric, m[1], q)
				}
			}
		}
	}
	file, err := yaml.Marshal(map[string]any{"groups": []any{map[string]any{"name": "queries", "rules": rules}}})
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	// that all have one name is of no interest
	if out, err := exec.CommandContext(t.Context(), promtool, "check", "rules", "--lint=none", path).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// Prometheus' own tool accepts the alerts, which fire when they should, and a scrape.
func TestPromtool(t *testing.T) {
	promtool := tool(t, "promtool")
	text := someOfEverything(t)
	for _, args := range [][]string{
		{"check", "rules", "deploy/alerts.yml"},
		{"test", "rules", "deploy/alerts_test.yml"},
		{"check", "metrics"},
	} {
		cmd := exec.CommandContext(t.Context(), promtool, args...)
		cmd.Dir = repositoryFile(t, ".")
		cmd.Stdin = strings.NewReader(text)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v: %s", strings.Join(args, " "), err, out)
		}
	}
}
