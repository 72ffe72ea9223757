package voyo

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestGOGC(t *testing.T) {
	const mib = 1 << 20
	for _, tt := range []struct {
		what               string
		stated, live, body int
		want               int
	}{
		{"nothing is kept", 100, 40 * mib, 0, 100},
		{"half of it are bodies", 100, 160 * mib, 80 * mib, 56},
		{"nearly all of it", 100, 1040 * mib, 1000 * mib, 15},
		{"more than there were", 100, 400 * mib, 800 * mib, 12},
		{"little is kept", 100, 12 * mib, 8 * mib, 100},
		{"little else", 100, 80 * mib, 78 * mib, 20},
		{"the operator wants less", 50, 160 * mib, 80 * mib, 28},
		{"much less", 5, 2040 * mib, 2000 * mib, 1},
		{"none", -1, 160 * mib, 80 * mib, -1},
		{"hardly any", 1_000_000_000, 16384 * mib, 8192 * mib, 562_500_000},
		{"before the first cycle", 100, 0, 80 * mib, 100},
	} {
		if got := gogc(tt.stated, int64(tt.live), int64(tt.body)); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.what, got, tt.want)
		}
	}
}

// TestGarbage has GOGC follow what is kept, and be what it was when nothing is.
func TestGarbage(t *testing.T) {
	was := debug.SetGCPercent(100)
	defer debug.SetGCPercent(was)
	kept := make([]byte, 256<<20)
	g := garbage{bodies: func() int64 { return int64(len(kept)) }}
	below := func(what string, bound int) {
		t.Helper()
		now := 0
		for range 1000 {
			runtime.GC()
			if _, now = readCollector(); now < bound {
				return
			}
		}
		t.Fatalf("%s: still %d", what, now)
	}
	set := func(percent int) {
		g.mu.Lock() // or else it may be about to set what it has made of the last one
		defer g.mu.Unlock()
		debug.SetGCPercent(percent)
	}
	exactly := func(what string, want int) {
		t.Helper()
		if _, now := readCollector(); now != want {
			t.Errorf("%s: %d, want %d", what, now, want)
		}
	}

	g.start()
	below("GOGC is lowered", 90)
	set(50)
	below("GOGC is lowered from what was set meanwhile", 45)
	g.stop()
	exactly("in the end", 50)
	debug.SetGCPercent(200)
	g.start()
	below("it begins anew", 180)
	set(70)
	g.stop()
	exactly("what somebody has set since", 70)
	runtime.KeepAlive(kept)
}
