package fleet

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what has to happen.
const patience = 60 * time.Second

// shorten changes what a test can't wait for.
func shorten[T any](t *testing.T, v *T, to T) {
	t.Helper()
	before := *v
	*v = to
	t.Cleanup(func() { *v = before })
}

// notes are what a node has told of.
type notes struct {
	mu       sync.Mutex
	news     chan struct{} // closed and made anew when there is something new
	statuses []Status
	failures []string
	panics   []error
}

func (n *notes) add(what func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	what()
	close(n.news)
	n.news = make(chan struct{})
}

func (n *notes) events(t *testing.T, node string) Events {
	start := time.Now()
	return Events{
		Changed: func(s Status) {
			t.Logf("%6.3fs %s: %+v", time.Since(start).Seconds(), node, s)
			n.add(func() { n.statuses = append(n.statuses, s) })
		},
		Failed: func(e Entry, err error) {
			n.add(func() { n.failures = append(n.failures, fmt.Sprintf("%s: %v", show(e), err)) })
		},
		Panicked: func(err error) { n.add(func() { n.panics = append(n.panics, err) }) },
	}
}

// await waits until something holds, which is looked at when there is something new.
func (n *notes) await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	late := time.After(patience)
	for {
		n.mu.Lock()
		news, ok := n.news, holds()
		n.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-news:
		case <-late:
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// node is a node of a fleet in a test.
type node struct {
	*Log
	*notes
}

// join opens a log.
func join(t *testing.T, c Config) *node {
	t.Helper()
	n := &node{notes: &notes{news: make(chan struct{})}}
	c.Events = n.events(t, c.Node)
	var err error
	if n.Log, err = Open(c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(n.Close)
	return n
}

// awaitStatus waits for a status, of which the node has told.
func (n *node) awaitStatus(t *testing.T, what string, holds func(Status) bool) {
	t.Helper()
	n.await(t, what, func() bool { return holds(n.Status()) })
}

func (n *node) awaitCurrent(t *testing.T) {
	t.Helper()
	n.awaitStatus(t, "to be current", func(s Status) bool { return s.Current })
}

func (n *node) awaitAway(t *testing.T) {
	t.Helper()
	n.awaitStatus(t, "not to be current", func(s Status) bool { return !s.Current })
}

// Position returns what was applied last.
func (f *Follower) Position() Position {
	f.log.mu.Lock()
	defer f.log.mu.Unlock()
	return f.told
}

// story is what a follower was told.
type story struct {
	*Follower
	*notes

	told []Entry
	fail func(Entry) error // nil: nothing fails
}

// follow has a follower take note of what it is told. fail may be nil.
func (n *node) follow(t *testing.T, from Position, fail func(Entry) error) *story {
	t.Helper()
	return n.followOn(t, from, Position{}, fail)
}

// followOn does so on a node that has said to have applied what there is up to a position.
func (n *node) followOn(t *testing.T, from, known Position, fail func(Entry) error) *story {
	t.Helper()
	s := &story{notes: &notes{news: make(chan struct{})}, fail: fail}
	s.Follower = n.Follow(from, known, func(_ context.Context, e Entry) error {
		if s.fail != nil {
			if err := s.fail(e); err != nil {
				return err
			}
		}
		s.add(func() { s.told = append(s.told, e) })
		return nil
	})
	return s
}

// show returns an entry in a word.
func show(e Entry) string {
	switch e.Kind {
	case Purge:
		return string(e.Data)
	case Takedown:
		return "+" + e.ID
	case Lift:
		return "-" + e.ID
	default:
		return string(e.Kind)
	}
}

// words returns what was told.
func (s *story) words() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text()
}

func (s *story) text() string {
	var list []string
	for _, e := range s.told {
		list = append(list, show(e))
	}
	return strings.Join(list, " ")
}

// awaitWords waits until exactly that was told.
func (s *story) awaitWords(t *testing.T, want string) {
	t.Helper()
	late := time.After(patience)
	for {
		s.mu.Lock()
		news, got := s.news, s.text()
		s.mu.Unlock()
		if got == want {
			return
		}
		select {
		case <-news:
		case <-late:
			t.Fatalf("the follower was told %q, not %q", got, want)
		}
	}
}

func purge(word string) Draft { return Draft{Kind: Purge, Data: []byte(word)} }

// append appends entries, which must go well, and returns the receipt.
func (n *node) append(t *testing.T, drafts ...Draft) Receipt {
	t.Helper()
	r, err := n.Append(t.Context(), drafts...)
	if err != nil {
		t.Fatalf("%+v, %v", r, err)
	}
	return r
}

// receipt returns what a receipt says of the nodes.
func receipt(r Receipt) string {
	return fmt.Sprintf("applied %v, pending %v, failed %v", r.Applied, r.Pending, r.Failed)
}

// client is a connection of an operator.
func client(t *testing.T, urls []string, opts ...nats.Option) jetstream.JetStream {
	t.Helper()
	nc, err := nats.Connect(strings.Join(urls, ","), opts...)
	if err != nil {
		t.Fatal(err)
	}
	closed := make(chan struct{})
	nc.SetClosedHandler(func(*nats.Conn) { close(closed) })
	t.Cleanup(func() {
		nc.Close()
		<-closed
	})
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	return js
}

// logOf returns what is in the log, oldest first. It asks again while the servers can't say,
// as for a moment after one of them was away.
func logOf(t *testing.T, js jetstream.JetStream) []string {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		list, err := readLog(t.Context(), js)
		if err == nil {
			return list
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func readLog(ctx context.Context, js jetstream.JetStream) ([]string, error) {
	stream, err := js.Stream(ctx, streamName)
	if err != nil {
		return nil, err
	}
	info, err := stream.Info(ctx)
	if err != nil {
		return nil, err
	}
	var list []string
	for seq := info.State.FirstSeq; seq <= info.State.LastSeq; seq++ {
		m, err := stream.GetMsg(ctx, seq)
		if err != nil {
			return nil, err
		}
		list = append(list, string(m.Data))
	}
	return list, nil
}

func equal(t *testing.T, what string, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}
