package cache

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestListenersOneAfterAnother has listeners come one after the other to objects that
// are together larger than the memory.
func TestListenersOneAfterAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, slice, clients = 1 << 20, 16 << 10, 200
		c := newTest(t, Limits{Memory: 16 << 20, Slice: slice})
		p := policy()
		p.MaxObject = 0
		var sent, requests atomic.Int64
		upstream := endless(size, func(n int) { sent.Add(int64(n)) })
		fetch := func(ctx context.Context, h http.Header) (*http.Response, error) {
			requests.Add(1)
			return upstream(ctx, h)
		}
		var wg sync.WaitGroup
		for i := range clients {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 4 * time.Second)
				var next int64
				client := &checking{header: http.Header{}, want: &pattern{0, size}, paused: func(got int64) error {
					if got >= next {
						next += slice
						time.Sleep(12 * time.Second) // a slice: twelve minutes and a half in all
					}
					return nil
				}}
				err := serve(t.Context(), c, client, Request{Key: fmt.Sprint(i), Policy: p, Fetch: fetch}, "")
				if err != nil || client.wrong || client.got != size {
					t.Errorf("%v, wrong: %t, %d bytes", err, client.wrong, client.got)
				}
			})
		}
		wg.Wait()
		c.work.Wait()
		factor := float64(sent.Load()) / (clients * size)
		t.Logf("the upstream sent %.2f times what the clients got, in %d requests for %d clients", factor, requests.Load(), clients)
		if factor > 1.5 {
			t.Errorf("the upstream sent %.1f times what the clients got, in %d requests for %d clients", factor, requests.Load(), clients)
		}
	})
}
