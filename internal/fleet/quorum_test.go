package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/voyo-music/caddy-voyo/internal/natstest"
)

// With one of three servers nothing is acknowledged. What was acknowledged before is there
// when the others are back, once, and so is, or is not, what was not.
func TestQuorum(t *testing.T) {
	shorten(t, &lapseAfter, 2*time.Second)
	c := natstest.Start(t, 3)
	n := join(t, Config{URLs: c.URLs(), Node: "n"})
	told := n.follow(t, Position{}, nil)
	n.awaitCurrent(t)
	n.append(t, purge("one"), purge("two"))

	c.Kill(0)
	c.Kill(1)
	for _, word := range []string{"three", "four"} {
		if r, err := n.Append(t.Context(), purge(word)); !errors.Is(err, ErrUnavailable) || r.Appended != 0 {
			t.Fatalf("acknowledged without a quorum: %+v, %v", r, err)
		}
	}
	n.awaitAway(t)
	if waits(t, told.Follower) {
		t.Error("without a quorum the node does not go on serving")
	}
	c.Restart(0)
	c.Restart(1)
	n.awaitCurrent(t)
	r := n.append(t, purge("five"))
	told.awaitLast(t, "five")
	list := logOf(t, client(t, c.URLs()))
	if len(list) != int(r.Seq) {
		t.Errorf("the last one of %q is number %d", list, r.Seq)
	}
	equal(t, "told", strings.Fields(told.words()), list)
	for _, word := range []string{"three", "four"} {
		switch count(list, word) {
		case 0:
		case 1: // sent to the server that was left, which has it from before
			list = slices.DeleteFunc(list, func(s string) bool { return s == word })
		default:
			t.Errorf("%s is there more than once: %q", word, list)
		}
	}
	equal(t, "acknowledged", list, []string{"one", "two", "five"})
}

func count(list []string, s string) (n int) {
	for _, other := range list {
		if other == s {
			n++
		}
	}
	return n
}

// awaitLast waits until a purge was told.
func (s *story) awaitLast(t *testing.T, want string) {
	t.Helper()
	last := ""
	defer func() {
		if t.Failed() {
			t.Logf("the last that was told is %q", last)
		}
	}()
	s.await(t, "to be told of "+want, func() bool {
		if len(s.told) > 0 {
			last = show(s.told[len(s.told)-1])
		}
		return last == want
	})
}

// appender appends one entry after another until it is ended.
type appender struct {
	acknowledged []string
	lost         []string // may be in the log
	news         chan int // how many were acknowledged
}

func (a *appender) run(ctx context.Context, t *testing.T, n *node, prefix string) {
	t.Helper()
	for i := 0; ctx.Err() == nil; i++ {
		word := fmt.Sprintf("%s%d", prefix, i)
		r, _ := n.Append(t.Context(), purge(word)) // that it is in the log counts
		if r.Appended == 0 {
			a.lost = append(a.lost, word)
			continue
		}
		a.acknowledged = append(a.acknowledged, word)
		select {
		case a.news <- len(a.acknowledged):
		default:
		}
	}
}

// While servers are restarted one after another, and leaders step down, all nodes go on
// appending: nothing that was acknowledged is lost, and each follower is told of each
// entry once, in the same order.
func TestRollingRestart(t *testing.T) {
	c := natstest.Start(t, 3)
	nodes := []*node{join(t, Config{URLs: c.URLs(), Node: "a"}), join(t, Config{URLs: c.URLs(), Node: "b"})}
	stories := make([]*story, len(nodes))
	for i, n := range nodes {
		stories[i] = n.follow(t, Position{}, nil)
	}
	for _, n := range nodes {
		n.awaitCurrent(t)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var work sync.WaitGroup
	appenders := make([]appender, len(nodes))
	for i, n := range nodes {
		a := &appenders[i]
		a.news = make(chan int)
		work.Go(func() { a.run(ctx, t, n, n.config.Node) })
	}
	progress := func() {
		for i := range appenders {
			for from := <-appenders[i].news; <-appenders[i].news < from+20; {
				continue
			}
		}
	}
	progress()
	for i := range 3 {
		c.Stop(i)
		progress()
		c.Restart(i)
		progress()
		stepDown(t, nodes[0])
		progress()
	}
	for i := range 3 {
		c.Kill(i)
		progress()
		c.Restart(i)
		progress()
	}
	cancel()
	work.Wait()

	for _, n := range nodes {
		n.awaitCurrent(t)
	}
	nodes[0].append(t, purge("end"))
	list := logOf(t, client(t, c.URLs()))
	for _, s := range stories {
		s.awaitLast(t, "end")
		equal(t, "told", strings.Fields(s.words()), list)
	}
	for i := range appenders {
		appenders[i].check(t, list)
	}
}

// check checks that what was acknowledged is in the log, and nothing is twice.
func (a *appender) check(t *testing.T, list []string) {
	t.Helper()
	for _, word := range a.acknowledged {
		if count(list, word) != 1 {
			t.Errorf("%s was acknowledged, and is there %d times", word, count(list, word))
		}
	}
	for _, word := range a.lost {
		if count(list, word) > 1 {
			t.Errorf("%s is there %d times", word, count(list, word))
		}
	}
	t.Logf("%d acknowledged, %d not", len(a.acknowledged), len(a.lost))
}

// stepDown has the stream's leader step down.
func stepDown(t *testing.T, n *node) {
	t.Helper()
	nc, _, err := n.link()
	if err != nil {
		return // it is between two servers
	}
	ctx, cancel := context.WithTimeout(t.Context(), checkPatience)
	defer cancel()
	_, err = nc.RequestWithContext(ctx, "$JS.API.STREAM.LEADER.STEPDOWN."+streamName, nil)
	t.Logf("stepping down: %v", err)
}

// A log that all servers have is the same one after all of them were away.
func TestAllServersRestart(t *testing.T) {
	c := natstest.Start(t, 3)
	n := join(t, Config{URLs: c.URLs(), Node: "n"})
	told := n.follow(t, Position{}, nil)
	n.append(t, purge("one"))
	for i := range 3 {
		c.Kill(i)
	}
	n.awaitAway(t)
	for i := range 3 {
		c.Restart(i)
	}
	n.awaitCurrent(t)
	n.append(t, purge("two"))
	told.awaitWords(t, "one two")
}

// A leader that stops in the middle, and comes back when there is another one, takes
// nothing away, and adds nothing.
func TestFrozenLeader(t *testing.T) {
	c := natstest.Start(t, 3)
	n := join(t, Config{URLs: c.URLs(), Node: "n"})
	told := n.follow(t, Position{}, nil)
	n.awaitCurrent(t)
	n.append(t, purge("first"))
	js := client(t, c.URLs())
	logOf(t, js) // the servers can say
	stream, err := js.Stream(t.Context(), streamName)
	if err != nil {
		t.Fatal(err)
	}
	var leader int
	if _, err := fmt.Sscanf(stream.CachedInfo().Cluster.Leader, "n%d", &leader); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	a := &appender{news: make(chan int)}
	var work sync.WaitGroup
	work.Go(func() { a.run(ctx, t, n, "a") })
	<-a.news
	c.Freeze(leader)
	for range 20 {
		<-a.news
	}
	c.Thaw(leader)
	for range 20 {
		<-a.news
	}
	cancel()
	work.Wait()
	n.awaitCurrent(t)
	n.append(t, purge("last"))
	told.awaitLast(t, "last")
	list := logOf(t, client(t, c.URLs()))
	equal(t, "told", strings.Fields(told.words()), list)
	a.check(t, list)
}
