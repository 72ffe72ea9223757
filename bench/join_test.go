package bench

import (
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/voyo-music/caddy-voyo/cache"
)

// BenchmarkJoin measures how long it takes until all of some readers have a cold object
// of 1 MiB, which one fill brings for them.
func BenchmarkJoin(b *testing.B) {
	const size = 1 << 20
	for _, readers := range []int{1, 10, 200} {
		b.Run(fmt.Sprint(readers), func(b *testing.B) {
			e := newEdge(b, cache.Limits{Memory: 64 << 20}, size)
			e.ready = func() { // when all have come
				for e.Stats().Waiting < int64(readers) {
					runtime.Gosched()
				}
			}
			clients := make([]*client, readers)
			for i := range clients {
				clients[i] = newClient("", size)
			}
			objects := 0
			b.SetBytes(int64(readers) * size)
			b.ReportAllocs()
			report := meter(b)
			for b.Loop() {
				key := fmt.Sprintf("stream/%011d/audio/128", objects)
				var all sync.WaitGroup
				for _, c := range clients {
					all.Go(func() {
						if status, err := c.get(e, key); err != nil || status != cache.Miss {
							b.Errorf("%s: %s, %v", key, status, err)
						}
					})
				}
				all.Wait()
				objects++
			}
			report()
			e.settle()
			if asked := e.asked.Load(); asked != int64(objects) {
				b.Errorf("%d objects, asked for %d times", objects, asked)
			}
			newClient("", size).check(b, e, fmt.Sprintf("stream/%011d/audio/128", objects-1), e.body)
		})
	}
}
