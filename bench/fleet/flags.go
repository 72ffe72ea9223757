package main

import (
	"flag"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/voyo-music/caddy-voyo/cache"
	"github.com/voyo-music/caddy-voyo/internal/sim"
)

// options are what an operator states.
type options struct {
	world

	edges, shields int
	plays          int      // of each of what is compared, as simulated
	only           []string // studies; none: all
	plots          string   // a directory
	cost           cost
	own            machine         // the operator's
	nothing        func() []minute // what comes of no event
}

func parse() options {
	o := options{world: world{
		Edge:     limits{memory: 2 << 30, disk: 100e9, promotion: sim.Promotion},
		Shield:   limits{memory: 2 << 30, disk: 500e9, promotion: sim.Promotion},
		Smallest: 2e6, Largest: 5e6, Slice: cache.DefaultSlice, Habits: habits{Range: 256 << 10},
	}}
	flag.Uint64Var(&o.Seed, "seed", 1, "of all that is made up")
	flag.IntVar(&o.Scale, "scale", 40, "simulate so many times fewer tracks, bytes and listeners")
	flag.IntVar(&o.Tracks, "tracks", 170_500, "tracks, each in two bitrates")
	bytesVar(&o.Smallest, "smallest", "bytes of the smallest object")
	bytesVar(&o.Largest, "largest", "bytes of the largest object")
	bytesVar(&o.Slice, "slice", "bytes of a slice")
	flag.IntVar(&o.ReadAhead, "read-ahead", 1, "slices that are read ahead")
	h := &o.Habits
	flag.Float64Var(&h.Zipf, "zipf", 0.9, "exponent of the tracks' popularity")
	flag.Float64Var(&h.High, "high", 0.7, "share of the plays with the higher bitrate")
	flag.Float64Var(&h.Listened, "listened", 0.6, "share of a track that is heard, on average")
	flag.Float64Var(&h.Skip, "skip", 0.3, "share of the plays that are left after 10 to 30 seconds")
	flag.Float64Var(&h.Seek, "seek", 0.1, "share of the plays that go on elsewhere in the track")
	kbits := flag.Float64("bitrate", 128, "kbit that are heard in a second")
	flag.Float64Var(&h.Buffer, "buffer", 30, "seconds that a player has in advance")
	bytesVar(&h.Range, "range", "bytes that a player asks for at a time")
	flag.Float64Var(&o.Listeners, "listeners", 1_000_000, "at a time, in the region")
	flag.Float64Var(&o.Drift, "drift", 0.02, "share of the tracks that come up in a day, each in the place of another")
	flag.BoolVar(&o.Sticky, "sticky", true, "all of a play goes to one edge; or else each request goes to any")
	flag.IntVar(&o.edges, "edges", 16, "edges, at most 255")
	bytesVar(&o.Edge.disk, "edge-disk", "disk of an edge")
	bytesVar(&o.Edge.memory, "edge-memory", "memory of an edge, for streams")
	flag.IntVar(&o.shields, "shields", 4, "shields")
	bytesVar(&o.Shield.disk, "shield-disk", "disk of a shield")
	bytesVar(&o.Shield.memory, "shield-memory", "memory of a shield, for streams")
	flag.IntVar(&o.plays, "plays", 150_000, "plays that are counted for each row of a table")
	flag.StringVar(&o.plots, "plots", "docs", "directory for the plots")
	only := flag.String("only", "", "of disk, shield, mesh, nodes, loss and purge, with commas; all, unless given")
	flag.DurationVar(&o.cost.request, "cpu-request", 80*time.Microsecond, "of a core, for a request")
	flag.DurationVar(&o.cost.gib, "cpu-gib", 355*time.Millisecond, "of a core, for a GiB that is sent or fetched")
	flag.IntVar(&o.own.cores, "cores", 8, "cores of a node")
	flag.Float64Var(&o.own.nic, "nic", 10, "Gbit/s of a node's network")
	flag.Parse()
	h.Bitrate = *kbits * 1000 / 8
	if *only != "" {
		o.only = strings.Split(*only, ",")
	}
	o.nothing = sync.OnceValue(func() []minute { return o.watched(event{})[0] })
	return o
}

// bytesVar defines a flag for a number of bytes, such as 100GB or 2GiB.
func bytesVar(p *int64, name, usage string) {
	flag.Var((*size)(p), name, usage)
}

type size int64

func (s *size) String() string { return humanize.IBytes(uint64(*s)) } //nolint:gosec // it is not negative

func (s *size) Set(text string) error {
	n, err := humanize.ParseBytes(text)
	*s = size(min(n, math.MaxInt64))
	return err
}
