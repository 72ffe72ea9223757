package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/voyo-music/caddy-voyo/internal/contain"
	"github.com/voyo-music/caddy-voyo/internal/natstest"
)

// An entry that can't be applied is tried again, and those behind it wait. The node is said
// to fail, and its gate says so too, until it has applied it.
func TestApplyFails(t *testing.T) {
	shorten(t, &applyRetryFirst, time.Millisecond)
	shorten(t, &applyRetryMax, 5*time.Millisecond)
	c := natstest.Start(t, 1)
	n, other := join(t, Config{URLs: c.URLs(), Node: "n"}), join(t, Config{URLs: c.URLs(), Node: "other"})
	other.follow(t, Position{}, nil)
	fixed := make(chan struct{})
	tries := 0
	told := n.follow(t, Position{}, func(e Entry) error {
		if string(e.Data) != "bad" {
			return nil
		}
		tries++
		select {
		case <-fixed:
			return nil
		default:
		}
		if tries == 2 {
			panic("secret")
		}
		return errors.New("disk failed")
	})
	n.awaitCurrent(t)
	other.awaitCurrent(t)

	if got := receipt(n.append(t, purge("good"), purge("bad"), purge("next"))); got != "applied [other], pending [], failed [n]" {
		t.Errorf("got %s", got)
	}
	n.await(t, "to fail three times", func() bool { return len(n.failures) > 2 })
	if s := n.Status(); s.Current || s.Applied != 1 || !strings.Contains(s.Reason, "can't be applied") {
		t.Errorf("got %+v", s)
	}
	if err := told.Await(t.Context()); !errors.Is(err, ErrFailing) {
		t.Errorf("got %v", err)
	}
	if got := told.words(); got != "good" {
		t.Errorf("told %q", got)
	}
	n.notes.mu.Lock()
	if n.failures[0] != "bad: disk failed" || n.failures[1] != "bad: panic in background work" {
		t.Errorf("got %q", n.failures[:2])
	}
	n.notes.mu.Unlock()
	close(fixed)
	told.awaitWords(t, "good bad next")
	n.awaitCurrent(t)
	if err := told.Await(t.Context()); err != nil {
		t.Error(err)
	}
}

// What is in effect but may not last is not tried again, but the receipt tells.
func TestNotKept(t *testing.T) {
	c := natstest.Start(t, 1)
	n := join(t, Config{URLs: c.URLs(), Node: "n"})
	memory := n.follow(t, Position{}, nil)
	n.follow(t, Position{}, func(e Entry) error {
		if string(e.Data) == "one" {
			return fmt.Errorf("%w: disk failed", ErrNotKept)
		}
		return nil
	})
	n.awaitCurrent(t)
	if got := receipt(n.append(t, purge("one"), purge("two"))); got != "applied [], pending [], failed [n]" {
		t.Errorf("got %s", got)
	}
	if got := receipt(n.append(t, purge("three"))); got != "applied [n], pending [], failed []" {
		t.Errorf("got %s", got)
	}
	memory.awaitWords(t, "one two three")
	if s := n.Status(); !s.Current || s.Applied != 3 {
		t.Errorf("got %+v", s)
	}
	n.await(t, "to tell of it once", func() bool { return len(n.failures) == 1 })
}

// A node has answered for an entry when all its followers have applied it, and one that is
// closed is not waited for.
func TestFollowers(t *testing.T) {
	c := natstest.Start(t, 1)
	n := join(t, Config{URLs: c.URLs(), Node: "n"})
	n.follow(t, Position{}, nil)
	entered := make(chan struct{})
	stuck := n.Follow(Position{}, Position{}, func(ctx context.Context, _ Entry) error {
		close(entered)
		<-ctx.Done()
		return ctx.Err()
	})
	n.awaitCurrent(t)
	got := make(chan Receipt, 1)
	go func() {
		r, err := n.Append(t.Context(), purge("one"))
		if err != nil {
			t.Error(err)
		}
		got <- r
	}()
	<-entered
	select {
	case r := <-got:
		t.Errorf("answered before both have applied it: %s", receipt(r))
	default:
	}
	if at := n.Status().Applied; at != 0 {
		t.Errorf("applied up to %d", at)
	}
	stuck.Close() // ends what it applies
	if got := receipt(<-got); got != "applied [n], pending [], failed []" {
		t.Errorf("got %s", got)
	}
	if err := stuck.Await(t.Context()); err != nil {
		t.Error(err)
	}
	stuck.Close() // is no harm
}

// Close ends what is applied, and what waits; nothing can be done with the log then.
func TestClose(t *testing.T) {
	c := natstest.Start(t, 1)
	n := join(t, Config{URLs: c.URLs(), Node: "n"})
	entered := make(chan struct{})
	f := n.Follow(Position{}, Position{}, func(ctx context.Context, _ Entry) error {
		close(entered)
		<-ctx.Done()
		return ctx.Err()
	})
	appended := make(chan Receipt, 1)
	go func() {
		r, _ := n.Append(t.Context(), purge("one"))
		appended <- r
	}()
	<-entered
	waiting := make(chan error, 1)
	second := n.follow(t, Position{}, func(Entry) error { return errors.New("no") })
	go func() { waiting <- second.Await(context.Background()) }()
	n.Close()
	<-appended
	if err := <-waiting; err != nil && !errors.Is(err, ErrFailing) {
		t.Error(err)
	}
	if f.Position().Seq != 0 {
		t.Errorf("at %v, though it has not been applied", f.Position())
	}
	if err := f.Await(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := n.Append(t.Context(), purge("two")); !errors.Is(err, ErrUnavailable) {
		t.Errorf("got %v", err)
	}
	if _, err := n.Nodes(t.Context()); !errors.Is(err, ErrUnknownNodes) {
		t.Errorf("got %v", err)
	}
	late := n.Follow(Position{}, Position{}, func(context.Context, Entry) error { return nil })
	if err := late.Await(t.Context()); err != nil {
		t.Error(err)
	}
	late.Close()
	n.Close() // is no harm
}

// A log that has never had a connection is closed at once, whatever it is that it does.
func TestCloseWithoutNATS(t *testing.T) {
	c := natstest.Start(t, 1)
	for name, sever := range map[string]func(*natstest.Link){"broken": (*natstest.Link).Cut, "silent": (*natstest.Link).Silence} {
		t.Run(name, func(t *testing.T) {
			link := c.Link()
			sever(link)
			n := join(t, Config{URLs: link.URLs(), Node: "n"})
			n.follow(t, Position{}, nil)
			start := time.Now()
			n.Close()
			if took := time.Since(start); took > dialPatience {
				t.Errorf("it took %s", took)
			}
		})
	}
}

// A status that panics is one that is not answered, and is told of.
func TestStatusPanics(t *testing.T) {
	c := natstest.Start(t, 1)
	n := join(t, Config{URLs: c.URLs(), Node: "n", Status: func() json.RawMessage { panic("secret") }})
	n.awaitCurrent(t)
	nodes, err := n.Nodes(t.Context())
	if err != nil || len(nodes) != 1 || !nodes[0].Answered || nodes[0].Status != nil {
		t.Errorf("%+v, %v", nodes, err)
	}
	n.await(t, "to tell of the panic", func() bool { return len(n.panics) == 1 })
	if p, ok := errors.AsType[*contain.PanicError](n.panics[0]); !ok || p.Value != "secret" {
		t.Errorf("got %v", n.panics[0])
	}
}
