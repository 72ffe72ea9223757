package sim

import (
	"math"
	"math/rand/v2"
	"testing"
)

const (
	sliceSize = 256 << 10
	rangeSize = 64 << 10
)

// What a policy says to be in memory must be what its bytes stand for, and what was told
// to have left is not there.
func TestQueuesCountTheirBytes(t *testing.T) {
	rng, tastes := rand.New(rand.NewPCG(1, 2)), Zipf(2000, 0.9, 1)
	p := Chosen.Policy(20<<20, sliceSize)
	p.Evicted = func(slice uint32) {
		if p.Has(slice) {
			t.Errorf("slice %d has left, and is there", slice)
		}
	}
	for range 20_000 {
		slice := uint32(tastes.Draw(rng))
		p.Read(Read{Slice: slice, Length: sliceSize - int32(slice), N: rangeSize}, false)
		if slice%100 == 99 {
			p.Drop(slice)
			if p.Has(slice) {
				t.Fatal("a slice was dropped, and is there")
			}
		}
	}
	for name, q := range map[string]*Queue{"small": p.small, "main": p.main, "ghosts": p.ghosts} {
		var sum int64
		for _, e := range q.index {
			if e.in == q {
				sum += e.Length
			}
		}
		if sum != q.Bytes || sum == 0 {
			t.Errorf("%s: %d bytes are counted, %d are there", name, q.Bytes, sum)
		}
	}
	if p.ghosts.Len > p.maxGhosts {
		t.Errorf("%d ghosts, want at most %d", p.ghosts.Len, p.maxGhosts)
	}
}

// A listener's four reads of a slice are one use; a second listener makes it hot.
func TestAListenerIsOneUse(t *testing.T) {
	p := Chosen.Policy(10*sliceSize, sliceSize)
	visit := func(slice uint32) {
		for range 4 {
			p.Read(Read{Slice: slice, Length: sliceSize, N: rangeSize}, false)
		}
	}
	visit(1)
	visit(2)
	visit(2)
	for i := range uint32(20) {
		visit(100 + i)
	}
	if p.main.Len != 1 || p.main.Get(2) == nil {
		t.Errorf("main queue: %d slices, want the second alone", p.main.Len)
	}
	visit(119) // in the small queue: its second use
	visit(118)
	visit(1) // remembered: likewise, though at its second read
	for i := range uint32(9) {
		visit(200 + i)
	}
	for _, slice := range []uint32{1, 118, 119} {
		if p.main.Get(slice) == nil {
			t.Errorf("slice %d is not in the main queue", slice)
		}
	}
}

// What is on disk comes into memory with the uses that earn it, and not before.
func TestDiskIsSpared(t *testing.T) {
	r := Read{Slice: 1, Length: sliceSize, N: sliceSize}
	for earn, reads := range map[float64][]bool{0: {false, false, true}, Promotion: {false, false, false, true}, Never: {false, false, false, false}} {
		p := Chosen.AboveDisk(earn).Policy(10*sliceSize, sliceSize)
		for i, want := range reads {
			if got := p.Read(r, true); got != want {
				t.Errorf("earned by %g, read %d: hit %v, want %v", earn, i, got, want)
			}
		}
		if _, written := p.Usage(); (written == sliceSize) != (earn < Never) {
			t.Errorf("earned by %g: %d bytes were written into memory", earn, written)
		}
	}
}

// What stands for ten ranks each is chosen as often as the ten.
func TestZipfInGroups(t *testing.T) {
	all, groups := Zipf(10_000, 0.9, 1), Zipf(1000, 0.9, 10)
	for _, n := range []int{1, 10, 100, 1000} {
		if math.Abs(all.Share(10*n)-groups.Share(n)) > 1e-9 {
			t.Errorf("the first %d groups have %g, their ranks %g", n, groups.Share(n), all.Share(10*n))
		}
	}
}
