package main

import (
	"math"
	"slices"
	"testing"
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
				p.read(r, i%3 > 0)
				if held, _ := p.usage(); held > limit {
					t.Fatalf("%s holds %d bytes of %d after %d reads", c.name, held, limit, i+1)
				}
			}
			if held, _ := p.usage(); held < limit*8/10 && !c.disk {
				t.Errorf("%s leaves memory empty: it holds %d bytes of %d", c.name, held, limit)
			}
		}
	}
}

// What a policy says to be in memory must be what its bytes stand for.
func TestQueuesCountTheirBytes(t *testing.T) {
	tr := newTrace(small)
	p := chosen.policy(20 << 20).(*queues)
	for _, r := range tr.reads {
		p.read(r, false)
	}
	for name, q := range map[string]*queue{"small": p.small, "main": p.main, "ghosts": p.ghosts} {
		var sum int64
		for _, e := range q.lru.Values() {
			sum += e.length
		}
		if sum != q.bytes || sum == 0 {
			t.Errorf("%s: %d bytes are counted, %d are there", name, q.bytes, sum)
		}
	}
	if p.ghosts.lru.Len() > p.maxGhosts {
		t.Errorf("%d ghosts, want at most %d", p.ghosts.lru.Len(), p.maxGhosts)
	}
}

func TestLRUAgreesWithANaiveOne(t *testing.T) {
	tr := newTrace(small)
	const limit = 20 << 20
	p := newLRU(limit)
	var naive []read // the last used one at the end
	for i, r := range tr.reads[:20_000] {
		at := slices.IndexFunc(naive, func(n read) bool { return n.slice == r.slice })
		if at >= 0 {
			naive = slices.Delete(naive, at, at+1)
		}
		naive = append(naive, r)
		for bytes(naive) > limit {
			naive = naive[1:]
		}
		if got := p.read(r, false); got != (at >= 0) {
			t.Fatalf("read %d: hit %v, want %v", i, got, at >= 0)
		}
	}
}

func bytes(rs []read) (sum int64) {
	for _, r := range rs {
		sum += int64(r.length)
	}
	return sum
}

// A listener's four reads of a slice are one use; a second listener makes it hot.
func TestAListenerIsOneUse(t *testing.T) {
	p := chosen.policy(10 * sliceSize).(*queues)
	visit := func(slice uint32) {
		for range 4 {
			p.read(read{slice: slice, length: sliceSize, n: rangeSize}, false)
		}
	}
	visit(1)
	visit(2)
	visit(2)
	for i := range uint32(20) {
		visit(100 + i)
	}
	if p.main.lru.Contains(1) || !p.main.lru.Contains(2) {
		t.Errorf("main queue: %v, want 2 alone", p.main.lru.Keys())
	}
	visit(119) // in the small queue: its second use
	visit(118)
	visit(1) // remembered: likewise, though at its second read
	for i := range uint32(9) {
		visit(200 + i)
	}
	for _, slice := range []uint32{1, 118, 119} {
		if !p.main.lru.Contains(slice) {
			t.Errorf("main queue: %v, want %d in it", p.main.lru.Keys(), slice)
		}
	}
}

// What is on disk comes into memory with its second use, and not before.
func TestDiskIsSpared(t *testing.T) {
	rs := chosen
	rs.spare = true
	p := rs.policy(10 * sliceSize)
	r := read{slice: 1, length: sliceSize, n: sliceSize}
	for i, want := range []bool{false, false, true} {
		if got := p.read(r, true); got != want {
			t.Errorf("read %d: hit %v, want %v", i, got, want)
		}
	}
	if _, written := p.usage(); written != sliceSize {
		t.Errorf("%d bytes were written into memory, want one slice", written)
	}
}

func TestTraceIsZipf(t *testing.T) {
	w := small
	w.tracks, w.plays, w.drift, w.scanned = 1000, 50_000, 0, 0
	tr := newTrace(w)
	plays := make(map[uint32]int)
	for _, r := range tr.reads {
		if r.start {
			plays[r.slice]++
		}
	}
	counts := make([]int, 0, len(plays))
	for _, n := range plays {
		counts = append(counts, n)
	}
	slices.Sort(counts)
	slices.Reverse(counts)
	cdf := zipfCDF(w.tracks, w.zipf)
	sum := 0
	for i, n := range counts {
		sum += n
		if rank := i + 1; rank == 1 || rank == 10 || rank == 100 {
			if got := float64(sum) / float64(w.plays); math.Abs(got-cdf[i]) > 0.015 {
				t.Errorf("the first %d have %.3f of the plays, want %.3f", rank, got, cdf[i])
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
		if r.n <= 0 || r.n > r.length || r.length > sliceSize || int(r.slice) >= tr.slices {
			t.Fatalf("impossible read: %+v", r)
		}
		if !r.scan {
			continue
		}
		if r.phase < during || r.n != r.length {
			t.Fatalf("a crawler's read: %+v", r)
		}
		scanned[r.slice]++
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
