package cache

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/voyo-music/caddy-voyo/internal/byterange"
)

// pattern reads an object of any size whose bytes follow from their offsets.
type pattern struct{ off, end int64 }

func (p *pattern) Read(b []byte) (int, error) {
	if p.off >= p.end {
		return 0, io.EOF
	}
	n := 0
	for n < len(b) && p.off < p.end {
		var word [8]byte
		binary.BigEndian.PutUint64(word[:], uint64(p.off)/8*0x9e3779b97f4a7c15)
		m := copy(b[n:], word[p.off%8:])
		m = int(min(int64(m), p.end-p.off))
		n += m
		p.off += int64(m)
	}
	return n, nil
}

// endless is an upstream with an object of the pattern.
func endless(size int64, read func(n int)) Fetch {
	return func(ctx context.Context, h http.Header) (*http.Response, error) {
		resp := &http.Response{StatusCode: 200, ProtoMajor: 1, Header: http.Header{"Etag": {`"p"`}}, ContentLength: size}
		rng := byterange.Range{End: size}
		if specs, err := byterange.Parse(h.Get("Range")); err == nil {
			rng, _ = specs[0].Resolve(size)
			resp.StatusCode, resp.ContentLength = 206, rng.Len()
			resp.Header.Set("Content-Range", byterange.ContentRange(rng, size))
		}
		p := &pattern{rng.Start, rng.End}
		resp.Body = io.NopCloser(readerFunc(func(b []byte) (int, error) {
			if ctx.Err() != nil {
				return 0, ctx.Err()
			}
			n, err := p.Read(b)
			read(n)
			return n, err
		}))
		return resp, nil
	}
}

// checking is a client that compares what it gets with the pattern.
type checking struct {
	header http.Header
	want   *pattern
	wrong  bool
	got    int64
	paused func(got int64) error // called before each write
}

func (c *checking) Header() http.Header { return c.header }
func (c *checking) WriteHeader(int)     {}
func (c *checking) Write(p []byte) (int, error) {
	if c.paused != nil {
		if err := c.paused(c.got); err != nil {
			return 0, err
		}
	}
	expect := make([]byte, len(p))
	_, _ = io.ReadFull(c.want, expect)
	c.wrong = c.wrong || !bytes.Equal(p, expect)
	c.got += int64(len(p))
	return len(p), nil
}

func serve(ctx context.Context, c *Cache, w http.ResponseWriter, req Request, rng string) error {
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	if rng != "" {
		r.Header.Set("Range", rng)
	}
	_, err := c.Serve(w, r, req)
	return err
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

func TestPausedClientPausesItsFill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size, memory = 64 << 20, 32 << 20
		c := newTest(t, Limits{Memory: memory})
		p := policy()
		p.MaxObject = 0
		var mu sync.Mutex
		var read int64
		req := Request{Key: "a", Policy: p, Fetch: endless(size, func(n int) {
			mu.Lock()
			defer mu.Unlock()
			read += int64(n)
		})}
		resume := make(chan struct{})
		client := &checking{header: http.Header{}, want: &pattern{0, size}, paused: func(got int64) error {
			if got > 1<<20 {
				<-resume
			}
			return nil
		}}
		done := make(chan error)
		go func() { done <- serve(t.Context(), c, client, req, "") }()
		synctest.Wait()
		mu.Lock()
		ahead := read - client.got
		mu.Unlock()
		if ahead > memory/aheadShare+2*DefaultSlice {
			t.Errorf("the fill is %d bytes ahead of a client that has paused", ahead)
		}
		time.Sleep(time.Hour) // a pause is no stall
		close(resume)
		if err := <-done; err != nil || client.wrong || client.got != size {
			t.Errorf("%v, wrong: %t, %d bytes", err, client.wrong, client.got)
		}
	})
}

func TestFillStopsWithItsLastReader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 64 << 20
		c := newTest(t, Limits{Memory: 256 << 20})
		p := policy()
		p.MaxObject = 0
		var mu sync.Mutex
		var read int64
		gate := make(chan struct{}, size/1024)
		req := Request{Key: "a", Policy: p, Fetch: endless(size, func(n int) {
			<-gate
			mu.Lock()
			defer mu.Unlock()
			read += int64(n)
		})}
		gone := errors.New("client is gone")
		client := &checking{header: http.Header{}, want: &pattern{0, size}, paused: func(got int64) error {
			if got > 0 {
				return gone
			}
			return nil
		}}
		done := make(chan error)
		go func() { done <- serve(t.Context(), c, client, req, "") }()
		gate <- struct{}{}
		synctest.Wait()
		gate <- struct{}{}
		if err := <-done; !errors.Is(err, gone) || !errors.Is(err, ErrAborted) {
			t.Errorf("got %v", err)
		}
		for range 1000 {
			gate <- struct{}{}
		}
		synctest.Wait()
		if s := c.Stats(); read > 3*DefaultSlice || s.Bytes%DefaultSlice != 0 {
			t.Errorf("%d bytes were read for nobody, %d are kept", read, s.Bytes)
		}
	})
}

func TestEachGapIsOneRequest(t *testing.T) {
	c := newTest(t, Limits{Slice: 1000})
	o := newOrigin(content(20, 100_000))
	req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
	steps := []struct {
		client, upstream string // Range fields
	}{
		{"bytes=10500-10600", "bytes=10000-10999"},
		{"bytes=30000-30999", "bytes=30000-30999"},
		{"bytes=9999-31000", "bytes=9000-9999|bytes=11000-29999|bytes=31000-31999"},
		{"bytes=99999-", "bytes=99000-"},
		{"", "bytes=0-8999|bytes=32000-98999"},
		{"", ""},
	}
	for i, s := range steps {
		before := o.count()
		fields := []string{"Range", s.client}
		want := o.body
		if s.client == "" {
			fields = nil
		} else {
			specs, err := byterange.Parse(s.client)
			if err != nil {
				t.Fatal(err)
			}
			rng, _ := specs[0].Resolve(int64(len(o.body)))
			want = o.body[rng.Start:rng.End]
		}
		resp, _, err := get(t, c, req, fields...)
		if err != nil || !bytes.Equal(read(t, resp), want) {
			t.Fatalf("step %d: %v", i, err)
		}
		c.work.Wait()
		var asked string
		for j, h := range o.requests[before:] {
			if j > 0 {
				asked += "|"
			}
			asked += h.Get("Range")
		}
		if asked != s.upstream {
			t.Errorf("step %d: upstream was asked for %q, want %q", i, asked, s.upstream)
		}
	}
}

func TestSeekPastARunningFillDoesNotWaitForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 64 << 20
		c := newTest(t, Limits{Memory: 256 << 20})
		p := policy()
		p.MaxObject = 0
		slow := endless(size, func(int) { time.Sleep(time.Second) })
		fast := endless(size, func(int) {})
		req := Request{Key: "a", Policy: p, Fetch: func(ctx context.Context, h http.Header) (*http.Response, error) {
			if h.Get("Range") == "" {
				return slow(ctx, h)
			}
			return fast(ctx, h)
		}}
		player := &checking{header: http.Header{}, want: &pattern{0, size}}
		done := make(chan error)
		go func() { done <- serve(t.Context(), c, player, req, "") }()
		time.Sleep(1500 * time.Millisecond)
		start := time.Now()
		seeker := &checking{header: http.Header{}, want: &pattern{size - 131072, size}}
		if err := serve(t.Context(), c, seeker, req, "bytes=-131072"); err != nil || seeker.wrong || seeker.got != 131072 {
			t.Errorf("%v, wrong: %t, %d bytes", err, seeker.wrong, seeker.got)
		}
		if took := time.Since(start); took > 0 {
			t.Errorf("the seek took %v", took)
		}
		if err := <-done; err != nil || player.wrong || player.got != size {
			t.Errorf("%v, wrong: %t, %d bytes", err, player.wrong, player.got)
		}
	})
}

func TestReadAhead(t *testing.T) {
	c := newTest(t, Limits{Slice: 1000})
	o := newOrigin(content(21, 100_000))
	p := policy()
	p.ReadAhead = 2
	req := Request{Key: "a", Policy: p, Fetch: o.fetch}
	for i, s := range []struct {
		client, upstream string
		status           Status
	}{
		{"bytes=0-1", "bytes=0-2999", Miss},
		{"bytes=0-2999", "", Hit},
		{"bytes=3000-3999", "bytes=3000-5999", Partial},
		{"bytes=98500-", "bytes=98000-", Partial},
	} {
		before := o.count()
		resp, status, err := get(t, c, req, "Range", s.client)
		if err != nil || status != s.status || resp.StatusCode != 206 {
			t.Fatalf("step %d: %s, %v", i, status, err)
		}
		c.work.Wait()
		var asked string
		for _, h := range o.requests[before:] {
			asked += h.Get("Range")
		}
		if asked != s.upstream {
			t.Errorf("step %d: upstream was asked for %q, want %q", i, asked, s.upstream)
		}
	}
	// all that was read ahead is kept
	if info, ok := c.Peek("a"); !ok || info.Head != 6000 || info.Size != 100_000 {
		t.Errorf("stored: %+v", info)
	}
}

func TestWarmBringsTheHead(t *testing.T) {
	c := newTest(t, Limits{Slice: 1000})
	o := newOrigin(content(22, 100_000))
	req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
	if err := c.Warm(t.Context(), req, 2500); err != nil {
		t.Fatal(err)
	}
	c.work.Wait()
	if info, ok := c.Peek("a"); !ok || info.Head != 3000 || o.bytesSent() != 3000 {
		t.Errorf("stored: %+v, %d bytes sent", info, o.bytesSent())
	}
	if s := c.Stats(); s.Hits+s.Misses != 0 {
		t.Errorf("counted: %+v", s)
	}
	o.set(content(23, 10), `"short"`)
	req.Key = "b"
	if err := c.Warm(t.Context(), req, 2500); err != nil {
		t.Errorf("an object shorter than what is to be warmed: %v", err)
	}
}

func FuzzOpeningRange(f *testing.F) {
	for _, spec := range []byterange.Spec{{First: 0, Last: -1}, {First: -1, Last: 5}, {First: 7, Last: 9}, {First: -1, Last: math.MaxInt64}, {First: math.MaxInt64, Last: math.MaxInt64}} {
		f.Add(spec.First, spec.Last, int64(100_000), int64(1000), int64(2))
	}
	f.Fuzz(func(t *testing.T, first, last, size, slice, ahead int64) {
		field := "bytes=-" + strconv.FormatInt(last, 10)
		if first >= 0 {
			field = byterange.Header(byterange.Range{Start: first, End: -1})
			if last >= first {
				field += strconv.FormatInt(last, 10)
			}
		}
		specs, err := byterange.Parse(field)
		if err != nil || size <= 0 || size > math.MaxInt64>>1 || slice <= 0 || slice > 1<<30 || ahead < 0 || ahead > 100 {
			t.Skip()
		}
		want, ok := specs[0].Resolve(size)
		asked := openingRange(specs[0], slice, ahead)
		if !ok || asked == "" {
			return
		}
		got, err := byterange.Parse(asked)
		if err != nil {
			t.Fatalf("%q becomes %q: %v", field, asked, err)
		}
		r, ok := got[0].Resolve(size)
		if !ok || r.End < want.End || (r.Start+slice-1)/slice*slice > want.Start {
			t.Errorf("%q becomes %q, which lacks a part of %v", field, asked, want)
		}
	})
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
