package bench

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	"github.com/voyo-music/caddy-voyo/cache"
)

// BenchmarkSize measures what depends on how many objects there are, or had better not.
func BenchmarkSize(b *testing.B) {
	for _, n := range []int{1000, scale(1_000_000, 2000)} {
		b.Run(fmt.Sprint(n), func(b *testing.B) { benchmarkSize(b, n) })
	}
}

func benchmarkSize(b *testing.B, n int) {
	b.Helper()
	const size = 100
	roomy := cache.Limits{Entries: 2 * n, Memory: int64(n) * 2 * size}
	e := newEdge(b, roomy, size)
	keys := keysOf(0, n)
	e.warm(b, keys)
	runtime.GC() // or else what the loading has left to collect would count
	if stats := e.Stats(); stats.Entries != n {
		b.Fatalf("%d of %d objects", stats.Entries, n)
	}
	c := newClient("", size)
	c.check(b, e, keys[n/2], e.body)

	// Those that are popular, and any: the latter are not in the processor's caches either.
	for _, of := range []struct {
		name string
		keys int
	}{{"hit/popular", 1000}, {"hit/any", n}} {
		b.Run(of.name, func(b *testing.B) {
			b.ReportAllocs()
			report := meter(b)
			for i := 0; b.Loop(); i++ {
				if err := c.hit(e, keys[i*7919%of.keys*(n/of.keys)]); err != nil {
					b.Fatal(err)
				}
			}
			report()
		})
	}

	b.Run("hit/http", func(b *testing.B) { benchmarkOverHTTP(b, e, keys, size) })

	next := n // what comes next is new
	insert := func(b *testing.B) string {
		b.Helper()
		key := fmt.Sprintf("stream/%011d/audio/128", next)
		next++
		if status, err := c.get(e, key); status != cache.Miss {
			b.Fatalf("%s: %s, %v", key, status, err)
		}
		return key
	}
	for _, bound := range []struct {
		name   string
		limits cache.Limits
	}{
		{"evict/entries", cache.Limits{Entries: n, Memory: roomy.Memory}},
		{"evict/bytes", cache.Limits{Entries: roomy.Entries, Memory: int64(n) * size}},
	} {
		b.Run(bound.name, func(b *testing.B) {
			e.SetLimits(bound.limits)
			before, first := e.Stats().Evicted, next
			b.ReportAllocs()
			report := meter(b)
			for b.Loop() {
				insert(b)
			}
			report()
			e.settle()
			if evicted := e.Stats().Evicted - before; evicted < int64(next-first) {
				b.Fatalf("%d evicted for %d", evicted, next-first)
			}
			e.SetLimits(roomy)
		})
	}
	// What is purged has to come first: the figures in ns/purge are without that.
	for _, way := range []struct {
		name  string
		purge func(key string) error
		gone  bool // the others, too
	}{
		{"purge/key", func(key string) error { return e.Purge(b.Context(), key) }, false},
		{"purge/tag", func(string) error { return e.PurgeTags(b.Context(), "this") }, false},
		{"purge/all", func(string) error { return e.PurgeAll(b.Context()) }, true},
	} {
		b.Run(way.name, func(b *testing.B) {
			var spent time.Duration
			report := meter(b)
			for b.Loop() {
				e.tag = "this"
				key := insert(b)
				start := time.Now()
				err := way.purge(key)
				spent += time.Since(start)
				if _, there := e.Peek(b.Context(), key); there || err != nil {
					b.Fatalf("is there: %v, %v", there, err)
				}
			}
			report()
			e.tag = ""
			stays := insert(b)
			if err := way.purge(keys[0]); err != nil {
				b.Fatal(err)
			}
			_, there := e.Peek(b.Context(), stays)
			if there == way.gone {
				b.Fatalf("another one is there: %v", there)
			}
			b.ReportMetric(float64(spent.Nanoseconds())/float64(b.N), "ns/purge")
		})
	}
}

// benchmarkOverHTTP measures hits, of any object, as a client has them.
func benchmarkOverHTTP(b *testing.B, e edge, keys []string, size int64) {
	b.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if status, err := e.Serve(w, r, e.request(r.URL.Path[1:])); status != cache.Hit || err != nil {
			panic(http.ErrAbortHandler)
		}
	}))
	defer server.Close()
	client := server.Client()
	b.ReportAllocs()
	report := meter(b)
	for i := 0; b.Loop(); i++ {
		resp, err := client.Get(server.URL + "/" + keys[i*7919%len(keys)])
		if err != nil {
			b.Fatal(err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if n != size || err != nil {
			b.Fatalf("%d bytes, %v", n, err)
		}
	}
	report()
}
