package main

import (
	"fmt"
	"time"
)

func main() {
	w := defaultWorld()
	for _, scale := range []int{1, 4, 16, 32} {
		w.Scale = scale
		for _, gb := range []int64{10, 100, 300} {
			w.Edge.disk = gb * 1e9
			t0 := time.Now()
			r := newRegion(w, 1)
			r.settle()
			t1 := time.Now()
			for i := range 4 {
				before := r.atEdges()
				r.run(50000)
				a := r.atEdges()
				fmt.Println(scale, gb, i, float64(a.hits-before.hits)/float64(a.requests-before.requests), float64(a.hit-before.hit)/float64(a.asked-before.asked), float64(a.memory-before.memory)/float64(a.asked-before.asked), float64(a.fetched-before.fetched)/float64(a.asked-before.asked), r.edges[0].disk.bytes/1e6)
			}
			fmt.Println(t1.Sub(t0), time.Since(t1), r.listeners.heard/float64(r.listeners.plays), r.playsPerSecond())
		}
	}
}

func defaultWorld() world {
	return world{
		Seed: 1, Scale: 16, Tracks: 170_500, Smallest: 2_000_000, Largest: 5_000_000, Slice: 256 << 10, ReadAhead: 1,
		Habits:    habits{Zipf: 0.9, High: 0.7, Listened: 0.6, Skip: 0.3, Seek: 0.1, Bitrate: 16_000, Buffer: 30, Range: 256 << 10},
		Listeners: 1e6 / 16, Drift: 0.02, Sticky: true,
		Edge: limits{memory: 2 << 30, disk: 100e9, promotion: 3}, Shield: limits{memory: 2 << 30, disk: 1000e9, promotion: 3},
	}
}
