package cache

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/voyo-music/caddy-voyo/internal/byterange"
)

// TestTenThousandRanges is TestModel with a disk whose files are damaged now and
// then, with larger objects, and with enough of it to leave something behind if
// anything did: goroutines, descriptors, memory that is counted, or readers.
func TestTenThousandRanges(t *testing.T) {
	const (
		ranges  = 10_000
		perNode = 100 // rapid makes 100 of them
	)
	leaks := goleak.IgnoreCurrent()
	before := openFiles(t)
	var played atomic.Int64
	rapid.Check(t, func(rt *rapid.T) {
		size := rapid.IntRange(1, 300_000).Draw(rt, "size")
		n := newNode(t, Limits{
			Memory: rapid.Int64Range(1, 200_000).Draw(rt, "memory"),
			Slice:  rapid.SampledFrom([]int64{1000, 4096, 16384, 65536}).Draw(rt, "slice"),
		}, rapid.SampledFrom([]int64{1_100_000, 1_200_000, 4_000_000}).Draw(rt, "disk"))
		defer n.stop()
		seed := rapid.Uint64().Draw(rt, "seed")
		rnd := rand.New(rand.NewPCG(seed, 0))
		o, versions := newFaulty(size, rand.New(rand.NewPCG(seed, 1)))
		req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
		req.Policy.ReadAhead = rapid.IntRange(0, 4).Draw(rt, "read-ahead")
		for range perNode / 4 {
			var wg sync.WaitGroup
			for range 4 {
				a := randomAction(rnd, int64(size))
				wg.Go(func() {
					played.Add(1)
					if err := play(n.Cache, req, a, size, versions); err != nil {
						rt.Errorf("%+v: %v", a, err)
					}
				})
			}
			wg.Wait()
			switch rnd.IntN(25) {
			case 0:
				n.stop()
				n.start()
			case 1:
				damageSome(t, n.dir, rnd)
			}
		}
		n.work.Wait()
		if left := o.open(); left != 0 {
			rt.Errorf("%d bodies are still open", left)
		}
		n.check(rt)
	})
	if n := played.Load(); n < ranges && !t.Failed() {
		t.Errorf("only %d ranges", n)
	}
	goleak.VerifyNone(t, leaks)
	// what was not closed is only seen when it is collected
	for range 3 {
		runtime.GC()
	}
	if after := openFiles(t); after > before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}

// newFaulty returns an upstream of an object that changes now and then, every third
// of whose answers has a fault; and the versions that there have been so far. The
// random numbers are drawn by one request at a time.
func newFaulty(size int, rnd *rand.Rand) (o *origin, versions func() map[string][]byte) {
	o = newOrigin(content(0, size))
	o.unknown = rnd.IntN(4) == 0
	o.noRange = rnd.IntN(8) == 0
	all := map[string][]byte{o.header.Get("Etag"): o.body}
	o.fail = func(n int, _ http.Header) error {
		switch rnd.IntN(60) {
		case 0:
			return errors.New("refused")
		case 1:
			o.body = content(uint64(n), size)
			o.header = o.header.Clone()
			o.header.Set("Etag", fmt.Sprintf(`"%d"`, n))
			all[o.header.Get("Etag")] = o.body
		}
		return nil
	}
	o.tamper = func(_ int, resp *http.Response) {
		if rnd.IntN(3) == 0 {
			body := resp.Body
			f := fault{faultKinds[rnd.IntN(len(faultKinds))], rnd.Int64N(int64(size) + 1)}
			f.apply(o, resp)
			resp.Body = &closing{resp.Body, func() { body.Close() }}
		}
	}
	return o, func() map[string][]byte {
		o.mu.Lock()
		defer o.mu.Unlock()
		return maps.Clone(all)
	}
}

// randomAction returns a range of any form, of which some are not read to the end.
func randomAction(rnd *rand.Rand, size int64) action {
	a := action{leave: -1}
	switch first := rnd.Int64N(size + 1); rnd.IntN(4) {
	case 0:
		a.spec = byterange.Spec{First: -1, Last: 1 + rnd.Int64N(size+100)}
	case 1:
		a.spec = byterange.Spec{First: first, Last: -1}
	default:
		a.spec = byterange.Spec{First: first, Last: first + rnd.Int64N(size+100)}
	}
	if rnd.IntN(3) == 0 {
		a.leave = rnd.Int64N(size)
	}
	return a
}

// damageSome does something to each fourth file of a disk.
func damageSome(t *testing.T, dir string, rnd *rand.Rand) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) { // evicted meanwhile
			return nil
		}
		if err != nil || !d.Type().IsRegular() || rnd.IntN(4) > 0 {
			return err
		}
		switch rnd.IntN(3) {
		case 0:
			_ = os.Remove(path)
		case 1:
			_ = os.Truncate(path, rnd.Int64N(100))
		default:
			if b, err := os.ReadFile(path); err == nil && len(b) > 0 {
				b[rnd.IntN(len(b))] ^= 1
				_ = os.WriteFile(path, b, 0o600)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func openFiles(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}
