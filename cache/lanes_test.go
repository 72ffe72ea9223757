package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// mesh are caches that ask each other: each object has one that asks its upstream.
type mesh struct {
	nodes []*Cache
	asked atomic.Int64 // of the upstream
}

const meshSlice = 16 << 10

// newMesh returns one of caches of which each may have minExchanges exchanges under way.
func newMesh(t *testing.T, nodes int) *mesh {
	t.Helper()
	m := new(mesh)
	for range nodes {
		m.nodes = append(m.nodes, newTest(t, Limits{Memory: minExchanges * window * meshSlice, Slice: meshSlice}))
	}
	return m
}

// request is what a node is asked for an object, by another one or by a client.
func (m *mesh) request(node, object int, peer bool) Request {
	fetch := func(ctx context.Context, header http.Header) (*http.Response, error) {
		owner := object % len(m.nodes)
		if owner != node {
			return m.ask(ctx, owner, object, header, true)
		}
		m.asked.Add(1)
		time.Sleep(time.Second)
		return newOrigin(content(uint64(object), meshSlice+1000)).fetch(ctx, header)
	}
	p := policy()
	p.ReadAhead = 0
	return Request{Key: fmt.Sprint(object), Policy: p, Fetch: fetch, Peer: peer}
}

// ask asks a node for an object. The answer is one of an upstream's.
func (m *mesh) ask(ctx context.Context, node, object int, header http.Header, peer bool) (*http.Response, error) {
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	r.Header = header.Clone()
	rec := httptest.NewRecorder()
	if _, err := m.nodes[node].Serve(rec, r, m.request(node, object, peer)); err != nil {
		return nil, err
	}
	resp := rec.Result()
	resp.ContentLength = int64(rec.Body.Len())
	return resp, nil
}

// askAll has clients ask every node for every object at once, for what it has to ask others
// for first.
func (m *mesh) askAll(t *testing.T, objects int, header http.Header) {
	t.Helper()
	var clients sync.WaitGroup
	hear := func(node, object int) {
		resp, err := m.ask(t.Context(), node, object, header, false)
		if err != nil {
			t.Errorf("object %d of node %d: %v", object, node, err)
			return
		}
		if len(header) == 0 && !bytes.Equal(read(t, resp), content(uint64(object), meshSlice+1000)) {
			t.Errorf("object %d of node %d: wrong bytes", object, node)
		}
	}
	for _, own := range []bool{false, true} {
		for object := range objects {
			for node := range m.nodes {
				if own == (object%len(m.nodes) == node) {
					clients.Go(func() { hear(node, object) })
				}
			}
		}
		synctest.Wait()
	}
	clients.Wait()
}

// TestMeshDoesNotWaitForItself has each of some nodes asked for more at once, of which it
// has nothing or a part, than it may ask for: most of that it has to ask another node for.
func TestMeshDoesNotWaitForItself(t *testing.T) {
	const objects = 200
	synctest.Test(t, func(t *testing.T) {
		m := newMesh(t, 3)
		for i, header := range []http.Header{{"Range": {"bytes=0-0"}}, {}} {
			began := time.Now()
			m.askAll(t, objects, header)
			if n := m.asked.Swap(0); n != objects {
				t.Errorf("%d: the upstream was asked %d times for %d objects", i, n, objects)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("%d: it took %s", i, took)
			}
		}
		for _, c := range m.nodes {
			c.work.Wait()
			c.check(t)
		}
	})
}

// TestLanesAreBounded has clients and other caches ask for more than each may at once.
func TestLanesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{Memory: 1 << 20, Slice: 64 << 10})
		ctx, leave := context.WithCancel(t.Context())
		var refused atomic.Int64
		var clients sync.WaitGroup
		for i := range 2 * (minExchanges + maxQueue + 10) {
			clients.Go(func() {
				req := Request{Key: fmt.Sprint(i), Policy: &Policy{TTL: day}, Fetch: hang, Peer: i%2 == 0}
				err := serve(ctx, c, &checking{header: http.Header{}}, req, "")
				if errors.Is(err, ErrBusy) {
					refused.Add(1)
				} else if !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if s := c.Stats(); s.Fills != 2*minExchanges || s.Queued != 2*maxQueue || refused.Load() != 20 {
			t.Errorf("%d are under way, %d wait, %d were refused", s.Fills, s.Queued, refused.Load())
		}
		leave()
		clients.Wait()
	})
}

// TestHasteIsBounded has other caches join more than may wait for their turn: what they
// join stays where it is then.
func TestHasteIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{Memory: 16 << 20, Slice: 64 << 10}) // for all objects: what is pushed out is asked for again
		var n atomic.Int64
		gate := make(chan struct{})
		fetch := func(ctx context.Context, h http.Header) (*http.Response, error) {
			n.Add(1)
			<-gate
			return claims(1000)(ctx, h)
		}
		var clients sync.WaitGroup
		askFor := func(key int, peer bool) {
			clients.Go(func() {
				req := Request{Key: fmt.Sprint(key), Policy: &Policy{TTL: day}, Fetch: fetch, Peer: peer}
				client := &checking{header: http.Header{}, want: &pattern{0, 1000}}
				if err := serve(t.Context(), c, client, req, ""); err != nil || client.wrong {
					t.Errorf("%v, wrong bytes: %t", err, client.wrong)
				}
			})
		}
		const most = minExchanges + maxQueue
		for i := range most { // of clients
			askFor(i, false)
		}
		synctest.Wait()
		for i := range most - 10 { // of others
			askFor(most+i, true)
		}
		synctest.Wait()
		for i := range most { // who want what clients wait for
			askFor(i, true)
		}
		synctest.Wait()
		if s := c.Stats(); s.Fills != 2*minExchanges || s.Queued != 2*maxQueue-10 || n.Load() != 2*minExchanges {
			t.Errorf("%d are under way, %d wait; the upstream was asked %d times", s.Fills, s.Queued, n.Load())
		}
		close(gate)
		clients.Wait()
		synctest.Wait()
		c.check(t)
	})
}
