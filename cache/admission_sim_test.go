package cache

import (
	"math/rand/v2"
	"testing"

	"github.com/voyo-music/caddy-voyo/internal/sim"
)

// TestMemoryIsWhatIsSimulated compares the memory with what bench/admission and bench/fleet
// simulate of it, read by read: with a disk below that has all, nothing and a part.
func TestMemoryIsWhatIsSimulated(t *testing.T) {
	const size = 1000
	const limit, tracks = 100 * size, 3000
	for name, onDisk := range map[string]func(i int) bool{
		"all on disk":    func(int) bool { return true },
		"nothing":        func(int) bool { return false },
		"a part on disk": func(i int) bool { return i%3 > 0 },
	} {
		t.Run(name, func(t *testing.T) {
			rng, tastes := rand.New(rand.NewPCG(1, 2)), sim.Zipf(tracks, 0.9, 1)
			m := newMemory()
			m.setLimits(Limits{Memory: limit, Slice: size})
			simulated := sim.Chosen.AboveDisk(promotion).Policy(limit, size)
			o, there, bytes := &object{key: "a"}, make(map[int]*slice), int64(0)
			hits := 0
			for n := range 60_000 {
				i := tastes.Draw(rng)
				if rng.IntN(4) == 0 { // somebody reads all that there is, in order
					i = n % tracks
				}
				length := int64(size - i%100)
				read := min(length, 1+rng.Int64N(2*size))
				s := there[i]
				hit := simulated.Read(sim.Read{Slice: uint32(i), Length: int32(length), N: int32(read)}, onDisk(i))
				if hit != (s != nil) {
					t.Fatalf("read %d, of slice %d: a hit is %v, simulated %v", n, i, s != nil, hit)
				}
				if s != nil {
					hits++
					m.use(s, read)
					continue
				}
				promoted := onDisk(i) && m.worth(sliceKey{o, i}, read, length)
				if onDisk(i) && !promoted {
					continue
				}
				s = &slice{o: o, i: i, data: make([]byte, length), counted: length, used: read, complete: true}
				m.add(s, promoted)
				there[i], bytes = s, bytes+length
				for bytes > limit {
					gone := m.evict()
					delete(there, gone.i)
					bytes -= gone.counted
				}
			}
			if hits < 10_000 {
				t.Errorf("only %d hits", hits)
			}
		})
	}
}
