package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// hitCovers has wrk ask for covers that are in the cache.
func hitCovers(ctx context.Context, t *turn) error {
	objects := cover.objects(warmFamily, warmCovers)
	if err := t.warmUp(ctx, t.client(), objects...); err != nil {
		return err
	}
	var paths strings.Builder
	for _, o := range objects {
		fmt.Fprintf(&paths, "%q, ", t.server.path(o))
	}
	script := filepath.Join(t.dir, "wrk.lua")
	if err := os.WriteFile(script, fmt.Appendf(nil, wrkScript, paths.String()), 0o600); err != nil {
		return err
	}
	return t.measure(ctx, pace{}, func() error {
		out, err := output(ctx, "wrk", "-t2", "-c64", "-d"+t.seconds.String(), "-s", script, "http://"+t.addr[0])
		if err != nil {
			return err
		}
		return t.readWrk(out)
	})
}

// wrkScript asks for the paths in turn, and prints what came of it as the last line.
const wrkScript = `
local paths, requests, last = { %s}, {}, 0
function init()
	for i, path in ipairs(paths) do
		requests[i] = wrk.format("GET", path)
	end -- of the paths
end
function request()
	last = last %% #requests + 1
	return requests[last]
end
function done(all, latency)
	local e = all.errors
	io.write(string.format('{"Requests": %%d, "Duration": %%d, "Failed": %%d, "P50": %%f, "P99": %%f}\n',
		all.requests, all.duration, e.connect + e.read + e.write + e.status + e.timeout,
		latency:percentile(50), latency:percentile(99)))
end
`

func (t *turn) readWrk(out []byte) error {
	var found struct{ Requests, Duration, Failed, P50, P99 float64 } // times are in microseconds
	line := out[bytes.LastIndexByte(bytes.TrimSpace(out), '\n')+1:]
	if err := json.Unmarshal(line, &found); err != nil {
		return fmt.Errorf("wrk: %w: %s", err, out)
	}
	f := t.figures
	f["served"], f["rate"] = found.Requests, found.Requests/found.Duration*1e6
	f["total p50"], f["total p99"] = found.P50/1e3, found.P99/1e3
	t.count("wrk's failures", found.Failed)
	return nil
}

// count notes failures that somebody else has counted.
func (t *turn) count(what string, times float64) {
	if times > 0 {
		t.failed[what] += int(times)
	}
}

// hitCoversTLS has h2load ask for them with TLS, over connections that its arguments describe.
func hitCoversTLS(args ...string) func(context.Context, *turn) error {
	return func(ctx context.Context, t *turn) error {
		objects := cover.objects(warmFamily, warmCovers)
		c := &client{addr: t.addr[1], tls: &tls.Config{RootCAs: t.roots, ServerName: "127.0.0.1", MinVersion: tls.VersionTLS13}}
		if err := t.warmUp(ctx, c, objects...); err != nil {
			return err
		}
		var urls bytes.Buffer
		for _, o := range objects {
			fmt.Fprintf(&urls, "https://%s%s\n", t.addr[1], t.server.path(o))
		}
		list := filepath.Join(t.dir, "urls")
		if err := os.WriteFile(list, urls.Bytes(), 0o600); err != nil {
			return err
		}
		all := append([]string{"-t2", "-D", fmt.Sprint(t.seconds.Seconds()), "-i", list}, args...)
		return t.measure(ctx, pace{}, func() error {
			out, err := output(ctx, "h2load", all...)
			if err != nil {
				return err
			}
			return t.readH2load(out)
		})
	}
}

// h2loadFigures are what is read of h2load's output: the rate, the answers, those that it
// calls failed, those that are 2xx, and the mean time.
var h2loadFigures = regexp.MustCompile(`(?s)finished in \S+, (\S+) req/s.*` +
	`, (\d+) succeeded, (\d+) failed.*` +
	`status codes: (\d+) 2xx.*` +
	`time for request: +\S+ +\S+ +(\S+)`)

func (t *turn) readH2load(out []byte) error {
	m := h2loadFigures.FindSubmatch(out)
	if m == nil {
		return fmt.Errorf("h2load: no figures in %s", out)
	}
	var found [4]float64
	for i := range found {
		n, err := strconv.ParseFloat(string(m[i+1]), 64)
		if err != nil {
			return fmt.Errorf("h2load: %w", err)
		}
		found[i] = n
	}
	mean, err := time.ParseDuration(string(m[5]))
	if err != nil {
		return fmt.Errorf("h2load: %w", err)
	}
	rate, served, failed, good := found[0], found[1], found[2], found[3]
	t.figures["rate"], t.figures["served"], t.figures["mean"] = rate, served, ms(mean)
	// the last ones may have their status, and end after what is measured
	t.count("h2load's failures", failed+max(0, served-good))
	return nil
}

func output(ctx context.Context, program string, args ...string) ([]byte, error) {
	out, err := exec.CommandContext(ctx, program, args...).CombinedOutput() // #nosec G204 -- wrk or h2load
	if err != nil {
		err = fmt.Errorf("%s: %w: %s", program, err, out)
	}
	return out, err
}
