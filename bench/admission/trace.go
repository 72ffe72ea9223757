package main

import (
	"container/heap"
	"math"
	"math/rand/v2"

	"github.com/voyo-music/caddy-voyo/internal/sim"
)

const (
	sliceSize = 256 << 10
	rangeSize = 64 << 10
	bitrate   = 16_000 // bytes that a listener hears in a second: 128 kbit/s
)

// read is what memory is asked for, and by whom.
type read struct {
	sim.Read

	phase phase
	start bool // the first byte of a play: it should come at once
	visit bool // the first of its listener in this slice
	scan  bool // by a crawler, whose hits nobody cares about
}

// phase is the part of a trace that a read belongs to.
type phase uint8

const (
	warmUp phase = iota // not measured
	before
	during // the scan
	after
	phases
)

// Where phases end, as a share of the trace's plays.
const (
	warmUpEnd = 0.55
	scanEnd   = 0.85
)

// scanKind says how a crawler reads its tracks.
type scanKind string

const (
	spread scanKind = "spread" // as many slices as a quarter of the listeners
	burst  scanKind = "burst"  // five times as fast
	twice  scanKind = "twice"  // like burst, each track a second time after some hundred others
)

// begin returns where the scan begins, as a share of the trace's plays.
func (k scanKind) begin() float64 {
	if k == spread {
		return 0.70
	}
	return 0.82
}

// workload says what a trace is like.
type workload struct {
	seed    uint64
	tracks  int
	plays   int
	rate    float64 // plays in a second
	zipf    float64 // exponent of the popularity
	drift   float64 // how many tracks change their popularity, for each play
	ranged  float64 // share of listeners that ask for 64 KiB at a time
	scan    scanKind
	scanned int // tracks that the crawler reads
}

// trace is a workload's reads, in the order in which they come.
type trace struct {
	reads     []read
	footprint int64 // bytes of the whole catalogue
	slices    int   // of the whole catalogue
}

// session is one client on its way through a track.
type session struct {
	at, pause float64 // when the next read comes, in seconds, and how long after it the one after that
	quick     int     // reads that are left before the pauses begin
	track     int
	off, end  int // bytes
	step      int // bytes of a read
	last      int // slice of the last read, and 1
	leap, to  int // at the offset leap the listener goes to another one; 0: never
	phase     phase
	start     bool
	scan      bool
	probe     bool // asks for two bytes first, like Safari
}

// agenda is a heap of sessions, the one that reads next first.
type agenda struct{ open []*session }

func (a *agenda) Len() int           { return len(a.open) }
func (a *agenda) Less(i, j int) bool { return a.open[i].at < a.open[j].at }
func (a *agenda) Swap(i, j int)      { a.open[i], a.open[j] = a.open[j], a.open[i] }
func (a *agenda) Push(x any)         { a.open = append(a.open, x.(*session)) }
func (a *agenda) Pop() any {
	last := len(a.open) - 1
	s := a.open[last]
	a.open = a.open[:last]
	return s
}

// maker makes a trace.
type maker struct {
	workload
	rng    *rand.Rand
	sizes  []int          // of the tracks, in bytes
	first  []int          // number of each track's first slice
	rank   []int          // the track at each rank of popularity
	tastes sim.Popularity // of the ranks
	next   agenda
	out    *trace
}

func newTrace(w workload) *trace {
	m := &maker{workload: w, out: &trace{}}
	m.rng = rand.New(rand.NewPCG(w.seed, 1)) //nolint:gosec // a trace must be the same each time
	m.catalogue()
	m.tastes = sim.Zipf(w.tracks, w.zipf, 1)
	now := 0.0
	scan := m.crawler()
	for i := range w.plays {
		now += m.rng.ExpFloat64() / w.rate
		m.run(now)
		if m.rng.Float64() < w.drift { // a track comes up, another goes
			a, b := m.tastes.Draw(m.rng), m.rng.IntN(w.tracks)
			m.rank[a], m.rank[b] = m.rank[b], m.rank[a]
		}
		at := float64(i) / float64(w.plays)
		p := phaseOf(at, w.scan)
		m.listen(now, p)
		scan(now, at, p)
	}
	m.run(math.Inf(1))
	return m.out
}

// phaseOf returns the phase that comes at a share of the plays.
func phaseOf(at float64, scan scanKind) phase {
	switch {
	case at < warmUpEnd:
		return warmUp
	case at < scan.begin():
		return before
	case at < scanEnd:
		return during
	}
	return after
}

func (m *maker) catalogue() {
	m.rank = m.rng.Perm(m.tracks)
	for range m.tracks {
		size := 2_000_000 + m.rng.IntN(3_000_000)
		m.sizes = append(m.sizes, size)
		m.first = append(m.first, m.out.slices)
		m.out.slices += (size + sliceSize - 1) / sliceSize
		m.out.footprint += int64(size)
	}
}

// listen lets a listener begin to play. 30% leave after 10 to 30 seconds, 10% go
// to another place in the track.
func (m *maker) listen(now float64, p phase) {
	track := m.rank[m.tastes.Draw(m.rng)]
	size := m.sizes[track]
	s := &session{at: now, track: track, end: size, phase: p, start: true}
	var ahead int
	if m.rng.Float64() < m.ranged { // two reads for the buffer, then one for each that was heard
		s.step, s.pause, s.quick = rangeSize, float64(rangeSize)/bitrate, 2
		s.probe = m.rng.Float64() < 0.2
		ahead = 2 * rangeSize
	} else { // as fast as the network is
		s.step, s.pause = sliceSize, 0.2
		ahead = 30 * bitrate // what the player had taken when the listener left
	}
	switch x := m.rng.Float64(); {
	case x < 0.3:
		heard := (10 + 20*m.rng.Float64()) * bitrate
		s.end = min(size, up(int(heard)+ahead))
	case x < 0.4:
		s.leap = up(1 + m.rng.IntN(size))
		s.to = m.rng.IntN(size) / rangeSize * rangeSize
	}
	heap.Push(&m.next, s)
}

// up rounds an offset up to the next range's.
func up(off int) int { return (off + rangeSize - 1) / rangeSize * rangeSize }

// crawler returns a function that is called at each play, and starts the crawler's
// reads when it is time. Its tracks are in no order of popularity.
func (m *maker) crawler() func(now, at float64, p phase) {
	from := m.scan.begin()
	order := m.rng.Perm(m.tracks)[:m.scanned]
	if m.scan == twice {
		order = again(order, max(1, m.tracks/1000))
	}
	next := 0
	return func(now, at float64, p phase) {
		due := int(math.Ceil((at - from) / (scanEnd - from) * float64(len(order))))
		for ; next < min(due, len(order)); next++ {
			t := order[next]
			heap.Push(&m.next, &session{at: now, track: t, end: m.sizes[t], step: sliceSize, phase: p, scan: true})
		}
	}
}

// again returns the tracks in groups of n, each group two times.
func again(tracks []int, n int) []int {
	var out []int
	for len(tracks) > 0 {
		k := min(n, len(tracks))
		out = append(out, tracks[:k]...)
		out = append(out, tracks[:k]...)
		tracks = tracks[k:]
	}
	return out
}

// run lets all sessions read what they read before now.
func (m *maker) run(now float64) {
	for m.next.Len() > 0 && m.next.open[0].at < now {
		s := m.next.open[0]
		if m.step(s) {
			heap.Fix(&m.next, 0)
		} else {
			heap.Pop(&m.next)
		}
	}
}

// step makes a session's next read, and reports whether there are more.
func (m *maker) step(s *session) bool {
	i := s.off / sliceSize
	begin := i * sliceSize
	length := min(sliceSize, m.sizes[s.track]-begin)
	n := min(s.step-s.off%s.step, s.end-s.off) // reads are aligned, but for the first after a leap
	if s.probe {
		n = 2
	}
	m.out.reads = append(m.out.reads, read{
		Read:  sim.Read{Slice: uint32(m.first[s.track] + i), Length: int32(length), N: int32(n)}, //nolint:gosec // they are smaller
		phase: s.phase, start: s.start, visit: s.last != i+1, scan: s.scan,
	})
	s.start, s.last = false, i+1
	if s.probe {
		s.probe = false
		return true
	}
	s.off += n
	if s.leap > 0 && s.off >= s.leap {
		s.off, s.leap = s.to, 0
	}
	if s.quick > 0 {
		s.quick--
	} else {
		s.at += s.pause
	}
	return s.off < s.end
}
