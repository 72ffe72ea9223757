package cache

import (
	"fmt"
	"net/http"
	"runtime"
	"testing"
)

// TestSlicesDoNotHoldOnToEachOther has one slice of each object stay in memory: those
// that have left it must not be held any more.
func TestSlicesDoNotHoldOnToEachOther(t *testing.T) {
	const slice, memory = 64 << 10, 8 << 20
	c := newTest(t, Limits{Memory: memory, Slice: slice})
	grown := heapGrowth(func() {
		for i := range 600 {
			req := Request{Key: fmt.Sprint(i), Policy: policy(), Fetch: claims(4 * slice)}
			for _, rng := range []string{"", "bytes=0-65535", "bytes=0-65535"} {
				if err := serve(t.Context(), c, &checking{header: http.Header{}, want: &pattern{0, 4 * slice}}, req, rng); err != nil {
					t.Fatal(err)
				}
			}
			c.work.Wait()
		}
	})
	if grown > 2*memory {
		t.Errorf("the heap has grown by %d MiB; the limit is %d MiB, counted are %d", grown>>20, memory>>20, c.Stats().Bytes>>20)
	}
	runtime.KeepAlive(c)
}
