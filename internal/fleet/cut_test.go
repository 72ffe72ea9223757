package fleet

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/voyo-music/caddy-voyo/internal/natstest"
)

// waits returns whether Await waits, which it does with a context that is done too.
func waits(t *testing.T, f *Follower) bool {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := f.Await(ctx)
	if err != nil && !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	return err != nil
}

// A node that was cut off is not current, nor is its gate open, until it has applied what
// it has missed; and others are told that it has not.
func TestCut(t *testing.T) {
	for name, sever := range map[string]func(*natstest.Link){"broken": (*natstest.Link).Cut, "silent": (*natstest.Link).Silence} {
		t.Run(name, func(t *testing.T) {
			c := natstest.Start(t, 3)
			link := c.Link()
			near, far := join(t, Config{URLs: c.URLs(), Node: "near"}), join(t, Config{URLs: link.URLs(), Node: "far"})
			near.follow(t, Position{}, nil)
			hold := make(chan struct{})
			entered := make(chan struct{}, 9)
			told := far.follow(t, Position{}, func(e Entry) error {
				if string(e.Data) != "one" {
					entered <- struct{}{}
					<-hold
				}
				return nil
			})
			near.awaitCurrent(t)
			far.awaitCurrent(t)
			if waits(t, told.Follower) {
				t.Error("the gate is shut though the node is current")
			}
			if got := receipt(near.append(t, purge("one"))); got != "applied [far near], pending [], failed []" {
				t.Errorf("got %s", got)
			}

			sever(link)
			if got := receipt(near.append(t, purge("two"), purge("three"))); got != "applied [near], pending [far], failed []" {
				t.Errorf("while cut off: %s", got)
			}
			far.awaitStatus(t, "to be disconnected", func(s Status) bool { return !s.Connected })
			if s := far.Status(); s.Current || s.Reason == "" || s.Applied != 1 {
				t.Errorf("while cut off: %+v", s)
			}
			if waits(t, told.Follower) {
				t.Error("a node that is cut off does not go on serving")
			}
			if _, err := far.Append(t.Context(), purge("lost")); !errors.Is(err, ErrUnavailable) {
				t.Errorf("a node that is cut off appends: %v", err)
			}

			link.Heal()
			<-entered // it is back, and applies the first one that it has missed
			if far.Status().Current || !waits(t, told.Follower) {
				t.Errorf("it is said to be back before it has caught up: %+v", far.Status())
			}
			hold <- struct{}{}
			<-entered
			if far.Status().Current || !waits(t, told.Follower) {
				t.Errorf("it is said to be back before it has caught up: %+v", far.Status())
			}
			opened := make(chan error, 1)
			go func() { opened <- told.Await(t.Context()) }()
			close(hold)
			if err := <-opened; err != nil {
				t.Error(err)
			}
			far.awaitCurrent(t)
			told.awaitWords(t, "one two three")
			if got := receipt(far.append(t, purge("four"))); got != "applied [far near], pending [], failed []" {
				t.Errorf("after it is back: %s", got)
			}
		})
	}
}

// While NATS can't be reached at all, a new node waits for it, but not for long.
func TestGateWithoutNATS(t *testing.T) {
	c := natstest.Start(t, 1)
	link := c.Link()
	link.Cut()
	start := time.Now()
	n := join(t, Config{URLs: link.URLs(), Node: "n"})
	told := n.follow(t, Position{}, nil)
	if !waits(t, told.Follower) {
		t.Error("it does not wait for NATS")
	}
	if err := told.Await(t.Context()); err != nil {
		t.Error(err)
	}
	if took := time.Since(start); took < openPatience || took > 2*openPatience {
		t.Errorf("it waited for %s", took)
	}
	if !told.passes.Load() {
		t.Error("those who come later would wait too")
	}
	if s := n.Status(); s.Connected || s.Current || s.Reason != "NATS can't be reached" {
		t.Errorf("got %+v", s)
	}
	link.Heal()
	n.awaitCurrent(t)
}

// One that finds NATS in time, and something to be applied, waits until it is.
func TestGateAtOpen(t *testing.T) {
	c := natstest.Start(t, 1)
	first := join(t, Config{URLs: c.URLs(), Node: "first"})
	first.follow(t, Position{}, nil)
	first.append(t, purge("one"))
	hold := make(chan struct{})
	n := join(t, Config{URLs: c.URLs(), Node: "n"})
	told := n.follow(t, Position{}, func(Entry) error {
		<-hold
		return nil
	})
	if err := told.Await(t.Context()); !errors.Is(err, ErrBehind) {
		t.Errorf("got %v", err)
	}
	if n.Status().Current {
		t.Error("it is current")
	}
	close(hold)
	if err := told.Await(t.Context()); err != nil {
		t.Error(err)
	}
	told.awaitWords(t, "one")

	// likewise a follower that comes later
	again := make(chan struct{})
	later := n.follow(t, Position{}, func(Entry) error {
		<-again
		return nil
	})
	if !waits(t, later.Follower) {
		t.Error("a new follower does not wait")
	}
	n.awaitAway(t)
	close(again)
	if err := later.Await(t.Context()); err != nil {
		t.Error(err)
	}
	n.awaitCurrent(t)
	later.Close()
	if err := later.Await(t.Context()); err != nil {
		t.Error(err)
	}
}

// What a node has applied, and said so, does not come back with a follower that is older,
// also if NATS is away.
func TestGateOfOlder(t *testing.T) {
	c := natstest.Start(t, 1)
	link := c.Link()
	n := join(t, Config{URLs: link.URLs(), Node: "n"})
	told := n.follow(t, Position{}, nil)
	n.awaitCurrent(t)
	n.append(t, purge("one"), Draft{Kind: Takedown, ID: "x"}, purge("three"))
	told.awaitWords(t, "one +x three")
	first := told.told[0].Position
	link.Cut()
	n.awaitAway(t)
	hold := make(chan struct{})
	var late []*story
	from := []Position{first, {}, {Stream: "another", Seq: 9}}
	for _, at := range from {
		late = append(late, n.followOn(t, at, told.Position(), func(Entry) error {
			<-hold
			return nil
		}))
	}
	if err := late[0].Await(t.Context()); !errors.Is(err, ErrBehind) {
		t.Errorf("got %v", err)
	}
	close(hold)
	for i, f := range late {
		if err := f.Await(t.Context()); err != nil || f.words() != "reset" || f.Position() != from[i] {
			t.Errorf("behind %v: %v, told %q, at %v", from[i], err, f.words(), f.Position())
		}
		f.Close()
	}
	if waits(t, n.followOn(t, told.Position(), told.Position(), nil).Follower) {
		t.Error("one that knows it all has to wait")
	}
	again := n.followOn(t, first, told.Position(), nil)
	if !waits(t, again.Follower) {
		t.Error("one that is behind does not wait for NATS")
	}
	link.Heal()
	if err := again.Await(t.Context()); err != nil {
		t.Error(err)
	}
	again.awaitWords(t, "+x three")
	n.awaitCurrent(t)
}

// A connection that nats.go has given up for good is followed by another one.
func TestClosedForGood(t *testing.T) {
	c := natstest.Start(t, 1)
	n := join(t, Config{URLs: c.URLs(), Node: "n"})
	told := n.follow(t, Position{}, nil)
	n.awaitCurrent(t)
	nc, _, err := n.link()
	if err != nil {
		t.Fatal(err)
	}
	nc.Close()
	n.awaitAway(t)
	n.awaitCurrent(t)
	if got := receipt(n.append(t, purge("one"))); got != "applied [n], pending [], failed []" {
		t.Errorf("got %s", got)
	}
	told.awaitWords(t, "one")
	nc, _, err = n.link()
	if err != nil {
		t.Fatal(err)
	}
	nc.Close() // and the node is closed before there is one
}

// Who knows that something was missed does not serve because the first attempt to read it
// has failed, but does so when they all fail for long.
func TestGateWhileUnreadable(t *testing.T) {
	shorten(t, &lapseAfter, 3*time.Second)
	o := newOperator(t)
	c := natstest.Start(t, 1, natstest.With(o.config))
	publish, subscribe := permissions(t)
	file := filepath.Join(t.TempDir(), "node.creds")
	link := c.Link()
	write := func(publish []string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(o.user(t, publish, subscribe)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(publish)
	near := join(t, Config{URLs: c.URLs(), Node: "near", Credentials: file})
	far := join(t, Config{URLs: link.URLs(), Node: "far", Credentials: file})
	near.awaitCurrent(t)
	told := far.follow(t, Position{}, nil)
	far.awaitCurrent(t)
	link.Cut()
	far.awaitStatus(t, "to be disconnected", func(s Status) bool { return !s.Connected })
	near.append(t, purge("one"))
	write(slices.DeleteFunc(slices.Clone(publish), func(s string) bool { return strings.Contains(s, "CONSUMER.CREATE") }))
	link.Heal()
	far.awaitStatus(t, "to fail", func(s Status) bool {
		return s.Connected && s.Last == 1 && s.Reason == reasonOf(context.DeadlineExceeded).text
	})
	if !waits(t, told.Follower) {
		t.Error("it serves what was purged")
	}
	if err := told.Await(t.Context()); err != nil {
		t.Errorf("as if NATS were away: %v", err)
	}
	if got := told.words(); got != "" {
		t.Errorf("it was told %q", got)
	}
}
