package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"
)

// workload is something that the servers are put to.
type workload struct {
	name, title string
	tool        string // the program that makes the load; none: this one
	tls         bool   // is what it needs
	reference   string // the server that ratios refer to; none: referenceName
	columns     []column
	run         func(ctx context.Context, t *turn) error
}

// column is a figure of a workload's table.
type column struct {
	head, figure string
	// spread has it shown with the least and the most of the rounds, and its ratio to the
	// reference.
	spread bool
}

const (
	warmFamily = "warm" // of objects that are in the cache when it is measured
	warmCovers = 100
	herd       = 200 // clients at once
	chunk      = 64 << 10
)

// The columns of more than one table.
var (
	rate     = column{"requests/s", "rate", true}
	cpuEach  = column{"CPU µs/request", "cpu each", true}
	cpuAll   = column{"CPU ms", "cpu", false}
	first50  = column{"first byte p50 ms", "first p50", false}
	first99  = column{"p99 ms", "first p99", false}
	total50  = column{"total p50 ms", "total p50", false}
	total99  = column{"p99 ms", "total p99", false}
	asked    = column{"upstream requests", "upstream requests", false}
	fetched  = column{"upstream MiB", "upstream MiB", false}
	served   = column{"served", "served", false}
	resident = column{"resident MiB", "resident", true}
	before   = column{"before", "resident before", false}
	shared   = column{"proportional MiB", "proportional", false}
)

// key shows a column's spread and ratio.
func (c column) key() column {
	c.spread = true
	return c
}

var workloads = []workload{
	{
		name: "W1", title: "100 warm covers of 20 KiB, 64 connections (wrk)", tool: "wrk",
		columns: []column{rate, cpuEach, total50, total99, asked}, run: hitCovers,
	},
	{
		name: "W1s-h1", title: "the same with TLS 1.3, 64 connections (h2load)", tool: "h2load", tls: true,
		columns: []column{rate, cpuEach, {"mean ms", "mean", false}, asked}, run: hitCoversTLS("--h1", "-c64"),
	},
	{
		name: "W1s-h2", title: "the same with HTTP/2, 16 connections of 4 streams (h2load)", tool: "h2load", tls: true,
		columns: []column{rate, cpuEach, {"mean ms", "mean", false}, asked}, run: hitCoversTLS("-c16", "-m4"),
	},
	{
		name: "W2", title: "64 KiB ranges of a warm track of 4 MiB, 32 connections",
		columns: []column{rate, cpuEach, first50, first99, total50, total99, asked}, run: hitTrack(32, chunk),
	},
	{
		name: "W3", title: "a whole warm track of 4 MiB, 8 connections",
		columns: []column{
			{"MB/s", "MB/s", true}, {"CPU ms/GiB", "cpu per GiB", true}, first50, first99, total50, total99, asked,
		}, run: hitTrack(8, 0),
	},
	{
		name: "W4", title: "200 clients at once on a cold track (origin: 50 ms, 2 MiB/s, so at least 2,050 ms)",
		columns: []column{first50.key(), first99, total50.key(), total99, asked, fetched, cpuAll, served},
		run:     flock(track, pace{50 * time.Millisecond, 2 << 20}),
	},
	{
		name: "W4a", title: "200 clients at once on a cold cover (origin: 50 ms)",
		columns: []column{first50, first99, total50, total99.key(), asked, fetched, cpuAll, served},
		run:     flock(cover, pace{Delay: 50 * time.Millisecond}),
	},
	{
		name: "W5", title: "128 KiB at 60 MiB of a cold video of 64 MiB (origin: 50 ms, 8 MiB/s)",
		columns: []column{
			{"first byte ms", "first p50", true}, {"total ms", "total p50", true}, asked, fetched,
		}, run: seek,
	},
	{
		name: "W6a", title: "memory for 5,000 covers, which are 98 MiB",
		columns: []column{resident, before, shared, {"CPU µs/miss", "cpu each", false}, asked}, run: fill,
	},
	{
		name: "W6b", title: "most memory with 500 readers of a warm track at 100 KiB/s",
		columns: []column{resident, before, shared, cpuAll, {"KiB/s each", "speed", false}, served}, run: trickle,
	},
	{
		name: "W7", title: "50 cold tracks, one after another (origin: 20 ms)", reference: directName,
		columns: []column{first50.key(), first99, total50.key(), total99, asked, fetched}, run: firstPlays,
	},
	{
		name: "W8", title: "10 cold tracks in ranges of 64 KiB, one after another (origin: 20 ms)", reference: directName,
		columns: []column{total50.key(), total99.key(), asked, fetched, cpuAll}, run: plays,
	},
}

// turn is one workload on one server, which is new, with nothing in its cache.
type turn struct {
	*lab

	server  server
	addr    []string // where it listens: without TLS, and with it
	pid     int      // 0 where there is no server
	seconds time.Duration

	figures map[string]float64
	failed  map[string]int // what went wrong, and how often
}

// note counts what went wrong, by its cause.
func (t *turn) note(err error) {
	for cause := errors.Unwrap(err); cause != nil; cause = errors.Unwrap(err) {
		err = cause
	}
	t.failed[err.Error()]++
}

// measure has the origin count, and takes the time of the server's processes, while a load
// is on it.
func (t *turn) measure(ctx context.Context, p pace, load func() error) error {
	if err := t.origin.set(ctx, p); err != nil {
		return err
	}
	taken := processorTime(t.pid)
	if err := load(); err != nil {
		return err
	}
	cpu := processorTimeSince(t.pid, taken)
	c, err := t.origin.counted(ctx)
	if err != nil {
		return err
	}
	t.figures["upstream requests"], t.figures["upstream MiB"] = float64(c.Requests), float64(c.Bytes)/(1<<20)
	if t.pid != 0 {
		t.figures["cpu"] = ms(cpu)
		t.figures["cpu each"] = ms(cpu) * 1000 / cmp.Or(t.figures["served"], 1)
		t.figures["cpu per GiB"] = ms(cpu) / cmp.Or(t.figures["bytes"], 1) * (1 << 30)
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// warmUp has the objects in the cache, and checks them. The second time is for servers
// that keep what was asked for before nearer at hand.
func (t *turn) warmUp(ctx context.Context, c *client, objects ...object) error {
	defer c.close()
	for range 2 {
		for _, o := range objects {
			if _, err := c.get(ctx, t.server.request(o), nil); err != nil {
				return fmt.Errorf("warming up: %w", err)
			}
		}
	}
	return nil
}
