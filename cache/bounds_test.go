package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestBounds(t *testing.T) {
	const objects = 2500
	c := newTest(t, Limits{Entries: 500, Memory: 4 << 20})
	for i := range objects {
		o := newOrigin(content(uint64(i), 20<<10))
		req := Request{Key: fmt.Sprint(i), Policy: policy(), Fetch: o.fetch}
		if resp, _, err := get(t, c, req); err != nil || !bytes.Equal(read(t, resp), o.body) {
			t.Fatalf("object %d: %v", i, err)
		}
		if s := c.Stats(); s.Entries > 500 || s.Bytes > 4<<20 {
			t.Fatalf("past the bounds after %d objects: %+v", i, s)
		}
	}
	c.work.Wait()
	if !contains(c, fmt.Sprint(objects-1)) || contains(c, "0") {
		t.Error("the newest object is gone, or the oldest is not")
	}
	c.SetLimits(Limits{Entries: 10, Memory: 4 << 20})
	if s := c.Stats(); s.Entries != 10 || s.Bytes != 10*20<<10 {
		t.Errorf("after the limit has shrunk: %+v", s)
	}
	c.SetLimits(Limits{Entries: 10, Memory: 50 << 10})
	if s := c.Stats(); s.Entries != 2 || s.Bytes != 2*20<<10 {
		t.Errorf("after the limit has shrunk: %+v", s)
	}
}

func TestLargeObjectStreamsThrough(t *testing.T) {
	const size, memory = 128 << 20, 4 << 20
	c := newTest(t, Limits{Memory: memory})
	p := policy()
	p.MaxObject = 0
	var peak uint64
	client := &checking{header: http.Header{}, want: &pattern{0, size}, paused: func(got int64) error {
		if got%(8<<20) < DefaultSlice {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			peak = max(peak, m.HeapAlloc)
		}
		return nil
	}}
	if err := serve(t.Context(), c, client, Request{Key: "a", Policy: p, Fetch: endless(size, func(int) {})}, ""); err != nil {
		t.Fatal(err)
	}
	if client.wrong || client.got != size {
		t.Errorf("wrong: %t, %d bytes", client.wrong, client.got)
	}
	if peak > 48<<20 || peak == 0 {
		t.Errorf("the heap grew to %d MiB for a cache of %d", peak>>20, memory>>20)
	}
}

func TestClaimedSizeTakesNoRoom(t *testing.T) {
	c := newTest(t, Limits{Memory: 1 << 20})
	for _, size := range []int64{1 << 59, math.MaxInt64 - 1} {
		p := policy()
		p.MaxObject = 0
		client := &checking{header: http.Header{}, want: &pattern{size - 100, size}}
		err := serve(t.Context(), c, client, Request{Key: strconv.FormatInt(size, 10), Policy: p, Fetch: endless(size, func(int) {})}, "bytes=-100")
		switch {
		case size > maxSize && !errors.Is(err, ErrBadAnswer):
			t.Errorf("size %d: %v", size, err)
		case size <= maxSize && (err != nil || client.wrong || client.got != 100):
			t.Errorf("size %d: %v, wrong: %t, %d bytes", size, err, client.wrong, client.got)
		}
	}
}

// TestClaimedSizeTakesNoTime serves an object that claims to be so large that walking
// over its slices would never end: to a client that begins at its beginning, to
// another while the fill for the first is under way, and to the figures, which wait
// for the mutex.
func TestClaimedSizeTakesNoTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 1 << 59
		c := newTest(t, Limits{Memory: 1 << 20, Slice: 1024})
		p := policy()
		p.MaxObject = 0
		req := Request{Key: "a", Policy: p, Fetch: claims(size)}
		if err := serve(t.Context(), c, httptest.NewRecorder(), req, "bytes=0-99"); err != nil {
			t.Fatal(err)
		}
		c.work.Wait()
		leave := func() error {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			return serve(ctx, c, &leaving{ResponseRecorder: httptest.NewRecorder(), after: 5000, cancel: cancel}, req, "bytes=0-")
		}
		first := &checking{header: http.Header{}, want: &pattern{0, size}, paused: func(got int64) error {
			if got < 3000 {
				return nil
			}
			if s := c.Stats(); s.Fills != 1 {
				t.Errorf("%d fills are under way", s.Fills)
			}
			return leave()
		}}
		if err := serve(t.Context(), c, first, req, "bytes=0-"); !errors.Is(err, ErrAborted) || first.wrong {
			t.Errorf("clients that have left: %v, wrong: %t", err, first.wrong)
		}
		if err := leave(); !errors.Is(err, ErrAborted) {
			t.Errorf("a client that has left: %v", err)
		}
		c.Stats()
	})
}

// TestLateBytesTakeNoRoomForEarlierOnes asks for the last bytes of a large object:
// what the cache holds of it must not grow with their offset.
func TestLateBytesTakeNoRoomForEarlierOnes(t *testing.T) {
	c := newTest(t, Limits{Memory: 1 << 20, Slice: 1024})
	p := policy()
	p.MaxObject = 0
	const size = 1 << 34
	req := Request{Key: "a", Policy: p, Fetch: claims(size)}
	grown := heapGrowth(func() {
		if err := serve(t.Context(), c, httptest.NewRecorder(), req, fmt.Sprintf("bytes=%d-", int64(size-10))); err != nil {
			t.Fatal(err)
		}
		c.work.Wait()
	})
	if grown > 8<<20 {
		t.Errorf("10 bytes of an object weigh %d MiB; the limit is 1 MiB, counted are %d bytes", grown>>20, c.Stats().Bytes)
	}
	runtime.KeepAlive(c)
}

// TestUnknownLengthIsBounded streams what has no end, as a radio does, to a client
// that leaves: nothing of it can be let go of until its end is known, so the cache
// has to give it up.
func TestUnknownLengthIsBounded(t *testing.T) {
	c := newTest(t, Limits{Memory: 1 << 20, Slice: 64 << 10})
	p := policy()
	p.MaxObject = 0 // no bound but the cache's own
	var sent, most int64
	req := Request{Key: "radio", Policy: p, Fetch: func(ctx context.Context, _ http.Header) (*http.Response, error) {
		body := &pattern{0, 64 << 20} // as good as endless
		return &http.Response{
			StatusCode: 200, ProtoMajor: 1, TransferEncoding: []string{"chunked"}, ContentLength: -1,
			Header: http.Header{"Etag": {`"p"`}},
			Body: io.NopCloser(readerFunc(func(b []byte) (int, error) {
				if err := ctx.Err(); err != nil {
					return 0, err
				}
				most = max(most, c.Stats().Bytes)
				n, err := body.Read(b)
				sent += int64(n)
				return n, err
			})),
		}, nil
	}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	client := &leaving{ResponseRecorder: httptest.NewRecorder(), after: 100 << 10, cancel: cancel}
	_ = serve(ctx, c, client, req, "")
	c.work.Wait()
	if most = max(most, c.Stats().Bytes); most > 4<<20 || most == 0 {
		t.Errorf("%d KiB were held for nobody, the limit is 1 MiB; %d MiB were read", most>>10, sent>>20)
	}
}

// TestGoneObjectIsBounded serves an object that leaves the store with its first
// bytes: it is not counted any more, so its fill must hold on to a window alone.
func TestGoneObjectIsBounded(t *testing.T) {
	const size = 32 << 20
	c := newTest(t, Limits{Memory: 1 << 20, Slice: 64 << 10, Entries: 1})
	p := policy()
	p.MaxObject = 0
	req := Request{Key: "a", Policy: p, Fetch: claims(size)}
	var obj *object
	var held int64
	client := &checking{header: http.Header{}, want: &pattern{0, size}}
	client.paused = func(int64) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		if obj == nil {
			obj, _ = c.store.objects.Peek("a")
			c.store.objects.Purge() // as if another key had been put, Entries being 1
		}
		var sum int64
		for s := range obj.slices.all() {
			sum += int64(cap(s.data))
		}
		held = max(held, sum)
		return nil
	}
	if err := serve(t.Context(), c, client, req, ""); err != nil || client.wrong {
		t.Fatal(err, client.wrong)
	}
	if held > 8<<20 {
		t.Errorf("the object held %d MiB, the limit is 1 MiB", held>>20)
	}
}

// TestSmallObjectsOfUnknownLengthAreCounted brings many objects of one byte whose
// length is not known, so that more is allocated for each than it turns out to
// need.
func TestSmallObjectsOfUnknownLengthAreCounted(t *testing.T) {
	c := newTest(t, Limits{Memory: 1 << 20})
	grown := heapGrowth(func() {
		for i := range 4000 {
			o := newOrigin([]byte("x"))
			o.unknown = true
			if _, _, err := get(t, c, Request{Key: fmt.Sprint(i), Policy: policy(), Fetch: o.fetch}); err != nil {
				t.Fatal(err)
			}
		}
		c.work.Wait()
	})
	if s := c.Stats(); grown > 16<<20 {
		t.Errorf("the heap has grown by %d MiB; the limit is 1 MiB, counted are %d bytes in %d objects", grown>>20, s.Bytes, s.Entries)
	}
	runtime.KeepAlive(c)
}

// TestEmptyObjectsAreBounded brings many objects without a body, which the limit on
// bytes does not bound: where no number of entries is given, one follows from it.
func TestEmptyObjectsAreBounded(t *testing.T) {
	c := newTest(t, Limits{Memory: 100 << 10})
	o := newOrigin(nil)
	for i := range 2000 {
		if _, _, err := get(t, c, Request{Key: fmt.Sprint(i), Policy: policy(), Fetch: o.fetch}); err != nil {
			t.Fatal(err)
		}
	}
	if s := c.Stats(); s.Entries > minEntries {
		t.Errorf("%d objects in 100 KiB", s.Entries)
	}
}

// TestSlowReadersDoNotEvictEachOther plays many objects at once, at a listener's
// pace, that are together larger than the memory: if each fill ran ahead as far as
// one alone may, it would evict what the others have fetched and not sent yet.
func TestSlowReadersDoNotEvictEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, slice, clients = 1 << 20, 16 << 10, 64
		c := newTest(t, Limits{Memory: 8 << 20, Slice: slice})
		p := policy()
		p.MaxObject = 0
		var sent, requests atomic.Int64
		upstream := endless(size, func(n int) { sent.Add(int64(n)); time.Sleep(time.Millisecond) })
		fetch := func(ctx context.Context, h http.Header) (*http.Response, error) {
			requests.Add(1)
			return upstream(ctx, h)
		}
		var wg sync.WaitGroup
		for i := range clients {
			wg.Go(func() {
				client := slowly(size, slice, time.Second)
				err := serve(t.Context(), c, client, Request{Key: fmt.Sprint(i), Policy: p, Fetch: fetch}, "")
				if err != nil || client.wrong || client.got != size {
					t.Errorf("%v, wrong: %t, %d bytes", err, client.wrong, client.got)
				}
			})
		}
		wg.Wait()
		c.work.Wait()
		if factor := float64(sent.Load()) / (clients * size); factor > 1.5 {
			t.Errorf("the upstream sent %.1f times what the clients got, in %d requests for %d clients", factor, requests.Load(), clients)
		}
	})
}

// heapGrowth returns by how many bytes f makes the heap grow.
func heapGrowth(f func()) int64 {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	f()
	runtime.GC()
	runtime.ReadMemStats(&after)
	return int64(after.HeapAlloc) - int64(before.HeapAlloc)
}
