package voyo

import (
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/voyo-music/caddy-voyo/cache"
	"github.com/voyo-music/caddy-voyo/internal/chaos"
)

var (
	chaosRuns = flag.Int("chaos.runs", 200, "how many seeds TestChaos runs, one after the other from chaos.seed on; the regression seeds as well if there are 200 or more")
	chaosSeed = flag.Uint64("chaos.seed", 1, "the first seed of TestChaos")
)

// chaosPatience is for how long, in real time, a run may last.
const chaosPatience = 2 * time.Minute

// TestChaos lets upstreams, clients and nodes do what is drawn from seeds, and holds that
// each client gets the right bytes or an honest error, that nothing is left of it, and
// that all is well again afterwards. More seeds, and one alone, are run with
//
//	go test -run 'TestChaos$' -chaos.runs=10000 -chaos.seed=1 .
//	go test -run 'TestChaos$' -chaos.runs=1 -chaos.seed=<seed> -v .
func TestChaos(t *testing.T) {
	var seeds []uint64
	for i := range *chaosRuns {
		seeds = append(seeds, *chaosSeed+uint64(i))
	}
	whole := len(seeds) >= 200
	if whole {
		seeds = append(regressionSeeds(t), seeds...)
	}
	t.Logf("seeds %d to %d", *chaosSeed, *chaosSeed+uint64(*chaosRuns)-1)
	sum := newChaosSum()
	runChaos(t, seeds, sum)
	if whole {
		// Some of it is so rare that it depends on who comes first whether 200 seeds have it.
		seed, last := *chaosSeed+uint64(*chaosRuns), *chaosSeed+uint64(5**chaosRuns)
		for ; len(sum.missing()) > 0 && seed < last; seed += 2 {
			runChaos(t, []uint64{seed, seed + 1}, sum)
		}
		if missing := sum.missing(); len(missing) > 0 {
			t.Errorf("never happened: %q", missing)
		}
	}
	t.Log(sum)
}

// regressionSeeds are those that have found something before.
func regressionSeeds(t *testing.T) (seeds []uint64) {
	t.Helper()
	text, err := os.ReadFile("testdata/chaos/seeds")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		number, _, _ := strings.Cut(line, " ")
		seed, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seeds = append(seeds, seed)
	}
	return seeds
}

// runChaos runs seeds, as many at a time as there are processors, and adds to sum what
// happens.
func runChaos(t *testing.T, seeds []uint64, sum *chaosSum) {
	t.Helper()
	log.SetOutput(io.Discard) // net/http logs what upstreams send unasked
	defer log.SetOutput(os.Stderr)
	var next atomic.Int64
	t.Run("seeds", func(t *testing.T) {
		for range runtime.GOMAXPROCS(0) {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				for i := next.Add(1) - 1; int(i) < len(seeds) && sum.failed.Load() < 5; i = next.Add(1) - 1 {
					t.Run(strconv.FormatUint(seeds[i], 10), func(t *testing.T) { runChaosSeed(t, seeds[i], sum) })
				}
			})
		}
	})
}

// runChaosSeed runs one seed.
func runChaosSeed(t *testing.T, seed uint64, sum *chaosSum) {
	t.Helper()
	s := chaos.Draw(seed)
	repeat := fmt.Sprintf("go test -run 'TestChaos$' -chaos.runs=1 -chaos.seed=%d -v .", seed)
	watchdog := time.AfterFunc(chaosPatience, func() { panic("a run has no end: " + repeat) })
	defer watchdog.Stop()
	defer func() {
		if v := recover(); v != nil { // goroutines are left
			t.Logf("%s\n%s", repeat, s)
			panic(v)
		}
	}()
	synctest.Test(t, func(t *testing.T) {
		run := &chaosRun{node: startChaosNode(t, s), sum: sum}
		run.play(t)
		run.end(t)
		if len(run.problems) == 0 {
			return
		}
		sum.failed.Add(1)
		t.Errorf("%s\n%s\nwrong:\n%s", repeat, s, strings.Join(run.problems, "\n"))
	})
}

// chaosRun is one run of a script.
type chaosRun struct {
	node *chaosNode
	sum  *chaosSum

	mu       sync.Mutex
	problems []string
}

func (c *chaosRun) wrongf(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.problems = append(c.problems, fmt.Sprintf(format, args...))
}

// play has all happen that the script has, and then sees whether all is well again.
func (c *chaosRun) play(t *testing.T) {
	t.Helper()
	s, began := c.node.s, time.Now()
	client := chaos.Client{Dial: c.node.dial, Patience: 20 * time.Minute}
	var visits sync.WaitGroup
	for i, v := range s.Visits {
		visits.Go(func() {
			time.Sleep(v.At)
			for _, a := range client.Visit(t.Context(), v, c.node.upstream.Now) {
				verdict, err := c.node.upstream.Check(a)
				if err != nil {
					c.wrongf("client %d: %v\n\tstatus %d, header %v, %d bytes, whole %t, %v", i, err, a.Status, a.Header, len(a.Body), a.Whole, a.Err)
				}
				c.sum.count("answers: "+string(verdict), 1)
				c.sum.count("clients: "+v.Manner, 1)
				c.sum.count("asked for: "+v.What, 1)
			}
		})
	}
	for _, e := range s.Events {
		time.Sleep(time.Until(began.Add(e.At)))
		c.sum.count("events: "+e.Kind, 1)
		if err := c.node.happen(e); err != nil {
			c.wrongf("%s: %v", e.Kind, err)
		}
	}
	visits.Wait()
	if err := c.node.mend(); err != nil {
		c.wrongf("mending: %v", err)
	}
	time.Sleep(2 * time.Minute) // what did not exist is asked for again
	for range 2 {
		for _, path := range s.Paths() {
			c.checkSound(t, client, path)
		}
	}
}

// checkSound asks for what is at a path, which must be right by now; or at the next time
// where the edge can't know before.
func (c *chaosRun) checkSound(t *testing.T, client chaos.Client, path string) {
	t.Helper()
	for broken := 0; ; broken++ {
		a := client.Visit(t.Context(), c.node.s.Plain(path), c.node.upstream.Now)[0]
		again, err := c.node.upstream.Sound(a, broken)
		if err != nil {
			c.wrongf("%s, after all: %v\n\t%v, whole %t, %v", path, err, a.Header, a.Whole, a.Err)
		}
		if !again {
			return
		}
	}
}

// end ends the node, and sees whether anything is left.
func (c *chaosRun) end(t *testing.T) {
	t.Helper()
	n := c.node
	time.Sleep(time.Minute) // fills go on for a while, for readers that may come
	state := n.handler().state
	for kind, stats := range state.stats() {
		if stats.Fills+stats.Queued != 0 || stats.Waiting != 0 {
			c.wrongf("%s: %d exchanges, %d queued, %d waiting are left", kind, stats.Fills, stats.Queued, stats.Waiting)
		}
	}
	if active := state.activeStreams.Load(); active != 0 {
		c.wrongf("%d streams are active", active)
	}
	if panics := state.panics.Load(); panics != 0 {
		c.wrongf("%d panics", panics)
	}
	for kind, c1 := range map[string]*cache.Cache{kindStream: state.streams, kindArt: state.art} {
		c1.SetLimits(cache.Limits{Entries: 1})
		if stats := c1.Stats(); stats.Bytes != 0 {
			c.wrongf("%s: %d bytes are accounted for that nothing has", kind, stats.Bytes)
		}
	}
	n.config.end()
	_ = n.server.Close()
	<-n.served
	n.upstream.Close()
	synctest.Wait()
	if open := n.network.Open(); open != 0 {
		c.wrongf("%d ends of connections are open", open)
	}
	c.checkDisk()
	c.checkOutside(t)
	chaosNodes.Delete(n.name)
	for fault, times := range n.upstream.Counts() {
		c.sum.count("faults: "+fault, times)
	}
	c.sum.runs.Add(1)
}

// checkDisk sees whether files are left that were being written.
func (c *chaosRun) checkDisk() {
	if c.node.dir == "" {
		return
	}
	for _, kind := range []string{artDisk, streamDisk} {
		left, err := os.ReadDir(filepath.Join(c.node.dir, kind, "tmp"))
		if err != nil && !os.IsNotExist(err) || len(left) > 0 {
			c.wrongf("temporary files are left: %v, %v", left, err)
		}
	}
}

// checkOutside sees whether others were asked, or told, what they should not.
func (c *chaosRun) checkOutside(t *testing.T) {
	t.Helper()
	n := c.node
	for _, err := range slices.Concat(n.upstream.Wrong(), n.statuses) {
		c.wrongf("%v", err)
	}
	for addr := range n.network.Dialed() {
		if !slices.Contains([]string{edgeAddr, "music.example:80", "mirror.example:80", cdnAddr + ":80", cdnAddr + ":443"}, addr) {
			c.wrongf("%s was dialled", addr)
		}
	}
	for _, logs := range n.logs {
		text := dump(t, logs)
		for _, secret := range []string{chaos.Secret, "example/", "10.0.0.7"} {
			if strings.Contains(text, secret) {
				c.wrongf("%s is in the log: %s", secret, text)
			}
		}
	}
}
