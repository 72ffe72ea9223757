package voyo_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// What the tests see of an edge in a process of its own, beside what it answers.

// series returns what Prometheus gets of the process, by series, as in go_goroutines.
func (c *child) series(t *testing.T) scrape {
	t.Helper()
	a := c.administer(t, http.MethodGet, "/metrics", "")
	s := make(scrape)
	for lines := bufio.NewScanner(bytes.NewReader(a.body)); lines.Scan(); {
		series, value, ok := strings.Cut(lines.Text(), " ")
		if v, err := strconv.ParseFloat(value, 64); ok && err == nil {
			s[series] = v
		}
	}
	return s
}

// usage returns what the process uses of things that are limited.
func (c *child) usage(t *testing.T) usage {
	t.Helper()
	goroutines, ok := c.series(t)["go_goroutines"]
	if !ok {
		t.Fatal("the edge does not tell how many goroutines it has")
	}
	return usage{int(goroutines), len(c.descriptors(t))}
}

func (c *child) settledUsage(t *testing.T) usage {
	t.Helper()
	return settle(t, c.node, c.usage)
}

// mustUseNoMore waits until the edge uses no more than it did, but for a few threads and
// connections of its own.
func (c *child) mustUseNoMore(t *testing.T, before usage) {
	t.Helper()
	within := func(now usage) bool { return now.goroutines <= before.goroutines+10 && now.files <= before.files+5 }
	var after usage
	defer func() {
		if !within(after) {
			t.Logf("%+v before, %+v after; open: %q\n%s", before, after, c.descriptors(t), c.goroutines(t))
		}
	}()
	eventually(t, "the edge uses no more than before", func() bool {
		c.client.CloseIdleConnections()
		after = c.usage(t)
		return within(after)
	})
}

// goroutines returns what the process's goroutines are at.
func (c *child) goroutines(t *testing.T) string {
	t.Helper()
	return string(c.administer(t, http.MethodGet, "/debug/pprof/goroutine?debug=1", "").body)
}

// descriptors returns what the process has open.
func (c *child) descriptors(t *testing.T) (open []string) {
	t.Helper()
	dir := fmt.Sprintf("/proc/%d/fd", c.cmd.Process.Pid)
	entries, err := os.ReadDir(dir)
	must(t, err)
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // closed meanwhile
			t.Fatal(err)
		}
		open = append(open, target)
	}
	return open
}

// mustLeaveNoTemps waits until no file is being written in a disk's directory.
func mustLeaveNoTemps(t *testing.T, disk string) {
	t.Helper()
	eventually(t, "nothing is left of what was being written", func() bool {
		left, err := filepath.Glob(filepath.Join(disk, "*", "tmp", "*"))
		must(t, err)
		return len(left) == 0
	})
}

// reload has the process load a site, as caddy reload does.
func (c *child) reload(t *testing.T, site string) {
	t.Helper()
	c.configure(t, site)
	config, err := os.ReadFile(filepath.Join(c.dir, "Caddyfile"))
	must(t, err)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+c.admin+"/load", bytes.NewReader(config))
	must(t, err)
	r.Header = with("Content-Type", "text/caddyfile", "Cache-Control", "must-revalidate")
	resp, err := manage(c.operator, r)
	must(t, err)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(resp.Body)
		t.Fatalf("reload: %s: %s", resp.Status, text)
	}
}
