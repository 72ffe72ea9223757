package cache

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"mime"
	"mime/multipart"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/voyo-music/caddy-voyo/internal/byterange"
)

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

// TestUnsatisfiableRangeIsNotAllThatCounts combines what an upstream answers with a
// 416 with what comes before it, or instead of it (RFC 9110, section 13.2.2): the
// answer is the same whether the object is stored or not.
func TestUnsatisfiableRangeIsNotAllThatCounts(t *testing.T) {
	tests := []struct {
		name   string
		size   int
		method string
		fields []string
		status int
	}{
		{"If-Range does not hold", 3000, "GET", []string{"Range", "bytes=999999-", "If-Range", `"v0"`}, 200},
		{"first of two ranges unsatisfiable", 3000, "GET", []string{"Range", "bytes=999999-,0-1"}, 206},
		{"If-None-Match comes before Range", 3000, "GET", []string{"Range", "bytes=999999-", "If-None-Match", `"v1"`}, 304},
		{"HEAD of an empty object", 0, "HEAD", nil, 200},
	}
	for _, tt := range tests {
		for _, temperature := range []string{"warm", "cold"} {
			t.Run(tt.name+", "+temperature, func(t *testing.T) {
				c := newTest(t, Limits{Slice: 1000})
				o := newOrigin(content(1, tt.size))
				req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
				if temperature == "warm" {
					if _, _, err := get(t, c, req); err != nil {
						t.Fatal(err)
					}
				}
				resp, _, err := do(t, c, tt.method, req, tt.fields...)
				if err != nil || resp.StatusCode != tt.status {
					t.Errorf("status %d, %v; want %d", resp.StatusCode, err, tt.status)
				}
			})
		}
	}
}

// TestRangeBehindTheEnd has a client ask for what a large object does not have. The
// upstream sends one slice, and not all of it.
func TestRangeBehindTheEnd(t *testing.T) {
	for _, etag := range []string{`"v1"`, ""} {
		t.Run("ETag "+etag, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newTest(t, Limits{Slice: 1000})
				o := newOrigin(content(1, 100_000))
				if etag == "" {
					o.header.Del("Etag")
				}
				req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
				for range 2 {
					resp, _, err := get(t, c, req, "Range", "bytes=999999-")
					if err != nil || resp.StatusCode != 416 || resp.Header.Get("Content-Range") != "bytes */100000" {
						t.Fatalf("got %d, %v, %v", resp.StatusCode, resp.Header, err)
					}
				}
				synctest.Wait()
				if o.sent > 2000 {
					t.Errorf("the upstream sent %d bytes", o.sent)
				}
				resp, _, err := get(t, c, req)
				if err != nil || !bytes.Equal(read(t, resp), o.body) {
					t.Errorf("then all of it: %v", err)
				}
			})
		})
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
		{"bytes=0-1999", "", Hit},
		{"bytes=2000-2100", "bytes=3000-5999", Hit}, // the next range will be a hit
		{"bytes=3000-3999", "", Hit},
		{"bytes=6000-6099", "bytes=6000-8999", Partial},
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
	if info, ok := c.Peek(t.Context(), "a"); !ok || info.Head != 9000 || info.Size != 100_000 {
		t.Errorf("stored: %+v", info)
	}
}

// TestFollowingAsksOnce has a reader keep up with an upstream that drips: all comes
// with the one request.
func TestFollowingAsksOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{Slice: 1000})
		o := newOrigin(content(22, 20_500))
		o.wrap = func(_ context.Context, r io.Reader) io.Reader {
			return readerFunc(func(p []byte) (int, error) {
				time.Sleep(time.Millisecond)
				return r.Read(p[:min(len(p), 300)])
			})
		}
		p := policy()
		p.ReadAhead = 2
		req := Request{Key: "a", Policy: p, Fetch: o.fetch}
		var readers sync.WaitGroup
		for i := range 10 {
			readers.Go(func() {
				time.Sleep(time.Duration(i) * 7 * time.Millisecond)
				resp, _, err := get(t, c, req)
				if err != nil || !bytes.Equal(read(t, resp), o.body) {
					t.Error(err)
				}
			})
		}
		readers.Wait()
		if o.count() != 1 {
			t.Errorf("%d requests: %v", o.count(), o.requests)
		}
	})
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
