package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestStartingOverForgetsTheVersionBefore takes a transaction step by step to where
// it finds its object superseded, and opens the new version: the fill of the old
// one, which it was a reader of, must not bring it a single byte more.
func TestStartingOverForgetsTheVersionBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{Slice: 1000})
		v1, v2 := content(1, 10_000), content(2, 10_000)
		o := newOrigin(v1)
		hold := make(chan struct{})
		o.tamper = func(n int, resp *http.Response) {
			if n > 1 {
				return
			}
			// some bytes when the gate opens, then nothing
			resp.Body = io.NopCloser(io.MultiReader(
				readerFunc(func([]byte) (int, error) { <-hold; return 0, io.EOF }),
				io.LimitReader(resp.Body, 500),
				readerFunc(func([]byte) (int, error) { time.Sleep(10 * time.Second); return 0, errReset })))
		}
		req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
		tr := &transaction{c: c, req: req}
		if err := tr.open(t.Context(), whole); err != nil {
			t.Fatal(err)
		}
		if v, err := tr.look(0, -1); v.news == nil || err != nil {
			t.Fatal("the reader does not wait for byte 0", err)
		}
		close(hold) // the first bytes of v1 arrive ...
		synctest.Wait()
		// ... but before the reader gets to run, another fill finds v2, and a second
		// client brings a part of it.
		c.supersede(tr.obj)
		o.set(v2, `"v2"`)
		resp, _, err := get(t, c, req, "Range", "bytes=5000-5999")
		if err != nil || !bytes.Equal(read(t, resp), v2[5000:6000]) {
			t.Fatal(err)
		}
		// The reader runs: what it finds is superseded before its first byte, so it
		// opens again.
		if _, err := tr.look(0, -1); !errors.Is(err, errSuperseded) {
			t.Fatal(err)
		}
		if err := tr.open(t.Context(), whole); err != nil {
			t.Fatal(err)
		}
		if etag := tr.obj.header.Get("Etag"); etag != `"v2"` {
			t.Fatal(etag)
		}
		p, err := tr.next(t.Context(), 0, -1, discard{})
		if err != nil || !bytes.HasPrefix(v2, p.data) {
			t.Errorf("the answer with v2's header begins with v1's bytes: %t, %v", bytes.HasPrefix(v1, p.data), err)
		}
		tr.close()
	})
}

// TestNotModifiedAboutAnotherVersion has an upstream whose 304 names an entity tag
// that is not the stored one: it confirms nothing, and the stored bytes must not be
// sent under that name (RFC 9111, section 4.3.4).
func TestNotModifiedAboutAnotherVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{})
		o := newOrigin(content(1, 1000))
		req := Request{Key: "a", Policy: policy(), Fetch: func(ctx context.Context, h http.Header) (*http.Response, error) {
			resp, err := o.fetch(ctx, h)
			if resp.StatusCode == 304 {
				resp.Header.Set("Etag", `"v2"`)
			}
			return resp, err
		}}
		if _, _, err := get(t, c, req); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * day)
		resp, _, err := get(t, c, req)
		if etag := resp.Header.Get("Etag"); err != nil || etag != `"v1"` || !bytes.Equal(read(t, resp), o.body) {
			t.Errorf("the bytes of v1 are not sent as v1, but as %s: %v", etag, err)
		}
	})
}

// TestGapOfWhatCameWithoutALength evicts parts of an object whose size was not known
// until it was all there: by then it is part of what tells versions apart, so that
// the parts can be fetched again.
func TestGapOfWhatCameWithoutALength(t *testing.T) {
	c := newTest(t, Limits{Slice: 1000})
	o := newOrigin(content(1, 10_000))
	o.unknown = true
	req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
	if _, _, err := get(t, c, req); err != nil {
		t.Fatal(err)
	}
	c.work.Wait()
	c.mu.Lock() // evict all but the first slice
	ob, _ := c.store.objects.Peek("a")
	c.store.use(ob, 0, 1)
	c.mu.Unlock()
	c.SetLimits(Limits{Memory: 1000, Slice: 1000})
	c.SetLimits(Limits{Memory: 1 << 20, Slice: 1000})
	resp, _, err := get(t, c, req)
	if err != nil || !bytes.Equal(read(t, resp), o.body) {
		t.Errorf("nothing has changed upstream: %v", err)
	}
}

// TestWithoutValidatorAllThatIsSentIsOpened asks for more than one range, or for a
// range that If-Range turns into the whole, of an object whose answers can't be
// joined: one answer must bring all that is sent.
func TestWithoutValidatorAllThatIsSentIsOpened(t *testing.T) {
	for _, fields := range [][]string{
		{"Range", "bytes=0-9,50000-50009"},
		{"Range", "bytes=0-9,5-50000"},
		{"Range", "bytes=0-9", "If-Range", `"x"`},
	} {
		t.Run(fmt.Sprint(fields), func(t *testing.T) {
			c := newTest(t, Limits{Slice: 1000})
			o := newOrigin(content(1, 100_000))
			o.header.Del("Etag")
			req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
			for range 2 {
				if _, _, err := get(t, c, req, fields...); err != nil {
					t.Errorf("a correct upstream, and: %v", err)
				}
			}
		})
	}
}

// TestWithoutValidatorEachRangeIsAnswered lets clients want different parts of such
// an object at once: each replaces it for the others, and all get their bytes
// nevertheless.
func TestWithoutValidatorEachRangeIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{Slice: 1000})
		o := newOrigin(content(1, 100_000))
		o.header.Del("Etag")
		req := Request{Key: "a", Policy: policy(), Fetch: func(ctx context.Context, h http.Header) (*http.Response, error) {
			time.Sleep(20 * time.Millisecond) // all others have asked by then
			return o.fetch(ctx, h)
		}}
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				first := i * 10_000
				rng := fmt.Sprintf("bytes=%d-%d", first, first+99)
				resp, _, err := get(t, c, req, "Range", rng)
				if err != nil || !bytes.Equal(read(t, resp), o.body[first:first+100]) {
					t.Errorf("%s: %v", rng, err)
				}
			})
		}
		wg.Wait()
	})
}
