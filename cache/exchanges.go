package cache

import "slices"

// Exchanges with upstreams are bounded by the memory, of which their fills hold on
// to a window each; but there are some in any case, and few enough for a process
// that may open few files.
const (
	minExchanges = 64
	maxExchanges = 1024
)

// maxQueue is how many exchanges may wait for others to end, in each lane. It is reached
// when upstreams hang, and then most of those who wait have left.
const maxQueue = 4096

// exchanges are the requests to upstreams that are under way, and those that wait
// for their turn. Guarded by Cache.mu.
type exchanges struct {
	clients lane
	peers   lane          // for other caches of this kind
	ended   []*lastSlices // of fills with readers, who may not have seen them yet; of the last ones only
	readers int           // of fills under way, or that have ended: what they have not read yet takes memory, too
}

// lane has as many exchanges under way as there may be, and lets the others wait. There are
// two of them, or else caches that ask each other would wait for each other: all that are
// under way in one of them would wait for others, and what those ask it for would wait for
// its turn behind them. What is in the lane for peers waits for no peer, or for one that is
// nearer to the origin.
type lane struct {
	running int
	queue   []*turn            // in the order of their coming
	paused  map[*fill]struct{} // running fills that could make way
}

// turn is an exchange's place in a lane.
type turn struct {
	run   func() // talks to an upstream and contains its panics
	lane  *lane
	waits bool // for others to end
}

func newExchanges() exchanges {
	return exchanges{clients: lane{paused: make(map[*fill]struct{})}, peers: lane{paused: make(map[*fill]struct{})}}
}

func (e *exchanges) running() int { return e.clients.running + e.peers.running }

func (e *exchanges) queued() int { return len(e.clients.queue) + len(e.peers.queue) }

// exchanges returns how many exchanges may run, in each lane.
func (l Limits) exchanges() int {
	return int(min(max(l.Memory/(window*l.Slice), minExchanges), maxExchanges))
}

// start runs run, which talks to an upstream and contains its panics, in the
// background, as soon as there are few enough others. The caller holds c.mu.
func (c *Cache) start(run func(), peer bool) (*turn, error) {
	if c.ctx.Err() != nil {
		return nil, ErrClosed
	}
	t := &turn{run: run, lane: &c.exchanges.clients}
	if peer {
		t.lane = &c.exchanges.peers
	}
	if !c.enter(t) {
		return nil, ErrBusy
	}
	return t, nil
}

// enter runs an exchange, or has it wait in its lane. It reports false if too many wait
// there. The caller holds c.mu.
func (c *Cache) enter(t *turn) bool {
	l := t.lane
	switch {
	case l.running < c.store.limits.exchanges():
		c.exchange(t)
	case len(l.queue) >= maxQueue:
		return false
	default:
		t.waits = true
		l.queue = append(l.queue, t)
		for p := range l.paused {
			delete(l.paused, p)
			p.stir()
			break
		}
	}
	return true
}

// hasten has an exchange that a client waits for be one of those for other caches, as
// another cache waits for it from now on. There may be none. The caller holds c.mu.
func (c *Cache) hasten(t *turn) {
	from, to := &c.exchanges.clients, &c.exchanges.peers
	if t == nil || !t.waits || t.lane != from {
		return
	}
	t.lane, t.waits = to, false
	if !c.enter(t) {
		t.lane, t.waits = from, true
		return
	}
	i := slices.Index(from.queue, t)
	from.queue = slices.Delete(from.queue, i, i+1)
}

// keepWindow lets the readers of a fill that has ended have its window, if it is one of
// as many as may be under way; for others the window is not held any more. Readers of
// what can't be resumed need none. The caller holds c.mu.
func (c *Cache) keepWindow(f *fill) {
	e := &c.exchanges
	if f.readers == 0 || f.recent == nil || !f.o.resumable() {
		return
	}
	e.ended = append(e.ended, f.recent)
	for len(e.ended) > c.store.limits.exchanges() {
		*e.ended[0] = lastSlices{}
		e.ended[0] = nil
		e.ended = e.ended[1:]
	}
}

// exchange runs an exchange, and then what waits in its lane. The caller holds c.mu.
func (c *Cache) exchange(t *turn) {
	t.waits = false
	t.lane.running++
	c.work.Go(func() {
		defer c.exchanged(t.lane)
		t.run()
	})
}

// exchanged lets in as many of those who wait in a lane as there is room for.
func (c *Cache) exchanged(l *lane) {
	c.mu.Lock()
	defer c.mu.Unlock()
	l.running--
	for len(l.queue) > 0 && (l.running < c.store.limits.exchanges() || c.ctx.Err() != nil) {
		t := l.queue[0]
		l.queue[0] = nil
		l.queue = l.queue[1:]
		c.exchange(t)
	}
}

// endQueues has all that waits run: it ends at once if the cache is closed. The caller
// holds c.mu.
func (c *Cache) endQueues() {
	for _, l := range []*lane{&c.exchanges.clients, &c.exchanges.peers} {
		for _, t := range l.queue {
			c.exchange(t)
		}
		l.queue = nil
	}
}
