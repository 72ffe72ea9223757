package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/voyo-music/caddy-voyo/internal/byterange"
	"github.com/voyo-music/caddy-voyo/internal/contain"
)

const (
	minute = time.Minute
	hour   = time.Hour
	day    = 24 * time.Hour
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func newTest(t testing.TB, l Limits) *Cache {
	t.Helper()
	if l.Memory == 0 {
		l.Memory = 64 << 20
	}
	c := New(l)
	t.Cleanup(c.Close)
	return c
}

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
			{0, Miss, "voyo; fwd=miss; stored", "0", 1},
			{10 * time.Second, Hit, "voyo; hit; ttl=86390", "10", 1},
			{day, Revalidated, "voyo; fwd=stale; fwd-status=304; stored", "0", 2},
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

func TestRangesAndPreconditions(t *testing.T) {
	body := content(3, 700<<10)
	modified := "Mon, 02 Jan 2023 03:04:05 GMT"
	size := fmt.Sprint(len(body))
	tests := []struct {
		name   string
		fields []string
		status int
		want   []byte
		crange string
	}{
		{"whole", nil, 200, body, ""},
		{"first bytes", []string{"Range", "bytes=0-1"}, 206, body[:2], "bytes 0-1/" + size},
		{"open", []string{"Range", "bytes=0-"}, 206, body, "bytes 0-" + fmt.Sprint(len(body)-1) + "/" + size},
		{"across slices", []string{"Range", "bytes=262100-262200"}, 206, body[262100:262201], "bytes 262100-262200/" + size},
		{"suffix", []string{"Range", "bytes=-5"}, 206, body[len(body)-5:], fmt.Sprintf("bytes %d-%d/%s", len(body)-5, len(body)-1, size)},
		{"past the end", []string{"Range", "bytes=716800-"}, 416, nil, "bytes */" + size},
		{"malformed", []string{"Range", "bytes=5-2"}, 200, body, ""},
		{"If-Range holds", []string{"Range", "bytes=0-1", "If-Range", `"v1"`}, 206, body[:2], "bytes 0-1/" + size},
		{"If-Range does not", []string{"Range", "bytes=0-1", "If-Range", `"v0"`}, 200, body, ""},
		{"weak If-Range", []string{"Range", "bytes=0-1", "If-Range", `W/"v1"`}, 200, body, ""},
		{"If-Range date", []string{"Range", "bytes=0-1", "If-Range", modified}, 206, body[:2], "bytes 0-1/" + size},
		{"If-None-Match", []string{"If-None-Match", `"x", W/"v1"`}, 304, nil, ""},
		{"If-None-Match, other", []string{"If-None-Match", `"x"`, "If-Modified-Since", modified}, 200, body, ""},
		{"If-None-Match, any", []string{"If-None-Match", "*"}, 304, nil, ""},
		{"If-Modified-Since", []string{"If-Modified-Since", modified}, 304, nil, ""},
		{"If-Match", []string{"If-Match", `"v1"`}, 200, body, ""},
		{"If-Match, other", []string{"If-Match", `"v2"`}, 412, nil, ""},
		{"If-Match, weak", []string{"If-Match", `W/"v1"`}, 412, nil, ""},
		{"If-Unmodified-Since", []string{"If-Unmodified-Since", "Sun, 01 Jan 2023 00:00:00 GMT"}, 412, nil, ""},
	}
	for _, tt := range tests {
		for _, temperature := range []string{"cold", "warm"} {
			t.Run(tt.name+", "+temperature, func(t *testing.T) {
				c := newTest(t, Limits{})
				o := newOrigin(body)
				o.header.Set("Last-Modified", modified)
				req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
				if temperature == "warm" {
					if err := c.Warm(t.Context(), req, int64(len(body))); err != nil {
						t.Fatal(err)
					}
				}
				resp, _, err := get(t, c, req, tt.fields...)
				if err != nil {
					t.Fatal(err)
				}
				if got := read(t, resp); resp.StatusCode != tt.status || !bytes.Equal(got, tt.want) || resp.Header.Get("Content-Range") != tt.crange {
					t.Errorf("status %d, %d bytes, Content-Range %q", resp.StatusCode, len(got), resp.Header.Get("Content-Range"))
				}
			})
		}
	}
}

func TestMultipart(t *testing.T) {
	c := newTest(t, Limits{})
	o := newOrigin(content(4, 600<<10))
	req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
	resp, _, err := get(t, c, req, "Range", "bytes=0-9,300000-300099,-7")
	if err != nil || resp.StatusCode != 206 {
		t.Fatalf("status %d, %v", resp.StatusCode, err)
	}
	_, params, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	parts := multipart.NewReader(resp.Body, params["boundary"])
	for _, want := range []byterange.Range{{Start: 0, End: 10}, {Start: 300000, End: 300100}, {Start: 600<<10 - 7, End: 600 << 10}} {
		part, err := parts.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(part)
		if err != nil || !bytes.Equal(got, o.body[want.Start:want.End]) || part.Header.Get("Content-Range") != byterange.ContentRange(want, 600<<10) || part.Header.Get("Content-Type") != "image/png" {
			t.Errorf("wrong part for %v: %v", want, err)
		}
	}
	if _, err := parts.NextPart(); err != io.EOF {
		t.Errorf("more than three parts: %v", err)
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

func TestBounds(t *testing.T) {
	c := newTest(t, Limits{Entries: 500, Memory: 4 << 20})
	for i := range 10_000 {
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
	if !contains(c, "9999") || contains(c, "0") {
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

func TestPolicyDecidesWhatIsKept(t *testing.T) {
	tests := []struct {
		name   string
		header http.Header
		change func(*origin, *Policy)
		kept   bool
		after  Status // of a second request, an hour and a minute later
	}{
		{"nothing stated", nil, nil, true, Hit},
		{"max-age", http.Header{"Cache-Control": {"max-age=7200"}}, nil, true, Hit},
		{"short max-age", http.Header{"Cache-Control": {"max-age=60"}}, nil, true, Revalidated},
		{"s-maxage wins", http.Header{"Cache-Control": {"max-age=60, s-maxage=7200"}}, nil, true, Hit},
		{"age counts", http.Header{"Cache-Control": {"max-age=7200"}, "Age": {"7000"}}, nil, true, Revalidated},
		{"expired", http.Header{"Expires": {"0"}}, nil, true, Revalidated},
		{"no-cache", http.Header{"Cache-Control": {"no-cache"}}, nil, true, Revalidated},
		{"no-store", http.Header{"Cache-Control": {"no-store"}}, nil, false, Pass},
		{"private", http.Header{"Cache-Control": {"Private"}}, nil, false, Pass},
		{"overridden", http.Header{"Cache-Control": {"no-store"}}, func(_ *origin, p *Policy) { p.OverrideTTL = 2 * hour }, true, Hit},
		{"vary on everything", http.Header{"Vary": {"*"}}, nil, false, Pass},
		{"too large", nil, func(_ *origin, p *Policy) { p.MaxObject = 1000 }, false, Pass},
		{"length unknown", nil, func(o *origin, _ *Policy) { o.unknown = true }, true, Hit},
		{"ends with its connection", nil, func(o *origin, _ *Policy) {
			o.unknown = true
			o.tamper = func(_ int, resp *http.Response) { resp.TransferEncoding = nil }
		}, false, Pass},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newTest(t, Limits{})
				o := newOrigin(content(6, 300<<10))
				p := policy()
				maps.Copy(o.header, tt.header)
				if tt.change != nil {
					tt.change(o, p)
				}
				req := Request{Key: "a", Policy: p, Fetch: o.fetch}
				resp, _, err := get(t, c, req)
				if err != nil || !bytes.Equal(read(t, resp), o.body) {
					t.Fatalf("wrong answer: %v", err)
				}
				synctest.Wait()
				if kept := c.Stats().Entries == 1; kept != tt.kept {
					t.Errorf("kept: %t", kept)
				}
				wait := hour + minute
				if tt.after == Pass {
					wait = passTime / 2
				}
				time.Sleep(wait)
				resp, status, err := get(t, c, req)
				if err != nil || status != tt.after || !bytes.Equal(read(t, resp), o.body) {
					t.Errorf("second answer: %s, %v", status, err)
				}
			})
		})
	}
}

func TestTooLargeWithoutSayingSo(t *testing.T) {
	c := newTest(t, Limits{})
	o := newOrigin(content(7, 600<<10))
	o.unknown = true
	p := policy()
	p.MaxObject = 300 << 10
	req := Request{Key: "a", Policy: p, Fetch: o.fetch}
	// The first client has nothing yet, and is passed through, or has a part.
	if _, status, err := get(t, c, req); !errors.Is(err, ErrAborted) && status != Pass {
		t.Errorf("got %s, %v", status, err)
	}
	resp, status, err := get(t, c, req)
	if err != nil || status != Pass || !bytes.Equal(read(t, resp), o.body) {
		t.Errorf("next answer: %s, %v", status, err)
	}
	if s := c.Stats(); s.Entries != 0 || s.Bytes != 0 {
		t.Errorf("something was kept: %+v", s)
	}
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

func TestAdmission(t *testing.T) {
	c := newTest(t, Limits{})
	o := newOrigin([]byte("<html>not an image</html>"))
	p := policy()
	var seen []byte
	refused := errors.New("not an image")
	p.Admit = func(h http.Header, head []byte) error {
		seen = bytes.Clone(head)
		if !bytes.HasPrefix(head, []byte("IMG")) {
			return refused
		}
		h.Set("Content-Type", "image/test")
		return nil
	}
	req := Request{Key: "a", Policy: p, Fetch: o.fetch}
	if _, _, err := get(t, c, req); !errors.Is(err, refused) || !bytes.Equal(seen, o.body) {
		t.Errorf("got %v after a look at %q", err, seen)
	}
	if s := c.Stats(); s.Entries != 0 {
		t.Errorf("kept: %+v", s)
	}
	o.set(append([]byte("IMG"), content(8, 5000)...), `"v2"`)
	resp, _, err := get(t, c, req, "Range", "bytes=1000-1999")
	if err != nil || resp.StatusCode != 206 || !bytes.Equal(read(t, resp), o.body[1000:2000]) || resp.Header.Get("Content-Type") != "image/test" {
		t.Errorf("status %d, %v", resp.StatusCode, err)
	}
	if len(seen) != SniffLen {
		t.Errorf("Admit saw %d bytes", len(seen))
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

func TestSeekFetchesWhatItNeeds(t *testing.T) {
	c := newTest(t, Limits{})
	o := newOrigin(content(13, 8<<20))
	req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
	resp, status, err := get(t, c, req, "Range", "bytes=-131072")
	if err != nil || status != Miss || !bytes.Equal(read(t, resp), o.body[len(o.body)-131072:]) {
		t.Fatalf("suffix: %s, %v", status, err)
	}
	if o.bytesSent() > 131072+DefaultSlice {
		t.Errorf("the upstream sent %d bytes", o.bytesSent())
	}
	c.work.Wait()
	resp, status, err = get(t, c, req, "Range", "bytes=8257600-")
	if err != nil || status != Hit || !bytes.Equal(read(t, resp), o.body[8257600:]) {
		t.Errorf("the suffix again: %s, %v", status, err)
	}
	resp, status, err = get(t, c, req)
	if err != nil || status != Partial || !bytes.Equal(read(t, resp), o.body) || o.count() != 2 {
		t.Errorf("the whole: %s, %v, %d requests", status, err, o.count())
	}
	if cs := resp.Header.Get("Cache-Status"); cs != "voyo; fwd=partial; stored" {
		t.Errorf("Cache-Status: %s", cs)
	}
}
