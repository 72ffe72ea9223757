package bench

import (
	"fmt"
	"sync/atomic"
	"testing"

	"github.com/voyo-music/caddy-voyo/cache"
)

// BenchmarkCrowd measures hits of many clients at a time, for one key and for many, by
// themselves and with new objects that push others out: one of 16 requests is for one.
// The flag -cpu says how many clients there are.
func BenchmarkCrowd(b *testing.B) {
	for _, c := range []struct {
		name      string
		limits    cache.Limits
		keys      int // as many as fit
		size      int // of an object
		byteRange string
		want      int
	}{
		{"covers", cache.Limits{Entries: 500, Memory: 64 << 20}, 500, 20 << 10, "", 20 << 10},
		{"tracks", cache.Limits{Memory: 64 << 20, Entries: 1000}, 64, 1 << 20, "bytes=500000-599999", 100_000},
	} {
		b.Run(c.name+"/one", func(b *testing.B) {
			e := newEdge(b, c.limits, c.size)
			e.crowd(b, keysOf(0, 1), c.byteRange, c.want)
		})
		b.Run(c.name+"/many", func(b *testing.B) {
			e := newEdge(b, c.limits, c.size)
			e.crowd(b, keysOf(0, c.keys), c.byteRange, c.want)
		})
		b.Run(c.name+"/evicting", func(b *testing.B) {
			e := newEdge(b, c.limits, c.size)
			e.warm(b, keysOf(0, c.keys))
			e.push(b, c.keys, c.byteRange, c.want)
		})
	}
}

// crowd has many ask for the keys, in turn.
func (e edge) crowd(b *testing.B, keys []string, byteRange string, want int) {
	b.Helper()
	e.warm(b, keys)
	newClient(byteRange, want).check(b, e, keys[0], cut(b, e.body, byteRange))
	b.ReportAllocs()
	b.ResetTimer()
	report := meter(b)
	b.RunParallel(func(pb *testing.PB) {
		c := newClient(byteRange, want)
		for i := 0; pb.Next(); i++ {
			if err := c.hit(e, keys[i%len(keys)]); err != nil {
				b.Error(err)
			}
		}
	})
	report()
}

// push has many ask for what fits, and now and then for something new.
func (e edge) push(b *testing.B, fits int, byteRange string, want int) {
	b.Helper()
	const others = 15 // requests, for each that is for something new
	var turns atomic.Int64
	var hits, all atomic.Int64
	before := e.Stats().Evicted
	b.ReportAllocs()
	b.ResetTimer()
	report := meter(b)
	b.RunParallel(func(pb *testing.PB) {
		c := newClient(byteRange, want)
		for i := 0; pb.Next(); i++ {
			turn := int(turns.Add(1))
			n := turn % (fits / 2)
			if i%(others+1) == 0 {
				n = fits + turn
			}
			status, err := c.get(e, fmt.Sprintf("stream/%011d/audio/128", n))
			if err != nil {
				b.Error(err)
			}
			if status == cache.Hit {
				hits.Add(1)
			}
			all.Add(1)
		}
	})
	e.settle()
	report()
	b.ReportMetric(float64(hits.Load())/float64(all.Load()), "hits/op")
	if e.Stats().Evicted == before {
		b.Error("nothing was evicted")
	}
}
