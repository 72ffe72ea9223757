package bench

import (
	"fmt"
	"runtime"
	"runtime/metrics"
	"testing"

	"github.com/voyo-music/caddy-voyo/cache"
)

// BenchmarkGarbage measures what the collector has to do while there are 1 GiB of bodies,
// in few objects and in many: for a cycle, and while hits make garbage. B/object is what
// they take of the heap besides their bytes.
func BenchmarkGarbage(b *testing.B) {
	for _, c := range []struct{ objects, size int }{
		{scale(1000, 10), 1 << 20},
		{scale(1_000_000, 10_000), 1 << 10},
	} {
		b.Run(fmt.Sprintf("%dx%dKiB", c.objects, c.size>>10), func(b *testing.B) { benchmarkGarbage(b, c.objects, c.size) })
	}
}

func benchmarkGarbage(b *testing.B, objects, size int) {
	b.Helper()
	bodies := int64(objects) * int64(size)
	e := newEdge(b, cache.Limits{Entries: objects, Memory: bodies}, size)
	before := heap()
	for i := 0; i < objects; i += 1000 { // their keys are the cache's alone
		e.warm(b, keysOf(i, min(1000, objects-i)))
	}
	if stats := e.Stats(); stats.Entries != objects || stats.Bytes != bodies {
		b.Fatalf("%d objects with %d bytes", stats.Entries, stats.Bytes)
	}
	overhead := heap() - before - bodies

	b.Run("cycle", func(b *testing.B) {
		from := readGC()
		for b.Loop() {
			runtime.GC()
		}
		readGC().report(b, from)
		b.ReportMetric(float64(overhead)/float64(objects), "B/object")
	})
	b.Run("hits", func(b *testing.B) {
		keys := keysOf(0, min(objects, 1000))
		from := readGC()
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			c := newClient("", size)
			for i := 0; pb.Next(); i++ {
				if err := c.hit(e, keys[i%len(keys)]); err != nil {
					b.Error(err)
				}
			}
		})
		b.StopTimer()
		runtime.GC() // one at least
		readGC().report(b, from)
	})
}

// heap returns how many bytes are in use.
func heap() int64 {
	runtime.GC()
	runtime.GC() // what is in pools is freed by the second one
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// gc is what the collector has done so far.
type gc struct {
	cpu, all float64 // seconds
	cycles   uint64
	pauses   *metrics.Float64Histogram
}

func readGC() gc {
	s := []metrics.Sample{
		{Name: "/cpu/classes/gc/total:cpu-seconds"},
		{Name: "/cpu/classes/total:cpu-seconds"},
		{Name: "/gc/cycles/total:gc-cycles"},
		{Name: "/sched/pauses/total/gc:seconds"},
	}
	metrics.Read(s)
	return gc{s[0].Value.Float64(), s[1].Value.Float64(), s[2].Value.Uint64(), s[3].Value.Float64Histogram()}
}

// report reports what has come since.
func (g gc) report(b *testing.B, since gc) {
	b.Helper()
	if g.cycles == since.cycles || g.all == since.all {
		b.Fatal("no collection was seen")
	}
	b.ReportMetric(100*(g.cpu-since.cpu)/(g.all-since.all), "gc-cpu-%")
	longest := 0.0
	for i, n := range g.pauses.Counts {
		if n > since.pauses.Counts[i] {
			longest = g.pauses.Buckets[i+1]
		}
	}
	b.ReportMetric(longest*1e6, "max-pause-µs")
}
