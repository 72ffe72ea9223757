package voyo_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A real Prometheus scrapes the edge, knows the alerts, and answers all that the
// dashboard asks.
func TestPrometheus(t *testing.T) {
	e := edgeOfEverything(t)
	p := startPrometheus(t, strings.TrimPrefix(e.url, "http://"))
	eventually(t, "Prometheus has scraped the edge", func() bool {
		return len(p.query(t, `count_over_time(up{job="voyo"}[1m]) > 3 and up{job="voyo"} == 1`)) > 0
	})
	for _, q := range queries(t) {
		p.query(t, q)
	}
	for _, q := range []string{
		`sum(caddy_voyo_requests_total{kind="stream"}) > 0`,
		`sum(caddy_voyo_cache_limit_bytes) > 0`,
		`histogram_quantile(0.9, sum by (le) (caddy_voyo_first_byte_seconds_bucket)) > 0`,
	} {
		if len(p.query(t, q)) == 0 {
			t.Errorf("nothing is found by %s", q)
		}
	}
	var rules struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError string }
		}
	}
	eventually(t, "the alerts are evaluated", func() bool {
		p.get(t, "/api/v1/rules", &rules)
		return !strings.Contains(fmt.Sprint(rules), " unknown ")
	})
	n := 0
	for _, g := range rules.Groups {
		for _, r := range g.Rules {
			if n++; r.Health != "ok" {
				t.Errorf("%s: %s, %s", r.Name, r.Health, r.LastError)
			}
		}
	}
	if want := len(alerts(t)); n != want {
		t.Errorf("%d alerts are known, want %d", n, want)
	}
}

// prometheus is a server of its own, by its URL.
type prometheus string

// startPrometheus starts a server with the repository's alerts, which scrapes a host. It
// ends with the test.
func startPrometheus(t *testing.T, target string) prometheus {
	t.Helper()
	dir := t.TempDir()
	config := fmt.Sprintf(`
global: {scrape_interval: 100ms, evaluation_interval: 100ms}
rule_files: [%s]
scrape_configs:
  - job_name: voyo
    static_configs: [{targets: [%s]}]
`, repositoryFile(t, "deploy/alerts.yml"), target)
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), tool(t, "prometheus"),
		"--config.file="+file, "--storage.tsdb.path="+dir, "--web.listen-address=127.0.0.1:0")
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	})
	var address string
	lines := bufio.NewScanner(log)
	for address == "" && lines.Scan() {
		if _, after, ok := strings.Cut(lines.Text(), `msg="Listening on" address=`); ok {
			address, _, _ = strings.Cut(after, " ")
		}
		t.Log(lines.Text())
	}
	go func() { _, _ = io.Copy(io.Discard, log) }() // or else it would wait for somebody to read
	p := prometheus("http://" + address)
	eventually(t, "Prometheus is ready", func() bool {
		resp, err := http.Get(string(p) + "/-/ready")
		if err != nil {
			return false
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
	return p
}

// query returns what a query finds now.
func (p prometheus) query(t *testing.T, q string) []any {
	t.Helper()
	var found struct{ Result json.RawMessage }
	p.get(t, "/api/v1/query?query="+url.QueryEscape(q), &found)
	var list []any
	if err := json.Unmarshal(found.Result, &list); err != nil {
		t.Errorf("%s: %v", q, err)
	}
	return list
}

// get gets the data of an answer.
func (p prometheus) get(t *testing.T, uri string, data any) {
	t.Helper()
	resp, err := http.Get(string(p) + uri)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var answer struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil || answer.Status != "success" {
		t.Fatalf("%s: %s, %s, %v", uri, resp.Status, answer.Error, err)
	}
	if err := json.Unmarshal(answer.Data, data); err != nil {
		t.Fatal(err)
	}
}
