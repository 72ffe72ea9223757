package voyo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
)

// statusFlags are how the status is shown.
type statusFlags struct {
	admin    adminFlags
	json     bool
	fleet    bool
	watch    bool
	interval time.Duration
	count    int
}

func statusCommand() *cobra.Command {
	var f statusFlags
	cmd := &cobra.Command{
		Use:   "status [--json] [--fleet | --watch [--interval <duration>] [--count <n>]]",
		Short: "Shows how the node is",
		Long: `
Shows how the node is: whether it is healthy, what its caches hold, and how its
resolvers and shields do.

With --watch it goes on until it is interrupted: on a terminal the picture is
renewed, with the hit ratio and the requests of the last interval; otherwise
there is a line for each. With --json each is the admin API's answer.

With --fleet it is how all nodes of its fleet are, of which it asks each.

The exit status is 0 if the node answers, be it well or not.
`,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: concluding(func(cmd *cobra.Command, args []string) error {
			switch {
			case len(args) > 0:
				return usageError{fmt.Errorf("unknown argument %q", args[0])}
			case f.fleet && f.watch:
				return usageError{errors.New("a fleet can't be watched: see its metrics")}
			case f.fleet:
				return f.showFleet(cmd.OutOrStdout())
			case f.interval <= 0:
				return usageError{errors.New("the interval must be positive")}
			case !f.watch:
				return f.show(cmd.OutOrStdout())
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt)
			defer stop()
			return f.follow(ctx, cmd.OutOrStdout())
		}),
	}
	f.admin.add(cmd)
	cmd.Flags().BoolVarP(&f.json, "json", "", false, "Print the admin API's answer")
	cmd.Flags().BoolVarP(&f.fleet, "fleet", "", false, "Show all nodes of the fleet")
	cmd.Flags().BoolVarP(&f.watch, "watch", "w", false, "Go on until interrupted")
	cmd.Flags().DurationVarP(&f.interval, "interval", "", time.Second, "Time between two looks")
	cmd.Flags().IntVarP(&f.count, "count", "", 0, "End after that many looks (default never)")
	return cmd
}

// look asks the node how it is.
func (f *statusFlags) look() (s nodeStatus, raw json.RawMessage, err error) {
	if err = f.admin.ask(http.MethodGet, "/voyo/status", nil, &raw); err != nil {
		return s, nil, err
	}
	err = json.Unmarshal(raw, &s)
	return s, raw, err
}

// show shows the status once.
func (f *statusFlags) show(w io.Writer) error {
	s, raw, err := f.look()
	if err != nil {
		return err
	}
	if f.json {
		_, err = fmt.Fprintf(w, "%s\n", raw)
		return err
	}
	return s.print(w)
}

// follow shows the status again and again, until ctx is done.
func (f *statusFlags) follow(ctx context.Context, w io.Writer) error {
	next := time.NewTicker(f.interval)
	defer next.Stop()
	var before nodeStatus
	var then time.Time
	for n := 1; ; n++ {
		s, raw, err := f.look()
		if err != nil {
			return err
		}
		now := time.Now()
		var pace pace
		if n > 1 {
			pace = paceOf(before, s, now.Sub(then))
		}
		if err := f.draw(w, s, raw, pace, now); err != nil {
			return err
		}
		if n == f.count {
			return nil
		}
		before, then = s, now
		select {
		case <-next.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// draw shows one of the looks.
func (f *statusFlags) draw(w io.Writer, s nodeStatus, raw json.RawMessage, p pace, now time.Time) error {
	if f.json {
		enc := json.NewEncoder(w) // which puts it on one line
		return enc.Encode(raw)
	}
	if isTerminal(w) {
		fmt.Fprint(w, "\x1b[H\x1b[J") // all of the screen anew
		if err := s.print(w); err != nil {
			return err
		}
		_, err := fmt.Fprintf(w, "\n%s  %s\n", now.Format(time.TimeOnly), p)
		return err
	}
	_, err := fmt.Fprintf(w, "%s %s %s memory=%d\n", now.Format(time.TimeOnly), s.Status, p, s.Caches.bytes())
	return err
}

// pace is what happened between two looks.
type pace struct {
	known         bool    // there were two
	requests      float64 // in a second
	sent          uint64  // bytes, likewise
	hitRatio      float64 // below zero: nothing was asked for
	activeStreams int64
	fills         int
}

// paceOf compares two looks. Figures that went back are those of another process, or of
// other caches.
func paceOf(before, now nodeStatus, elapsed time.Duration) pace {
	h0, m0 := before.Caches.requests()
	h1, m1 := now.Caches.requests()
	hits, misses := max(h1-h0, 0), max(m1-m0, 0)
	sent := float64(max(now.Caches.sent()-before.Caches.sent(), 0))
	p := pace{known: true, hitRatio: -1, activeStreams: now.ActiveStreams, fills: now.Caches.fills()}
	p.sent = uint64(sent / elapsed.Seconds())
	if n := hits + misses; n > 0 {
		p.requests = float64(n) / elapsed.Seconds()
		p.hitRatio = float64(hits) / float64(n)
	}
	return p
}

// String is one line.
func (p pace) String() string {
	if !p.known {
		return "requests/s=- sent/s=- hits=-"
	}
	ratio := "-"
	if p.hitRatio >= 0 {
		ratio = fmt.Sprintf("%.1f%%", 100*p.hitRatio)
	}
	sent := strings.ReplaceAll(humanize.IBytes(p.sent), " ", "")
	return fmt.Sprintf("requests/s=%.1f sent/s=%s hits=%s streams=%d fills=%d", p.requests, sent, ratio, p.activeStreams, p.fills)
}

func (c cachesStatus) list() []cacheStatus { return []cacheStatus{c.Stream, c.Art, c.Page} }

func (c cachesStatus) requests() (hits, misses int64) {
	for _, one := range c.list() {
		hits, misses = hits+one.Hits, misses+one.Misses
	}
	return hits, misses
}

func (c cachesStatus) sent() (n int64) {
	for _, one := range c.list() {
		n += one.Sent
	}
	return n
}

func (c cachesStatus) fills() (n int) {
	for _, one := range c.list() {
		n += one.Fills
	}
	return n
}

func (c cachesStatus) bytes() (n int64) {
	for _, one := range c.list() {
		n += one.Bytes
	}
	return n
}

// print prints the status for somebody to read.
func (s nodeStatus) print(w io.Writer) error {
	fmt.Fprintf(w, "voyo %s, Caddy %s: %s, up %s\n", s.Version, s.Caddy, s.Status, time.Duration(s.Uptime)*time.Second)
	for _, reason := range s.Reasons {
		fmt.Fprintln(w, "  "+reason)
	}
	if s.Fleet != nil {
		fmt.Fprintf(w, "node %s of a fleet, %s behind, %s down\n", s.Fleet.Node, entriesOf(s.Fleet.Lag), counted(s.Takedowns, "track"))
	}
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	s.printTables(table)
	for _, node := range s.Nodes {
		fmt.Fprintf(table, "\nNODE %s\n", node.Name)
		node.printTables(table)
	}
	return table.Flush()
}

func (s *stateStatus) printTables(w io.Writer) {
	fmt.Fprintf(w, "%s being answered, %s active, %s prefetched, %s remembered\n\n",
		counted(s.Requests, "request"), counted(int(s.ActiveStreams), "stream"),
		counted(s.Prefetches.Warm, "track"), counted(s.Locations.Remembered, "location"))
	fmt.Fprintln(w, "CACHE\tHITS\tMISSES\tRATIO\tENTRIES\tMEMORY\tDISK\tFILLS")
	for i, c := range s.Caches.list() {
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%d\t%s\t%s\t%d\n",
			[]string{"stream", "art", "page"}[i], c.Hits, c.Misses, c.ratio(), c.Entries, filled(c.Bytes, c.Limit), c.Disk, c.Fills)
	}
	fmt.Fprintln(w, "\nRESOLVER\tSTATUS")
	for _, r := range s.Resolvers {
		status := r.Status
		if r.Reason != "" {
			status += ": " + r.Reason
		}
		fmt.Fprintf(w, "%d %s\t%s\n", r.Position, r.Name, status)
	}
	if len(s.Shields) > 0 {
		fmt.Fprintln(w, "\nSHIELD\tSTATUS")
	}
	for _, one := range s.Shields {
		fmt.Fprintf(w, "%d\t%s\n", one.Position, one.describe())
	}
}

// describe says how the shield is.
func (s shieldStatus) describe() string {
	if s.Reason == "" {
		return s.Status
	}
	return s.Status + ": " + s.Reason
}

func (c *cacheStatus) ratio() string {
	if c.Hits+c.Misses == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f%%", 100*float64(c.Hits)/float64(c.Hits+c.Misses))
}

// String describes the disk in a cell of the table.
func (d *diskStatus) String() string {
	if d == nil {
		return "-"
	}
	text := filled(d.Bytes, d.Limit) + ", " + counted(d.Objects, "object")
	if d.State != statusOK {
		text += ", " + d.State
	}
	return text
}

func filled(n, limit int64) string {
	//nolint:gosec // sizes are not negative
	return humanize.IBytes(uint64(n)) + " of " + humanize.IBytes(uint64(limit))
}
