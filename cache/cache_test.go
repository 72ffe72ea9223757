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
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestHitMissAndExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{})
		o := newOrigin(content(1, 20<<10))
		req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}

		steps := []struct {
			wait   time.Duration
			status Status
			cs     string
			age    string
			count  int
		}{
			{0, Miss, "voyo; fwd=miss; stored", "", 1},
			{10 * time.Second, Hit, "voyo; hit; ttl=86390", "10", 1},
			{day, Revalidated, "voyo; fwd=stale; fwd-status=304; stored", "", 2},
			{hour, Hit, "voyo; hit; ttl=82800", "3600", 2},
		}
		for i, s := range steps {
			time.Sleep(s.wait)
			resp, status, err := get(t, c, req)
			if err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if status != s.status || resp.Header.Get("Cache-Status") != s.cs || resp.Header.Get("Age") != s.age {
				t.Errorf("step %d: %s, %q, Age %s; want %s, %q, %s", i, status, resp.Header.Get("Cache-Status"), resp.Header.Get("Age"), s.status, s.cs, s.age)
			}
			if !bytes.Equal(read(t, resp), o.body) || o.count() != s.count {
				t.Errorf("step %d: wrong body, or %d upstream requests instead of %d", i, o.count(), s.count)
			}
		}
		o.set(content(2, 9000), `"v2"`)
		time.Sleep(2 * day)
		resp, status, err := get(t, c, req)
		if err != nil || status != Miss || !bytes.Equal(read(t, resp), o.body) || resp.Header.Get("Etag") != `"v2"` {
			t.Errorf("a changed object is not replaced: %s, %v", status, err)
		}
	})
}

// TestHeadersOfAPartAreHits asks for answers without a body, of which only a part
// is stored: they need nothing of the upstream, and say so.
func TestHeadersOfAPartAreHits(t *testing.T) {
	c := newTest(t, Limits{Slice: 1000})
	o := newOrigin(content(1, 100_000))
	req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
	if _, _, err := get(t, c, req, "Range", "bytes=-5"); err != nil {
		t.Fatal(err)
	}
	c.work.Wait()
	before := o.count()
	for _, r := range []struct {
		method string
		fields []string
	}{
		{"HEAD", nil},
		{"GET", []string{"If-None-Match", `"v1"`}},
		{"GET", []string{"If-Match", `"v2"`}},
	} {
		resp, status, err := do(t, c, r.method, req, r.fields...)
		if cs := resp.Header.Get("Cache-Status"); err != nil || strings.Contains(cs, "fwd") || status != Hit {
			t.Errorf("%s %v: %d, %s, %q, %v", r.method, r.fields, resp.StatusCode, status, cs, err)
		}
	}
	if n := o.count() - before; n != 0 {
		t.Errorf("%d upstream requests", n)
	}
}

// TestColdHeadKeepsWhatItSays repeats a HEAD of something new: its fill has no
// reader that waits, and must bring what Cache-Status calls stored nevertheless.
func TestColdHeadKeepsWhatItSays(t *testing.T) {
	const times = 300 // it is a matter of who is faster
	lost := 0
	for range times {
		c := New(Limits{Memory: 1 << 20, Slice: 1000})
		o := newOrigin(content(1, 10_000))
		resp, _, err := do(t, c, "HEAD", Request{Key: "a", Policy: policy(), Fetch: o.fetch})
		if err != nil {
			t.Fatal(err)
		}
		c.work.Wait()
		if strings.Contains(resp.Header.Get("Cache-Status"), "stored") && c.Stats().Entries == 0 {
			lost++
		}
		c.Close()
	}
	if lost > 0 {
		t.Errorf("%d of %d say stored, and nothing is", lost, times)
	}
}

func TestOneFetchForAll(t *testing.T) {
	c := newTest(t, Limits{})
	o := newOrigin(content(5, 20<<10))
	gate := make(chan struct{})
	fetch := func(ctx context.Context, h http.Header) (*http.Response, error) {
		<-gate
		return o.fetch(ctx, h)
	}
	req := Request{Key: "a", Policy: policy(), Fetch: fetch}
	var wg sync.WaitGroup
	var entered sync.WaitGroup
	for range 1000 {
		entered.Add(1)
		wg.Go(func() {
			entered.Done()
			resp, _, err := get(t, c, req)
			if err != nil || !bytes.Equal(read(t, resp), o.body) {
				t.Errorf("wrong answer: %v", err)
			}
		})
	}
	entered.Wait()
	close(gate)
	wg.Wait()
	if o.count() != 1 {
		t.Errorf("%d upstream requests for 1000 clients", o.count())
	}
	if s := c.Stats(); s.Hits+s.Misses != 1000 {
		t.Errorf("stats: %+v", s)
	}
}

func TestLeaderLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{})
		o := newOrigin(content(9, 20<<10))
		gate := make(chan struct{})
		req := Request{Key: "a", Policy: policy(), Fetch: func(ctx context.Context, h http.Header) (*http.Response, error) {
			<-gate
			return o.fetch(ctx, h)
		}}
		ctx, cancel := context.WithCancel(t.Context())
		led := make(chan error)
		go func() {
			_, err := c.Serve(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "GET", "/", nil), req)
			led <- err
		}()
		synctest.Wait()
		followed := make(chan []byte)
		go func() {
			resp, _, err := get(t, c, req)
			if err != nil {
				t.Error(err)
			}
			followed <- read(t, resp)
		}()
		synctest.Wait()
		cancel()
		if err := <-led; !errors.Is(err, context.Canceled) {
			t.Errorf("leader: %v", err)
		}
		close(gate)
		if !bytes.Equal(<-followed, o.body) || o.count() != 1 {
			t.Error("the leader's departure hurt a follower")
		}
	})
}

// TestJoinersAreNotAnsweredWithAnothersRange lets a client that wants the whole
// join the opening of one whose range the object does not have: the upstream's 416
// is about that range alone.
func TestJoinersAreNotAnsweredWithAnothersRange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{Slice: 1000})
		o := newOrigin(content(1, 3000))
		gate := make(chan struct{})
		req := Request{Key: "a", Policy: policy(), Fetch: func(ctx context.Context, h http.Header) (*http.Response, error) {
			<-gate
			return o.fetch(ctx, h)
		}}
		go func() { _, _, _ = get(t, c, req, "Range", "bytes=999999-") }()
		synctest.Wait()
		done := make(chan struct{})
		go func() {
			defer close(done)
			resp, _, err := get(t, c, req)
			if err != nil || resp.StatusCode != 200 || !bytes.Equal(read(t, resp), o.body) {
				t.Errorf("a request without Range: status %d, %v", resp.StatusCode, err)
			}
		}()
		synctest.Wait()
		close(gate)
		<-done
	})
}

func TestNotFoundIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{})
		n := 0
		req := Request{Key: "a", Policy: policy(), Fetch: func(context.Context, http.Header) (*http.Response, error) {
			n++
			return nil, fmt.Errorf("nowhere: %w", ErrNotFound)
		}}
		for i, wait := range []time.Duration{0, 30 * time.Second, 31 * time.Second} {
			time.Sleep(wait)
			resp, _, err := get(t, c, req)
			if !errors.Is(err, ErrNotFound) {
				t.Errorf("request %d: %v", i, err)
			}
			if cs := resp.Header.Get("Cache-Status"); strings.Contains(cs, "hit") != (i == 1) {
				t.Errorf("request %d: %s", i, cs)
			}
		}
		if n != 2 {
			t.Errorf("%d fetches", n)
		}
	})
}

// TestNotFoundInAGapIsRemembered loses the object upstream after a part of it is
// stored: clients who want the rest must not all ask for it again.
func TestNotFoundInAGapIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{Slice: 1000})
		o := newOrigin(content(1, 100_000))
		req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
		if err := c.Warm(t.Context(), req, 500); err != nil {
			t.Fatal(err)
		}
		c.work.Wait()
		o.fail = func(int, http.Header) error { return fmt.Errorf("gone: %w", ErrNotFound) }
		before := o.count()
		for range 10 {
			if _, _, err := get(t, c, req, "Range", "bytes=50000-50009"); !errors.Is(err, ErrNotFound) {
				t.Fatal(err)
			}
		}
		if n := o.count() - before; n > 1 {
			t.Errorf("the upstream was asked %d times within the NegativeTTL", n)
		}
	})
}

// TestFailuresAreNotStored fails requests before their first byte, when a header has
// already promised that what comes is kept.
func TestFailuresAreNotStored(t *testing.T) {
	for name, cached := range map[string]int64{"miss": 0, "partial": 500} {
		t.Run(name, func(t *testing.T) {
			c := newTest(t, Limits{Slice: 1000})
			o := newOrigin(content(1, 100_000))
			req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
			if cached > 0 {
				if err := c.Warm(t.Context(), req, cached); err != nil {
					t.Fatal(err)
				}
				c.work.Wait()
			}
			o.wrap = func(context.Context, io.Reader) io.Reader {
				return readerFunc(func([]byte) (int, error) { return 0, errReset })
			}
			resp, _, err := get(t, c, req, "Range", "bytes=50000-50009")
			if cs := resp.Header.Get("Cache-Status"); err == nil || cs != "voyo; fwd="+name {
				t.Errorf("%v; %s", err, cs)
			}
		})
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
	if info, ok := c.Peek(t.Context(), "a"); !ok || info.Head != 3000 || o.bytesSent() != 3000 {
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

// TestWarmBringsTheRest warms all of an object with holes, by a length far beyond
// its end: the object's own size must stand.
func TestWarmBringsTheRest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{Slice: 1000})
		o := newOrigin(content(1, 10_000))
		req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
		for _, rng := range []string{"bytes=0-10", "bytes=5000-5010"} {
			if _, _, err := get(t, c, req, "Range", rng); err != nil {
				t.Fatal(err)
			}
		}
		c.work.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := c.Warm(ctx, req, math.MaxInt64); err != nil {
			t.Errorf("Warm: %v", err)
		}
		if info, _ := c.Peek(t.Context(), "a"); info.Size != 10_000 {
			t.Errorf("stored: %+v", info)
		}
		if resp, _, err := get(t, c, req); err != nil || !bytes.Equal(read(t, resp), o.body) {
			t.Errorf("GET: %v, Content-Length %s", err, resp.Header.Get("Content-Length"))
		}
	})
}

// TestStatsCountFills looks at the figures while an exchange is under way, and
// when it is over.
func TestStatsCountFills(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{})
		o := newOrigin(content(1, 1000))
		gate := make(chan struct{})
		o.wrap = func(_ context.Context, r io.Reader) io.Reader {
			return readerFunc(func(p []byte) (int, error) { <-gate; return r.Read(p) })
		}
		done := make(chan struct{})
		go func() {
			defer close(done)
			_, _, _ = get(t, c, Request{Key: "a", Policy: policy(), Fetch: o.fetch})
		}()
		synctest.Wait()
		if s := c.Stats(); s.Fills != 1 {
			t.Errorf("%d fills", s.Fills)
		}
		close(gate)
		<-done
		c.work.Wait()
		if s := c.Stats(); s.Fills != 0 {
			t.Errorf("%d fills, and none is under way", s.Fills)
		}
	})
}
