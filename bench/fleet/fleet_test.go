package main

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// small is a world with which a test is done at once.
func small() world {
	return world{
		Seed: 7, Scale: 1, Tracks: 500, Smallest: 2e6, Largest: 5e6, Slice: 256 << 10, ReadAhead: 1, Sticky: true,
		Habits: habits{
			Zipf: 0.9, High: 0.7, Listened: 0.6, Skip: 0.3, Seek: 0.1, Bitrate: 16_000, Buffer: 0, Range: 256 << 10,
		},
		Listeners: 1000, Drift: 0.1,
		Edge: limits{memory: 16 << 20, disk: 300e6, promotion: 3}, Shield: limits{memory: 16 << 20, disk: 600e6, promotion: 3},
	}
}

// A disk has what a naive LRU has, and what it takes is what its files take.
func TestDiskAgreesWithANaiveOne(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	c := newCatalogue(10_000, evenSizes(40, 5_000, 95_000))
	d := newDisk(c, layout+500_000)
	var naive []uint32 // the one that was used last at the end
	taken := func() int64 {
		bytes, objects := int64(layout), make(map[uint32]bool)
		for _, s := range naive {
			objects[c.owner[s]] = true
			bytes += sliceCost(c.length(s))
		}
		return bytes + int64(len(objects))*metaCost
	}
	for n := range 20_000 {
		s := uint32(rng.IntN(c.slices()))
		at := slices.Index(naive, s)
		if d.has(s) != (at >= 0) {
			t.Fatalf("use %d: slice %d is there: %v, want %v", n, s, d.has(s), at >= 0)
		}
		if at >= 0 {
			naive = slices.Delete(naive, at, at+1)
		}
		if n%10 == 9 && at >= 0 {
			d.drop(s)
		} else {
			d.use(s)
			naive = append(naive, s)
		}
		for taken() > d.limit {
			naive = naive[1:]
		}
		if d.bytes != taken() {
			t.Fatalf("use %d: %d bytes are taken, want %d", n, d.bytes, taken())
		}
	}
}

// What a node fetches for requests one after the other: what is missing of the part, and
// some ahead.
func TestNodeFetches(t *testing.T) {
	c := newCatalogue(100, []int64{1050})
	var got []span
	n := newNode(c, limits{memory: 1000, disk: 1e9, promotion: 3}, 1, func(_ int, part span) { got = append(got, part) })
	for _, step := range []struct {
		part span
		want []span
		hit  bool
	}{
		{span{0, 150}, []span{{0, 300}}, false},
		{span{150, 250}, []span{{300, 500}}, true}, // all is there, what comes next is not
		{span{250, 260}, nil, true},
		{span{700, 710}, []span{{700, 900}}, false},
		{span{450, 950}, []span{{500, 700}, {900, 1050}}, false}, // around what is there
		{span{1000, 1050}, nil, true},
	} {
		got = nil
		before := n.tally
		n.request(0, step.part)
		if !slices.Equal(got, step.want) || (n.hits > before.hits) != step.hit {
			t.Errorf("%v: fetches %v, is a hit: %v; want %v, %v", step.part, got, n.hits > before.hits, step.want, step.hit)
		}
	}
	// of the parts' 820 bytes, all but 0-150, 700-710, 500-700 and 900-950 were there
	if n.asked != 820 || n.hit != 410 || n.fetched != 1050 {
		t.Errorf("%d bytes of %d were there, %d were fetched", n.hit, n.asked, n.fetched)
	}
}

// Listeners hear as much of a track as they are said to, and one world is the same each time.
func TestListenersHearTheirShare(t *testing.T) {
	for _, listened := range []float64{0.5, 0.6, 0.7} {
		w := small()
		w.Habits.Listened, w.Habits.Seek = listened, 0
		r, again := newRegion(w, 1), newRegion(w, 1)
		var asked, all int64
		for range 20_000 {
			object := r.listeners.draw()
			if other := again.listeners.draw(); other != object {
				t.Fatal("two worlds of one seed differ")
			}
			parts := r.listeners.play(object)
			again.listeners.play(object)
			all += r.c.sizes[object]
			for _, p := range parts {
				asked += p.to - p.from
			}
		}
		if got := float64(asked) / float64(all); math.Abs(got-listened) > 0.015 {
			t.Errorf("%.3f of the bytes are heard, want %g", got, listened)
		}
	}
}

// A region of which everything is divided by a number does the same, and so does one that
// has played for long instead of having been settled.
func TestScaleAndSettling(t *testing.T) {
	w := small()
	w.Tracks, w.Edge.disk, w.Edge.memory = 20_000, 20e9, 1<<30
	whole, _ := newRegion(w, 1).measure(40_000)
	w.Scale = 10
	part, _ := newRegion(w, 1).measure(40_000)
	r := newRegion(w, 1)
	r.run(150_000)
	before := r.atEdges()
	r.run(40_000)
	played := r.atEdges().since(before)
	for name, got := range map[string]tally{"a tenth": part, "played for long": played} {
		if math.Abs(got.kept()-whole.kept()) > 0.02 || math.Abs(ratio(got.ready, got.plays)-ratio(whole.ready, whole.plays)) > 0.02 {
			t.Errorf("%s: keeps %.3f, of the starts %.3f; the whole keeps %.3f and %.3f", name,
				got.kept(), ratio(got.ready, got.plays), whole.kept(), ratio(whole.ready, whole.plays))
		}
	}
}

// The loss of a shield moves its tracks, and no others, to all the others.
func TestRendezvous(t *testing.T) {
	const tracks, n = 4000, 4
	order := rendezvous(somewhere(n), tracks, func(track int) string { return trackPath(trackID(track)) })
	first, second := make([]int, n), make([]int, n)
	for _, o := range order {
		if len(o) != n {
			t.Fatal(o)
		}
		first[o[0]]++
		if o[0] == 0 {
			second[o[1]]++
		}
	}
	for i := range n {
		if math.Abs(float64(first[i])-tracks/n) > tracks/n/5 || i > 0 && second[i] < first[0]/n {
			t.Errorf("shields have %v tracks, and the first one's then go to %v", first, second)
			break
		}
	}
	// with the first one lost, who has another one's is as before
	left := rendezvous(somewhere(n)[1:], tracks, func(track int) string { return trackPath(trackID(track)) })
	for track, o := range order {
		if o[0] != 0 && left[track][0] != o[0]-1 {
			t.Fatalf("track %d has moved", track)
		}
	}
}

// What shields have the origin is not asked for, one that is lost is not asked, and what was
// purged is fetched again, but not what was taken down.
func TestEvents(t *testing.T) {
	w := small()
	w.Shield.disk = 10e9
	r := newRegion(w, 2)
	none, some := r.addTier(0, w.Shield), r.addTier(2, w.Shield)
	r.settle()
	r.run(5000)
	if none.origin.asked != r.atEdges().fetched || some.origin.asked*20 > none.origin.asked {
		t.Errorf("the origin is asked for %d bytes, with shields for %d", none.origin.asked, some.origin.asked)
	}
	quiet := some.origin
	r.run(1000)
	if some.origin != quiet {
		t.Error("shields that have everything ask for something")
	}
	some.lose(true, false)
	before := some.shields[0].tally
	r.run(1000)
	if some.shields[0].tally != before || some.origin == quiet {
		t.Error("a shield that is lost is asked, or nothing is fetched for it")
	}
	some.lose(false, false)
	r.lost[0] = true
	edge := r.edges[0].tally
	r.run(100)
	if r.edges[0].tally != edge {
		t.Error("an edge that is lost is asked")
	}
	r.takeDown(r.listeners.ranked(500)) // all
	r.run(100)
	if r.refused != 100 || r.edges[1].disk.bytes != layout || r.edges[1].memory.Has(0) {
		t.Errorf("%d of 100 plays are refused, and %d bytes are left", r.refused, r.edges[1].disk.bytes)
	}
}

// Edges that are each other's shields have a track fetched once, by its owner, who reads ahead.
func TestMesh(t *testing.T) {
	w := small()
	w.Edge.disk = 10e9
	r := newRegion(w, 3)
	mesh := r.mesh()
	for i := range r.edges {
		r.edges[i].request(0, span{0, 1000})
	}
	if want := (tally{requests: 2, asked: 4 * w.Slice}); mesh.origin != want {
		t.Errorf("the origin is asked for %+v, want %+v", mesh.origin, want)
	}
	owner := r.edges[mesh.owner(0)]
	if owner.requests != 3 || r.atEdges().requests != 5 {
		t.Errorf("the owner is asked %d times, all %d times", owner.requests, r.atEdges().requests)
	}
}

// What bounds a machine is the less of what its cores and its network can do.
func TestCapacity(t *testing.T) {
	l, c := load{requests: 0.1, sent: 1 << 20, fetched: 1 << 20}, cost{request: 1e6, gib: 1e9}
	cpu := 0.1*0.001 + 2.0/1024
	if n, bound := (machine{cores: 1, nic: 1000}).listeners(l, c); math.Abs(n-usableCores/cpu) > 1 || bound != "CPU" {
		t.Error(n, bound)
	}
	if n, bound := (machine{cores: 1000, nic: 1}).listeners(l, c); math.Abs(n-usableNIC*125e6/(1<<20)) > 1 || bound != "network" {
		t.Error(n, bound)
	}
}
