package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/voyo-music/caddy-voyo/internal/natstest"
)

// Nodes names all that are registered, with what they answer, and those too that don't.
func TestNodes(t *testing.T) {
	c := natstest.Start(t, 3)
	status := func(text string) func() json.RawMessage {
		return func() json.RawMessage { return json.RawMessage(text) }
	}
	link := c.Link()
	a := join(t, Config{URLs: c.URLs(), Node: "a", Version: "v1", Status: status(`{"up":1}`)})
	odd := join(t, Config{URLs: c.URLs(), Node: "odd/1", Status: status(`{`)})
	silent := join(t, Config{URLs: link.URLs(), Node: "silent", Version: "v2", Status: status(`{}`)})
	for _, n := range []*node{a, odd, silent} {
		n.awaitCurrent(t)
	}
	link.Silence()
	nodes, err := a.Nodes(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := ""
	for _, n := range nodes {
		got += fmt.Sprintf("%s %s %t %q, ", n.Name, n.Version, n.Answered, n.Status)
		if n.Instance == "" || n.Since.IsZero() || n.Renewed.IsZero() {
			t.Errorf("got %+v", n)
		}
	}
	if want := `a v1 true "{\"up\":1}", odd/1  true "", silent v2 false "", `; got != want {
		t.Errorf("got %s, want %s", got, want)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := a.Nodes(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	silent.awaitStatus(t, "to be disconnected", func(s Status) bool { return !s.Connected })
	if _, err := silent.Nodes(t.Context()); !errors.Is(err, ErrUnknownNodes) {
		t.Errorf("got %v", err)
	}
}

// A node that has left is waited for until it is forgotten, or an operator removes it.
func TestForgotten(t *testing.T) {
	shorten(t, &memberTTL, 8*time.Second)
	shorten(t, &renewEvery, 100*time.Millisecond)
	c := natstest.Start(t, 1)
	stay, leave, removed := join(t, Config{URLs: c.URLs(), Node: "stay"}), join(t, Config{URLs: c.URLs(), Node: "leave"}), join(t, Config{URLs: c.URLs(), Node: "removed"})
	stay.follow(t, Position{}, nil)
	for _, n := range []*node{stay, leave, removed} {
		n.awaitCurrent(t)
	}
	leave.Close()
	removed.Close()
	bucket, err := client(t, c.URLs()).KeyValue(t.Context(), bucketName)
	if err != nil {
		t.Fatal(err)
	}
	if err := bucket.Delete(t.Context(), "removed"); err != nil {
		t.Fatal(err)
	}
	if got := receipt(stay.append(t, purge("one"))); got != "applied [stay], pending [leave], failed []" {
		t.Errorf("got %s", got)
	}
	for start := time.Now(); ; { // each takes its time
		got := receipt(stay.append(t, purge("two")))
		if got == "applied [stay], pending [], failed []" {
			break
		}
		if time.Since(start) > patience {
			t.Fatalf("got %s", got)
		}
	}
	nodes, err := stay.Nodes(t.Context())
	if err != nil || len(nodes) != 1 || nodes[0].Name != "stay" {
		t.Errorf("%+v, %v", nodes, err)
	}
}

// A node that is none any more is not waited for, and takes nobody's place with it.
func TestLeave(t *testing.T) {
	shorten(t, &renewEvery, time.Hour)
	c := natstest.Start(t, 1)
	stay, other := join(t, Config{URLs: c.URLs(), Node: "stay"}), join(t, Config{URLs: c.URLs(), Node: "other"})
	stay.follow(t, Position{}, nil)
	stay.awaitCurrent(t)
	other.awaitCurrent(t)
	other.Leave()
	if got := receipt(stay.append(t, purge("one"))); got != "applied [stay], pending [], failed []" {
		t.Errorf("got %s", got)
	}
	first := join(t, Config{URLs: c.URLs(), Node: "other"})
	first.awaitCurrent(t)
	second := join(t, Config{URLs: c.URLs(), Node: "other"})
	second.awaitCurrent(t)
	first.Leave()
	second.Close()
	if got := receipt(stay.append(t, purge("two"))); got != "applied [stay], pending [other], failed []" {
		t.Errorf("got %s", got)
	}
	join(t, Config{URLs: []string{"nats://127.0.0.1:1"}, Node: "nowhere"}).Leave()
}

// A node that goes on under another name is missed under the one that it had until it is
// registered as the other.
func TestLeaveTo(t *testing.T) {
	c := natstest.Start(t, 1)
	stay := join(t, Config{URLs: c.URLs(), Node: "stay"})
	stay.follow(t, Position{}, nil)
	before := join(t, Config{URLs: c.URLs(), Node: "before"})
	link := c.Link()
	link.Cut()
	between, after := join(t, Config{URLs: link.URLs(), Node: "between"}), join(t, Config{URLs: link.URLs(), Node: "after"})
	after.follow(t, Position{}, nil)
	stay.awaitCurrent(t)
	before.awaitCurrent(t)
	before.LeaveTo(between.Log)
	between.LeaveTo(after.Log)
	if got := receipt(stay.append(t, purge("one"))); got != "applied [stay], pending [before], failed []" {
		t.Errorf("while it can't join: %s", got)
	}
	link.Heal()
	after.awaitCurrent(t)
	if got := receipt(stay.append(t, purge("two"))); got != "applied [after stay], pending [], failed []" {
		t.Errorf("when it has joined: %s", got)
	}
	after.LeaveTo(stay.Log) // which is registered already
	if got := receipt(stay.append(t, purge("three"))); got != "applied [stay], pending [], failed []" {
		t.Errorf("when it has left: %s", got)
	}
}

// Two nodes of one name are told so, both of them, until one is gone; one that is started
// again is not.
func TestNamesakes(t *testing.T) {
	shorten(t, &renewEvery, 10*time.Millisecond)
	c := natstest.Start(t, 1)
	const reason = "another node has the same name"
	first := join(t, Config{URLs: c.URLs(), Node: "n"})
	first.awaitCurrent(t)
	first.Close()
	first = join(t, Config{URLs: c.URLs(), Node: "n"})
	first.awaitCurrent(t)
	second := join(t, Config{URLs: c.URLs(), Node: "n"})
	for _, n := range []*node{first, second} {
		n.awaitStatus(t, "to be told of the other one", func(s Status) bool { return s.Current && s.Reason == reason })
	}
	nodes, err := first.Nodes(t.Context())
	if err != nil || len(nodes) != 2 || nodes[0].Name != "n" || nodes[1].Name != "n" || nodes[0].Instance == nodes[1].Instance {
		t.Errorf("%+v, %v", nodes, err)
	}
	second.Close()
	first.awaitStatus(t, "to be alone", func(s Status) bool { return s.Current && s.Reason == "" })
	first.notes.mu.Lock()
	defer first.notes.mu.Unlock()
	for _, s := range first.statuses[:2] {
		if s.Reason == reason {
			t.Error("one that was started again takes itself for another")
		}
	}
}

// An operator who removes a node that is there only has it register again.
func TestRemovedNodeIsBack(t *testing.T) {
	shorten(t, &renewEvery, 10*time.Millisecond)
	c := natstest.Start(t, 1)
	n := join(t, Config{URLs: c.URLs(), Node: "n"})
	n.awaitCurrent(t)
	bucket, err := client(t, c.URLs()).KeyValue(t.Context(), bucketName)
	if err != nil {
		t.Fatal(err)
	}
	if err := bucket.Purge(t.Context(), "n"); err != nil {
		t.Fatal(err)
	}
	watch, err := bucket.Watch(t.Context(), "n")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = watch.Stop() }) // the connection may be closed
	for {
		if u := <-watch.Updates(); u != nil && len(u.Value()) > 0 {
			break
		}
	}
	if s := n.Status(); !s.Current || s.Reason != "" {
		t.Errorf("got %+v", s)
	}
}

// What was answered says what has become of entries.
func TestJudge(t *testing.T) {
	const last = 3
	for name, c := range map[string]struct {
		answers []answer
		want    outcome
	}{
		"nothing":              {nil, pending},
		"the ones before":      {[]answer{{Seq: 1, Done: true}, {Seq: 2, Done: true}}, pending},
		"all":                  {[]answer{{Seq: 2, Done: true}, {Seq: 3, Done: true}}, applied},
		"failed":               {[]answer{{Seq: 1, Done: true}, {Seq: 2, Failed: true}}, failed},
		"failed, then applied": {[]answer{{Seq: 2, Failed: true}, {Seq: 2, Done: true}, {Seq: 3, Done: true}}, applied},
		"not kept":             {[]answer{{Seq: 2, Failed: true, Done: true}, {Seq: 3, Done: true}}, failed},
		"of another call":      {[]answer{{Seq: 9, Done: true}}, pending},
	} {
		t.Run(name, func(t *testing.T) {
			if got := judge(c.answers, last); got != c.want {
				t.Errorf("got %d, want %d", got, c.want)
			}
		})
	}
	both := [][]answer{{{Seq: 3, Done: true}}, {{Seq: 3, Failed: true}}}
	if got := verdict(both, last); got != failed {
		t.Errorf("of two nodes of one name one fails: %d", got)
	}
}
