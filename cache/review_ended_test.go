package cache

import (
	"runtime"
	"sync"
	"testing"
	"time"
)

// TestEndedFillsAreBounded has many slow readers of different objects: what is held
// for them is bounded by the memory, or nearly.
func TestEndedFillsAreBounded(t *testing.T) {
	const size, slice, clients, memory = 1 << 20, 64 << 10, 400, 8 << 20
	c := New(Limits{Memory: memory, Slice: slice})
	var at sync.WaitGroup
	at.Add(clients)
	wake := make(chan struct{})
	var results <-chan error
	grown := heapGrowth(func() {
		results = manyClients(t.Context(), c, clients, claims(size), size, func(off int64) error {
			if off == slice {
				at.Done()
				<-wake
			}
			return nil
		})
		at.Wait()
		for c.Stats().Fills > 0 {
			time.Sleep(100 * time.Millisecond)
		}
		runtime.GC()
	})
	t.Logf("%d MiB for %d readers, with a memory of %d MiB, %d counted", grown>>20, clients, memory>>20, c.Stats().Bytes>>20)
	if grown > memory+clients*slice*3/2 {
		t.Errorf("the heap has grown by %d MiB", grown>>20)
	}
	close(wake)
	for range clients {
		if err := <-results; err != nil {
			t.Error(err)
		}
	}
	c.Close()
}
