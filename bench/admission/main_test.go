package main

import (
	"math"
	"slices"
	"testing"

	"github.com/voyo-music/caddy-voyo/internal/sim"
)

// small is a workload with which a test is done at once.
var small = workload{
	seed: 7, tracks: 2000, plays: 2000, rate: 0.05,
	zipf: 0.9, drift: 0.002, ranged: 0.5, scan: burst, scanned: 100,
}

func TestPoliciesStayWithinTheirBytes(t *testing.T) {
	tr := newTrace(small)
	for _, c := range slices.Concat(policies(), variants()) {
		for _, limit := range []int64{4 << 20, 50 << 20} {
			p := c.make(limit)
			for i, r := range tr.reads {
				p.Read(r.Read, i%3 > 0)
				if held, _ := p.Usage(); held > limit {
					t.Fatalf("%s holds %d bytes of %d after %d reads", c.name, held, limit, i+1)
				}
			}
			if held, _ := p.Usage(); held < limit*8/10 && !c.disk {
				t.Errorf("%s leaves memory empty: it holds %d bytes of %d", c.name, held, limit)
			}
		}
	}
}

func TestLRUAgreesWithANaiveOne(t *testing.T) {
	tr := newTrace(small)
	const limit = 20 << 20
	p := newLRU(limit)
	var naive []read // the last used one at the end
	for i, r := range tr.reads[:20_000] {
		at := slices.IndexFunc(naive, func(n read) bool { return n.Slice == r.Slice })
		if at >= 0 {
			naive = slices.Delete(naive, at, at+1)
		}
		naive = append(naive, r)
		for bytes(naive) > limit {
			naive = naive[1:]
		}
		if got := p.Read(r.Read, false); got != (at >= 0) {
			t.Fatalf("read %d: hit %v, want %v", i, got, at >= 0)
		}
	}
}

func bytes(rs []read) (sum int64) {
	for _, r := range rs {
		sum += int64(r.Length)
	}
	return sum
}

func TestTraceIsZipf(t *testing.T) {
	w := small
	w.tracks, w.plays, w.drift, w.scanned = 1000, 50_000, 0, 0
	tr := newTrace(w)
	plays := make(map[uint32]int)
	for _, r := range tr.reads {
		if r.start {
			plays[r.Slice]++
		}
	}
	counts := make([]int, 0, len(plays))
	for _, n := range plays {
		counts = append(counts, n)
	}
	slices.Sort(counts)
	slices.Reverse(counts)
	tastes := sim.Zipf(w.tracks, w.zipf, 1)
	sum := 0
	for i, n := range counts {
		sum += n
		if rank := i + 1; rank == 1 || rank == 10 || rank == 100 {
			if got := float64(sum) / float64(w.plays); math.Abs(got-tastes.Share(rank)) > 0.015 {
				t.Errorf("the first %d have %.3f of the plays, want %.3f", rank, got, tastes.Share(rank))
			}
		}
	}
	if sum != w.plays {
		t.Errorf("%d plays, want %d", sum, w.plays)
	}
}

func TestTraceIsTheSameForASeed(t *testing.T) {
	a, b := newTrace(small), newTrace(small)
	if !slices.Equal(a.reads, b.reads) {
		t.Error("two traces of one seed differ")
	}
	other := small
	other.seed++
	if slices.Equal(a.reads, newTrace(other).reads) {
		t.Error("traces of two seeds are the same")
	}
}

// Reads stay within their slice, and a crawler reads each of its tracks in full.
func TestReadsAreOfTheirSlices(t *testing.T) {
	w := small
	w.scan = twice
	tr := newTrace(w)
	scanned := make(map[uint32]int)
	for _, r := range tr.reads {
		if r.N <= 0 || r.N > r.Length || r.Length > sliceSize || int(r.Slice) >= tr.slices {
			t.Fatalf("impossible read: %+v", r)
		}
		if !r.scan {
			continue
		}
		if r.phase < during || r.N != r.Length {
			t.Fatalf("a crawler's read: %+v", r)
		}
		scanned[r.Slice]++
	}
	if len(scanned) < 100*8 {
		t.Errorf("a crawler has read %d slices of 100 tracks", len(scanned))
	}
	for slice, n := range scanned {
		if n != 2 {
			t.Fatalf("slice %d was crawled %d times, want 2", slice, n)
		}
	}
}
