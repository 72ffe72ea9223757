package voyo_test

import (
	"context"
	"math/rand/v2"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// balancer sends clients to nodes that say that they are healthy, and away from those that
// an operator takes out.
type balancer struct {
	f      *fleet
	waited atomic.Int64 // requests for which there was no node at first

	mu       sync.Mutex
	changed  *sync.Cond
	healthy  []bool
	out      []bool // by the operator
	arriving []int  // requests that have been sent and were not answered yet
}

// probes is how often a node is asked how it is.
const probes = 50 * time.Millisecond

// newBalancer returns one that looks after the fleet, all of whose nodes are well, until the
// test ends.
func newBalancer(t *testing.T, f *fleet) *balancer {
	t.Helper()
	n := len(f.nodes)
	b := &balancer{f: f, healthy: make([]bool, n), out: make([]bool, n), arriving: make([]int, n)}
	b.changed = sync.NewCond(&b.mu)
	ctx, cancel := context.WithCancel(t.Context())
	var probing errgroup.Group
	for i, c := range f.nodes {
		probing.Go(func() error {
			b.probe(ctx, i, c.node)
			return nil
		})
	}
	t.Cleanup(func() {
		cancel()
		_ = probing.Wait() // it has no errors
	})
	for i := range f.nodes {
		b.restore(i)
	}
	return b
}

func (b *balancer) probe(ctx context.Context, i int, n node) {
	again := time.NewTicker(probes)
	defer again.Stop()
	for ctx.Err() == nil {
		healthy := n.healthy(ctx)
		b.mu.Lock()
		b.healthy[i] = healthy
		b.changed.Broadcast()
		b.mu.Unlock()
		select {
		case <-again.C:
		case <-ctx.Done():
		}
	}
}

// pick returns a node for the next request, and what is to be called when its answer has
// begun. It waits while there is none.
func (b *balancer) pick() (n node, begun func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for waited := false; ; waited = true {
		if i := b.choose(); i >= 0 {
			b.arriving[i]++
			return b.f.nodes[i].node, sync.OnceFunc(func() { b.arrived(i) })
		}
		if !waited {
			b.waited.Add(1)
		}
		b.changed.Wait()
	}
}

// choose returns any of those nodes that clients are sent to; -1 if there is none.
func (b *balancer) choose() int {
	for _, i := range rand.Perm(len(b.healthy)) {
		if b.healthy[i] && !b.out[i] {
			return i
		}
	}
	return -1
}

func (b *balancer) arrived(i int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.arriving[i]--
	b.changed.Broadcast()
}

// hear hears a song at any of the nodes.
func (b *balancer) hear(ctx context.Context, s song) (heard, error) {
	n, begun := b.pick()
	defer begun()
	return n.hear(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotFirstResponseByte: begun}), s)
}

// drain takes a node out, and returns when each request that it was given is one that the
// node has begun to answer.
func (b *balancer) drain(i int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.out[i] = true
	for b.arriving[i] > 0 {
		b.changed.Wait()
	}
}

// restore gives a node back to the clients, when it says that it is well.
func (b *balancer) restore(i int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.out[i] = false
	for !b.healthy[i] {
		b.changed.Wait()
	}
}
