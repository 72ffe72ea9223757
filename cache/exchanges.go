package cache

// Exchanges with upstreams are bounded by the memory, of which their fills hold on
// to a window each; but there are some in any case, and few enough for a process
// that may open few files.
const (
	minExchanges = 64
	maxExchanges = 1024
)

// maxQueue is how many exchanges may wait for others to end. It is reached when
// upstreams hang, and then most of those who wait have left.
const maxQueue = 4096

// exchanges are the requests to upstreams that are under way, and those that wait
// for their turn. Guarded by Cache.mu.
type exchanges struct {
	running int
	queue   []func()           // in the order of their coming
	paused  map[*fill]struct{} // running fills that could make way
	ended   []*lastSlices      // of fills with readers, who may not have seen them yet; of the last ones only
	readers int                // of fills under way, or that have ended: what they have not read yet takes memory, too
}

// exchanges returns how many exchanges may run.
func (l Limits) exchanges() int {
	return int(min(max(l.Memory/(window*l.Slice), minExchanges), maxExchanges))
}

// start runs f, which talks to an upstream and contains its panics, in the
// background, as soon as there are few enough others. The caller holds c.mu.
func (c *Cache) start(f func()) error {
	e := &c.exchanges
	switch {
	case c.ctx.Err() != nil:
		return ErrClosed
	case e.running < c.store.limits.exchanges():
		c.exchange(f)
	case len(e.queue) >= maxQueue:
		return ErrBusy
	default:
		e.queue = append(e.queue, f)
		for p := range e.paused {
			delete(e.paused, p)
			p.stir()
			break
		}
	}
	return nil
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

// exchange runs f, and then what waits. The caller holds c.mu.
func (c *Cache) exchange(f func()) {
	c.exchanges.running++
	c.work.Go(func() {
		defer c.exchanged()
		f()
	})
}

// exchanged lets in as many of those who wait as there is room for.
func (c *Cache) exchanged() {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := &c.exchanges
	e.running--
	for len(e.queue) > 0 && (e.running < c.store.limits.exchanges() || c.ctx.Err() != nil) {
		f := e.queue[0]
		e.queue = e.queue[1:]
		c.exchange(f)
	}
}
