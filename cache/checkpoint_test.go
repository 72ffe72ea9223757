package cache

import (
	"bytes"
	"context"
	"errors"
	"os"
	"sync/atomic"
	"testing"
)

// checkpoint returns the node's checkpoint.
func (n *node) checkpoint() string {
	n.tb.Helper()
	b, err := n.Checkpoint(n.tb.Context())
	if err != nil {
		n.tb.Fatal(err)
	}
	return string(b)
}

func (n *node) setCheckpoint(text string) {
	n.tb.Helper()
	if err := n.SetCheckpoint(n.tb.Context(), []byte(text)); err != nil {
		n.tb.Fatal(err)
	}
}

// TestCheckpoint keeps a checkpoint with what is on disk: whoever has that has it, too.
func TestCheckpoint(t *testing.T) {
	n := newDiskNode(t, Limits{Memory: 1 << 20, Slice: 1000})
	if got := n.checkpoint(); got != "" {
		t.Errorf("a new disk has %q", got)
	}
	n.setCheckpoint("one")
	n.setCheckpoint("two")
	if err := n.PurgeAll(t.Context()); err != nil { // which notes something, too
		t.Fatal(err)
	}
	killed := t.TempDir() // as the disk would be found
	if err := os.CopyFS(killed, os.DirFS(n.dir)); err != nil {
		t.Fatal(err)
	}
	n.restart()
	if got := n.checkpoint(); got != "two" {
		t.Errorf("after a restart: %q", got)
	}
	n.SetDisk(n.store, "other")
	if got := n.checkpoint(); got != "" {
		t.Errorf("what another cache has on the disk has %q", got)
	}
	n.SetDisk(nil, "")
	n.setCheckpoint("three")
	if got := n.checkpoint(); got != "" {
		t.Errorf("without a disk: %q", got)
	}
	n.SetDisk(n.store, "test")
	if got := n.checkpoint(); got != "two" {
		t.Errorf("when the disk is there again: %q", got)
	}
	n.stop()
	n.dir = killed
	n.start()
	if got := n.checkpoint(); got != "two" {
		t.Errorf("after a kill: %q", got)
	}
}

// TestCheckpointFails can't write it any more, and says so.
func TestCheckpointFails(t *testing.T) {
	n := newDiskNode(t, Limits{Memory: 1 << 20, Slice: 1000})
	n.setCheckpoint("one")
	withoutFiles(t, func() {
		if err := n.SetCheckpoint(t.Context(), []byte("two")); err == nil {
			t.Error("it could be written")
		}
		if _, err := n.Checkpoint(t.Context()); err == nil {
			t.Error("it could be read")
		}
	})
	if got := n.checkpoint(); got != "one" {
		t.Errorf("%q", got)
	}
}

// TestGate has nothing come back from the disk before it may.
func TestGate(t *testing.T) {
	n := newDiskNode(t, Limits{Memory: 1 << 20, Slice: 1000})
	o := newOrigin(content(1, 10_000))
	reqs := map[string]Request{
		"kept":   {Key: "kept", Policy: policy(), Fetch: o.fetch},
		"purged": {Key: "purged", Policy: policy(), Fetch: o.fetch},
	}
	for _, req := range reqs {
		n.bring(t, req)
	}
	n.stop()
	open := make(chan struct{})
	var waiting atomic.Int32
	entered := make(chan struct{}, len(reqs))
	n.gates = func(ctx context.Context) error {
		waiting.Add(1)
		entered <- struct{}{}
		select {
		case <-open:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	n.start()
	answers := make(map[string]chan Status)
	for name, req := range reqs {
		answers[name] = make(chan Status, 1)
		go func() {
			resp, status, err := get(t, n.Cache, req)
			if err != nil || !bytes.Equal(read(t, resp), o.body) {
				t.Error(err)
			}
			answers[name] <- status
		}()
	}
	for range reqs {
		<-entered
	}
	if err := n.Purge(t.Context(), "purged"); err != nil {
		t.Fatal(err)
	}
	if _, status, err := get(t, n.Cache, reqs["purged"]); err != nil || status != Miss {
		t.Errorf("what is fetched anew has to wait: %s, %v", status, err)
	}
	select {
	case status := <-answers["kept"]:
		t.Fatalf("it was not waited for the gate: %s", status)
	default:
	}
	close(open)
	for name, want := range map[string]Status{"kept": Hit, "purged": Hit} { // of what was fetched anew
		if status := <-answers[name]; status != want {
			t.Errorf("what was %s is a %s, not a %s", name, status, want)
		}
	}
	if n := o.count(); n != 3 {
		t.Errorf("%d requests to the upstream: the old bytes were used", n)
	}
	if n := waiting.Load(); n != 2 {
		t.Errorf("the gate was asked %d times", n)
	}
}

// TestCloseOpensTheGate closes a cache of which something is still waited for.
func TestCloseOpensTheGate(t *testing.T) {
	n := newDiskNode(t, Limits{Memory: 1 << 20, Slice: 1000})
	o := newOrigin(content(1, 10_000))
	req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
	n.bring(t, req)
	n.stop()
	entered := make(chan struct{})
	n.gates = func(ctx context.Context) error {
		close(entered)
		<-ctx.Done()
		return ctx.Err()
	}
	n.start()
	done := make(chan error)
	go func() {
		_, _, err := get(t, n.Cache, req)
		done <- err
	}()
	<-entered
	n.Close()
	if err := <-done; err == nil {
		t.Error("a closed cache has answered")
	}
}

// TestClosedGate has what is on disk stay there, and fetched again meanwhile.
func TestClosedGate(t *testing.T) {
	n := newDiskNode(t, Limits{Memory: 1 << 20, Slice: 1000})
	o := newOrigin(content(1, 10_000))
	req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
	n.bring(t, req)
	n.stop()
	n.gates = func(context.Context) error { return errors.New("closed") }
	n.start()
	for _, want := range []Status{Miss, Hit} {
		if status := n.bring(t, req); status != want {
			t.Errorf("%s, not a %s", status, want)
		}
	}
	if n := o.count(); n != 2 {
		t.Errorf("%d requests to the upstream", n)
	}
}
