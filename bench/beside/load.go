package main

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// tally gathers what many clients got.
type tally struct {
	mu           sync.Mutex
	turn         *turn
	first, total []time.Duration
	bytes        int64
}

func (y *tally) add(t timing, err error) {
	y.mu.Lock()
	defer y.mu.Unlock()
	if err != nil {
		y.turn.note(err)
		return
	}
	y.first, y.total, y.bytes = append(y.first, t.first), append(y.total, t.total), y.bytes+t.bytes
}

// done turns it into figures.
func (y *tally) done() {
	f := y.turn.figures
	f["served"], f["bytes"] = float64(len(y.total)), float64(y.bytes)
	if len(y.total) == 0 {
		return
	}
	f["first p50"], f["first p99"] = ms(quantile(y.first, 0.5)), ms(quantile(y.first, 0.99))
	f["total p50"], f["total p99"] = ms(quantile(y.total, 0.5)), ms(quantile(y.total, 0.99))
}

// hitTrack has clients ask for a track that is in the cache, or for ranges of it, one after
// another for as long as the turn takes.
func hitTrack(clients int, n int64) func(context.Context, *turn) error {
	return func(ctx context.Context, t *turn) error {
		r := t.server.request(track.objects(warmFamily, 1)[0])
		if err := t.warmUp(ctx, t.client(), r.object); err != nil {
			return err
		}
		return t.measure(ctx, pace{}, func() error {
			y, start := &tally{turn: t}, time.Now()
			var wg sync.WaitGroup
			for i := range clients {
				wg.Go(func() { y.askOn(ctx, r, n, uint64(i), start.Add(t.seconds)) }) // #nosec G115 -- never negative
			}
			wg.Wait()
			y.done()
			took := time.Since(start).Seconds()
			t.figures["rate"], t.figures["MB/s"] = t.figures["served"]/took, t.figures["bytes"]/took/1e6
			return ctx.Err()
		})
	}
}

// askOn is one of its clients. Where its ranges are follows from the seed.
func (y *tally) askOn(ctx context.Context, r request, n int64, seed uint64, until time.Time) {
	c := y.turn.client()
	defer c.close()
	random := rand.New(rand.NewPCG(seed, 0)) // #nosec G404 -- to be the same for each server
	for time.Now().Before(until) && ctx.Err() == nil {
		if n > 0 {
			r.off, r.n = random.Int64N(r.object.size-n+1), n
		}
		t, err := c.get(ctx, r, nil)
		y.add(t, err)
	}
}

// flock has many clients ask at once for one object that is not in the cache.
func flock(k kind, p pace) func(context.Context, *turn) error {
	return func(ctx context.Context, t *turn) error {
		if err := t.prime(ctx); err != nil {
			return err
		}
		clients := make([]*client, herd)
		for i := range clients { // each is known to the server before it counts
			clients[i] = t.client()
			if _, err := clients[i].get(ctx, t.server.request(cover.objects("prime", 1)[0]), nil); err != nil {
				return err
			}
		}
		r := t.server.request(k.objects("flock", 1)[0])
		return t.measure(ctx, p, func() error {
			y, start := &tally{turn: t}, make(chan struct{})
			var wg sync.WaitGroup
			for _, c := range clients {
				wg.Go(func() {
					defer c.close()
					<-start
					y.add(c.get(ctx, r, nil))
				})
			}
			close(start)
			wg.Wait()
			y.done()
			return ctx.Err()
		})
	}
}

// prime has the server fetch other objects, so that its code and its connections to the
// origin are not cold as well.
func (t *turn) prime(ctx context.Context) error {
	return t.warmUp(ctx, t.client(), append(cover.objects("prime", 3), track.objects("prime", 3)...)...)
}

// seek asks for the end of a video that is not in the cache.
func seek(ctx context.Context, t *turn) error {
	if err := t.prime(ctx); err != nil {
		return err
	}
	r := t.server.request(video.objects("seek", 1)[0])
	r.off, r.n = 60<<20, 128<<10
	return t.askEach(ctx, pace{50 * time.Millisecond, 8 << 20}, r)
}

// firstPlays asks for tracks that are not in the cache.
func firstPlays(ctx context.Context, t *turn) error {
	if err := t.prime(ctx); err != nil {
		return err
	}
	var all []request
	for _, o := range track.objects("cold", 50) {
		all = append(all, t.server.request(o))
	}
	return t.askEach(ctx, pace{Delay: 20 * time.Millisecond}, all...)
}

// plays asks for tracks that are not in the cache as a player does that buffers little.
func plays(ctx context.Context, t *turn) error {
	if err := t.prime(ctx); err != nil {
		return err
	}
	var all []request
	for _, o := range track.objects("plays", 10) {
		r := t.server.request(o)
		r.n = chunk
		for ; r.off < o.size; r.off += chunk {
			all = append(all, r)
		}
	}
	return t.askEach(ctx, pace{Delay: 20 * time.Millisecond}, all...)
}

// askEach makes requests on one connection.
func (t *turn) askEach(ctx context.Context, p pace, all ...request) error {
	c := t.client()
	defer c.close()
	return t.measure(ctx, p, func() error {
		y := &tally{turn: t}
		for _, r := range all {
			y.add(c.get(ctx, r, nil))
		}
		y.done()
		return ctx.Err()
	})
}

// fill has the server cache covers, and looks at its memory before and after.
func fill(ctx context.Context, t *turn) error {
	if err := t.prime(ctx); err != nil {
		return err
	}
	before, _ := memory(t.pid)
	err := t.measure(ctx, pace{}, func() error {
		y, next := &tally{turn: t}, make(chan object)
		var wg sync.WaitGroup
		for range 32 {
			wg.Go(func() {
				c := t.client()
				defer c.close()
				for o := range next {
					y.add(c.get(ctx, t.server.request(o), nil))
				}
			})
		}
		for _, o := range cover.objects("fill", 5000) {
			next <- o
		}
		close(next)
		wg.Wait()
		y.done()
		return ctx.Err()
	})
	time.Sleep(2 * time.Second) // for what the server does afterwards
	resident, proportional := memory(t.pid)
	t.remembered(before, resident, proportional)
	return err
}

func (t *turn) remembered(before, resident, proportional int64) {
	for name, bytes := range map[string]int64{
		"resident before": before, "resident": resident, "proportional": proportional,
	} {
		t.figures[name] = float64(bytes) / (1 << 20)
	}
}

// trickle has readers take their time, and looks at the server's memory meanwhile.
func trickle(ctx context.Context, t *turn) error {
	const readers, rate = 500, 100 << 10
	r := t.server.request(track.objects(warmFamily, 1)[0])
	if err := t.warmUp(ctx, t.client(), r.object); err != nil {
		return err
	}
	before, _ := memory(t.pid)
	return t.measure(ctx, pace{}, func() error {
		y, start := &tally{turn: t}, time.Now()
		var wg sync.WaitGroup
		for range readers {
			wg.Go(func() {
				c := &client{addr: t.addr[0], slow: true}
				defer c.close()
				y.add(c.get(ctx, r, func(n int64) bool {
					time.Sleep(time.Until(start.Add(time.Duration(n) * time.Second / rate)))
					return time.Since(start) < t.seconds && ctx.Err() == nil
				}))
			})
		}
		done := make(chan struct{})
		go func() {
			wg.Wait()
			close(done)
		}()
		t.remembered(before, 0, 0)
		t.watchMemory(done)
		y.done()
		t.figures["speed"] = t.figures["bytes"] / (1 << 10) / time.Since(start).Seconds() / readers
		return ctx.Err()
	})
}

// watchMemory keeps the most that the server took until it is done.
func (t *turn) watchMemory(done <-chan struct{}) {
	again := time.NewTicker(250 * time.Millisecond)
	defer again.Stop()
	for {
		resident, proportional := memory(t.pid)
		t.figures["resident"] = max(t.figures["resident"], float64(resident)/(1<<20))
		t.figures["proportional"] = max(t.figures["proportional"], float64(proportional)/(1<<20))
		select {
		case <-again.C:
		case <-done:
			return
		}
	}
}
