package bench

import (
	"net/http"
	"slices"
	"testing"

	"github.com/voyo-music/caddy-voyo/cache"
	"github.com/voyo-music/caddy-voyo/internal/byterange"
)

// BenchmarkRanges measures what it takes to read a Range field and to find its bytes in
// an object of 16 slices: by itself, and as a part of an answer out of memory.
func BenchmarkRanges(b *testing.B) {
	const size = 16 * cache.DefaultSlice
	e := newEdge(b, cache.Limits{Memory: 64 << 20}, size)
	key := keysOf(0, 1)[0]
	e.warm(b, []string{key})
	for _, c := range []struct {
		name, field string
		want        []byterange.Range // half-open
		sent        int               // with what separates several parts
	}{
		{"whole", "bytes=0-", []byterange.Range{{Start: 0, End: size}}, size},
		{"suffix", "bytes=-100000", []byterange.Range{{Start: size - 100_000, End: size}}, 100_000},
		{"one", "bytes=1000000-1999999", []byterange.Range{{Start: 1_000_000, End: 2_000_000}}, 1_000_000},
		{"several", "bytes=0-99,1000000-1000099,-100", []byterange.Range{
			{Start: 0, End: 100}, {Start: 1_000_000, End: 1_000_100}, {Start: size - 100, End: size},
		}, 772},
	} {
		b.Run("plan/"+c.name, func(b *testing.B) {
			b.ReportAllocs()
			report := meter(b)
			for b.Loop() {
				specs, err := byterange.Parse(c.field)
				if err != nil {
					b.Fatal(err)
				}
				ranges, err := byterange.Resolve(specs, size)
				if err != nil || !slices.Equal(ranges, c.want) {
					b.Fatal(ranges, err)
				}
			}
			report()
		})
		b.Run("answer/"+c.name, func(b *testing.B) {
			cl := newClient(c.field, c.sent)
			b.ReportAllocs()
			report := meter(b)
			for b.Loop() {
				if err := cl.hit(e, key); err != nil {
					b.Fatal(err)
				}
			}
			report()
			if cl.sent.status != http.StatusPartialContent {
				b.Fatal(cl.sent.status)
			}
		})
	}
}
