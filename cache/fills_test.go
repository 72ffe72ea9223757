package cache

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/voyo-music/caddy-voyo/internal/contain"
)

func TestStalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{})
		hang := true
		o := newOrigin(content(10, 20<<10))
		req := Request{Key: "a", Policy: policy(), Fetch: func(ctx context.Context, h http.Header) (*http.Response, error) {
			if hang {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return o.fetch(ctx, h)
		}}
		start := time.Now()
		if _, _, err := get(t, c, req); !errors.Is(err, ErrStalled) || time.Since(start) != openTimeout {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		hang = false
		// A body that stalls is taken up again where it stopped.
		o.wrap = func(ctx context.Context, r io.Reader) io.Reader {
			if o.requests[len(o.requests)-1].Get("Range") != "" {
				return r
			}
			return io.MultiReader(io.LimitReader(r, 5000), readerFunc(func([]byte) (int, error) {
				<-ctx.Done()
				return 0, ctx.Err()
			}))
		}
		resp, _, err := get(t, c, req)
		if err != nil || !bytes.Equal(read(t, resp), o.body) {
			t.Errorf("the key is dead: %v", err)
		}
		if n := o.count(); n != 2 || o.requests[1].Get("Range") != "bytes=5000-" || o.requests[1].Get("If-Range") != `"v1"` {
			t.Errorf("%d requests: %v", n, o.requests)
		}
		if o.bytesSent() != int64(len(o.body)) {
			t.Errorf("%d bytes sent for %d", o.bytesSent(), len(o.body))
		}
	})
}

func TestBrokenBodies(t *testing.T) {
	begun := make(chan struct{}) // closed when the client has got something
	// breaks sends n bytes, and fails when the client has got some of them.
	breaks := func(resp *http.Response, n int64, err error) {
		resp.Body = io.NopCloser(errReader(resp.Body, n, err, begun))
	}
	tests := []struct {
		name    string
		change  func(*origin)
		aborted string // whether the answer had begun: yes, no, or whoever is faster
		again   bool   // the next request succeeds
	}{
		{"reset, no validator", func(o *origin) {
			o.header.Del("Etag")
			o.tamper = func(n int, resp *http.Response) {
				if n == 1 {
					breaks(resp, 400<<10, errReset)
				}
			}
		}, "yes", true},
		{"truncated, length unknown", func(o *origin) {
			o.unknown = true
			o.tamper = func(n int, resp *http.Response) {
				if n == 1 {
					breaks(resp, 400<<10, io.ErrUnexpectedEOF)
				}
			}
		}, "yes", true},
		{"another version in the middle", func(o *origin) {
			o.tamper = func(n int, resp *http.Response) {
				if n == 1 {
					breaks(resp, 400<<10, errReset)
					o.body = content(99, len(o.body))
					o.header.Set("Etag", `"v2"`)
				}
			}
		}, "yes", true},
		{"too long", func(o *origin) {
			o.tamper = func(n int, resp *http.Response) {
				if n == 1 {
					resp.Body = io.NopCloser(io.MultiReader(resp.Body, strings.NewReader("more")))
				}
			}
		}, "either", true},
		{"never more than a byte", func(o *origin) {
			o.tamper = func(n int, resp *http.Response) {
				if n > 1 {
					resp.Body = io.NopCloser(errReader(resp.Body, 0, errReset, nil))
				} else {
					resp.Body = io.NopCloser(errReader(resp.Body, 1, errReset, nil))
				}
			}
		}, "either", false},
		{"reset before the first byte, always", func(o *origin) {
			o.tamper = func(_ int, resp *http.Response) { resp.Body = io.NopCloser(errReader(resp.Body, 0, errReset, nil)) }
		}, "no", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newTest(t, Limits{})
			o := newOrigin(content(11, 600<<10))
			tt.change(o)
			req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
			begun = make(chan struct{})
			_, err := c.Serve(&noticing{ResponseWriter: httptest.NewRecorder(), first: begun}, httptest.NewRequestWithContext(t.Context(), "GET", "/", nil), req)
			if tt.aborted != "either" && (err == nil || errors.Is(err, ErrAborted) != (tt.aborted == "yes")) {
				t.Errorf("first request: %v", err)
			}
			resp, _, err := get(t, c, req)
			if tt.again && (err != nil || !bytes.Equal(read(t, resp), o.body)) {
				t.Errorf("second request: %v", err)
			}
			if !tt.again && err == nil {
				t.Error("second request succeeds")
			}
		})
	}
}

func TestResetIsHealed(t *testing.T) {
	c := newTest(t, Limits{})
	o := newOrigin(content(12, 600<<10))
	o.tamper = func(n int, resp *http.Response) {
		if n < 8 { // each brings a bit more
			resp.Body = io.NopCloser(errReader(resp.Body, 77_777, errReset, nil))
		}
	}
	req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
	resp, status, err := get(t, c, req)
	if err != nil || status != Miss || !bytes.Equal(read(t, resp), o.body) {
		t.Fatalf("%s, %v", status, err)
	}
	c.work.Wait()
	if o.count() != 8 || !contains(c, "a") {
		t.Errorf("%d requests, stored: %t", o.count(), contains(c, "a"))
	}
}

// TestResetAfterTheLastByte breaks the connection when all bytes have arrived: there
// is nothing to ask for again, and the object is as good as any.
func TestResetAfterTheLastByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{Slice: 1000})
		o := newOrigin(content(1, 1800))
		first, wait := make(chan struct{}), make(chan struct{})
		o.tamper = func(n int, resp *http.Response) {
			if n == 1 {
				resp.Body = io.NopCloser(errReader(resp.Body, 1800, errReset, first))
			}
		}
		client := &pausing{ResponseRecorder: httptest.NewRecorder(), first: first, wait: wait}
		done := make(chan error)
		go func() { done <- serve(t.Context(), c, client, Request{Key: "a", Policy: policy(), Fetch: o.fetch}, "") }()
		synctest.Wait()
		close(wait)
		if err := <-done; err != nil || !bytes.Equal(client.Body.Bytes(), o.body) {
			t.Errorf("all bytes arrived before the reset: %v", err)
		}
		c.work.Wait()
		if !contains(c, "a") {
			t.Errorf("they are not stored, after %d requests", o.count())
		}
	})
}

func TestPanicIsContained(t *testing.T) {
	c := newTest(t, Limits{})
	o := newOrigin(content(1, 100))
	req := Request{Key: "a", Policy: policy(), Fetch: func(context.Context, http.Header) (*http.Response, error) { panic("boom") }}
	_, _, err := get(t, c, req)
	if p, ok := errors.AsType[*contain.PanicError](err); !ok || p.Value != "boom" {
		t.Errorf("got %v", err)
	}
	req.Fetch = o.fetch
	if resp, _, err := get(t, c, req); err != nil || !bytes.Equal(read(t, resp), o.body) {
		t.Errorf("the key is dead: %v", err)
	}
}

// TestPanicInAResumeEndsTheFill panics when readers already wait for the fill: they
// must hear of it, and the fill must be gone.
func TestPanicInAResumeEndsTheFill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{})
		o := newOrigin(content(1, 300_000))
		req := Request{Key: "a", Policy: policy(), Fetch: func(ctx context.Context, h http.Header) (*http.Response, error) {
			if h.Get("Range") != "" {
				panic("in the resume")
			}
			resp, err := o.fetch(ctx, h)
			resp.Body = io.NopCloser(errReader(resp.Body, 1000, errReset, nil))
			return resp, err
		}}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		err := serve(ctx, c, httptest.NewRecorder(), req, "")
		if _, ok := errors.AsType[*contain.PanicError](err); !ok {
			t.Errorf("the reader hears of %v", err)
		}
		c.work.Wait()
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, ob := range c.store.objects.Values() {
			if len(ob.fills) > 0 {
				t.Error("a fill that nobody runs is still there")
			}
		}
	})
}

// TestGapAfterCloseIsAnError reads on after the cache was closed: no fill can start
// any more, so that waiting for one would never end.
func TestGapAfterCloseIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{Slice: 1000})
		o := newOrigin(content(1, 30_000))
		req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
		if err := c.Warm(t.Context(), req, 500); err != nil {
			t.Fatal(err)
		}
		c.work.Wait()
		c.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		err := serve(ctx, c, httptest.NewRecorder(), req, "bytes=20000-20010")
		if !errors.Is(err, ErrClosed) {
			t.Errorf("got %v", err)
		}
	})
}
