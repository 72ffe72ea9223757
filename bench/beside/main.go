// Command beside measures the edge beside other caches, beside plain Caddy, and beside
// the least that a Caddy can take. See bench/README.md.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/voyo-music/caddy-voyo/internal/peer"
)

// originArg has the program be the origin.
const originArg = "origin"

// options are what the flags say.
type options struct {
	servers, workloads string
	rounds             int
	seconds            time.Duration
	out                string
}

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	var o options
	flag.StringVar(&o.servers, "servers", "all", "which servers, with commas; \"tuned\": the edge with one setting changed each")
	flag.StringVar(&o.workloads, "workloads", "all", "which workloads, with commas")
	flag.IntVar(&o.rounds, "rounds", 3, "how often each server has its turn")
	seconds := flag.Int("seconds", 8, "how long a load lasts that has no end of its own")
	flag.StringVar(&o.out, "out", "bench/RESULTS.md", "where to write the results")
	flag.Parse()
	o.seconds = time.Duration(*seconds) * time.Second
	do := func() error { return run(ctx, o) }
	if flag.Arg(0) == originArg {
		do = func() error { return serveOrigin(ctx, os.Stdout) }
	}
	err := do()
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "beside:", err)
		os.Exit(1)
	}
}

// run has the servers take turns, workload by workload, and writes what is known after each
// of these.
func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "beside")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // #nosec G302 -- servers that drop root's rights look into it
		return err
	}
	l, stop, err := newLab(ctx, dir)
	if err != nil {
		return err
	}
	defer stop()
	chosen, err := chooseServers(o.servers, l)
	if err != nil {
		return err
	}
	work, err := choose(o.workloads, workloads, func(k workload) string { return k.name })
	if err != nil {
		return err
	}
	var head bytes.Buffer
	if err := o.printHead(ctx, &head, chosen, work); err != nil {
		return err
	}
	var all []record
	for _, k := range work {
		records, err := o.inTurns(ctx, l, k, chosen)
		if err != nil {
			return err
		}
		all = append(all, records...)
		if err := o.write(head.String(), all); err != nil {
			return err
		}
	}
	if slices.ContainsFunc(all, func(r record) bool { return len(r.failed) > 0 }) {
		return errors.New("something has failed: see " + o.out)
	}
	return nil
}

// write writes the report and, beside it, the chart.
func (o options) write(head string, of []record) error {
	picture := strings.TrimSuffix(o.out, filepath.Ext(o.out)) + ".svg"
	var text, drawn bytes.Buffer
	fmt.Fprintf(&text, "%s\n![The figures as bars](%s)\n", head, filepath.Base(picture))
	report(&text, of)
	chart(&drawn, of)
	return errors.Join(
		os.WriteFile(o.out, text.Bytes(), 0o644),    // #nosec G306 -- for everybody
		os.WriteFile(picture, drawn.Bytes(), 0o644)) // #nosec G306 -- for everybody
}

// chooseServers returns those that are named. What is tuned is not among all.
func chooseServers(names string, l *lab) ([]server, error) {
	all := servers(l)
	with := tuned(l, all[0])
	switch names {
	case "all":
		return all, nil
	case tunedName:
		return with, nil
	}
	return choose(names, append(all, with[1:]...), func(s server) string { return s.name })
}

// choose returns those of all that are named.
func choose[T any](names string, all []T, name func(T) string) ([]T, error) {
	if names == "all" {
		return all, nil
	}
	var chosen []T
	for n := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(all, func(v T) bool { return name(v) == n })
		if i < 0 {
			return nil, fmt.Errorf("there is no %q", n)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

func (o options) printHead(ctx context.Context, w *bytes.Buffer, of []server, with []workload) error {
	fmt.Fprintf(w, `# Beside others

Written by `+"`go run ./bench/beside -servers %s -workloads %s -rounds %d -seconds %d`"+`;
[README.md](README.md#beside) says what the workloads and the figures are. Medians of the rounds.

`, o.servers, o.workloads, o.rounds, int(o.seconds.Seconds()))
	if err := printMachine(w); err != nil {
		return err
	}
	return printServers(ctx, w, of, with)
}

// inTurns measures the servers with a workload: A B C, A B C. A turn that fails is part of
// what is found.
func (o options) inTurns(ctx context.Context, l *lab, k workload, of []server) ([]record, error) {
	var all []record
	for round := range o.rounds {
		for _, s := range of {
			if s.workloads != nil && !slices.Contains(s.workloads, k.name) {
				continue
			}
			fmt.Fprintf(os.Stderr, "%s, round %d: %s\n", k.name, round+1, s.name)
			t := &turn{lab: l, server: s, seconds: o.seconds, figures: make(map[string]float64), failed: make(map[string]int)}
			if err := t.take(ctx, k); err != nil {
				if ctx.Err() != nil {
					return nil, ctx.Err()
				}
				fmt.Fprintln(os.Stderr, "beside:", err)
				t.count("not measured", 1)
			}
			all = append(all, record{s.name, k.name, t.figures, t.failed})
		}
	}
	return all, nil
}

// take starts the server, has the workload run on it, and stops it.
func (t *turn) take(ctx context.Context, k workload) error {
	if err := t.origin.set(ctx, pace{}); err != nil {
		return err
	}
	if t.server.start == nil {
		t.addr = []string{string(t.origin)}
		return k.run(ctx, t)
	}
	p, err := t.server.runIn(ctx, t.lab, filepath.Join(t.dir, "server"))
	if err != nil {
		return err
	}
	defer p.Stop()
	t.addr, t.pid = p.Addr, p.PID()
	ctx, cancel := watch(ctx, p)
	defer cancel()
	if err := k.run(ctx, t); err != nil {
		return errors.Join(context.Cause(ctx), err)
	}
	return nil
}

// watch returns a context that ends with the server, because of it.
func watch(ctx context.Context, p *peer.Process) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-p.Done():
			cancel(p.Failure())
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}
