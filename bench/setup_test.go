package bench

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/voyo-music/caddy-voyo/cache"
	"github.com/voyo-music/caddy-voyo/internal/byterange"
)

var large = flag.Bool("bench.large", false, "measure with 1,000,000 objects and 1 GiB, which takes minutes")

// scale returns what is measured with: all of it, or as much as takes no time.
func scale(full, small int) int {
	if *large {
		return full
	}
	return small
}

// meter returns what reports how much of the processor's time an operation has taken since,
// the collector's share included: on a machine that is busy otherwise, ns/op tells little.
func meter(b *testing.B) (report func()) {
	b.Helper()
	before := cpu(b)
	return func() { b.ReportMetric(float64((cpu(b)-before).Nanoseconds())/float64(b.N), "cpu-ns/op") }
}

// cpu returns how much of the processor's time the process has had.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// policy is a stream's, as the handler has it unless told otherwise.
var policy = &cache.Policy{TTL: time.Hour, MaxAge: time.Hour}

// content returns n bytes of which no two slices are alike.
func content(n int) []byte {
	b := make([]byte, 0, n+20)
	for len(b) < n {
		b = fmt.Appendf(b, "%d ", len(b))
	}
	return b[:n]
}

// upstream answers with a body that it has in memory, or with the part that is asked for.
type upstream struct {
	body  []byte
	tag   string       // of what it answers; empty for none
	asked atomic.Int64 // how often
	ready func()       // is called before each answer; may be nil
}

func (u *upstream) fetch(_ context.Context, header http.Header) (*http.Response, error) {
	u.asked.Add(1)
	if u.ready != nil {
		u.ready()
	}
	size := int64(len(u.body))
	part := byterange.Range{Start: 0, End: size}
	resp := &http.Response{StatusCode: http.StatusOK, ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{
		"Content-Type":  {"audio/ogg"},
		"Etag":          {`"0123456789abcdef0123456789abcdef"`},
		"Last-Modified": {"Sun, 01 Nov 2026 00:00:00 GMT"},
		"Date":          {"Mon, 23 Nov 2026 00:00:00 GMT"},
	}}
	if u.tag != "" {
		resp.Header.Set("Cache-Tag", u.tag)
	}
	if field := header.Get("Range"); field != "" {
		specs, err := byterange.Parse(field)
		if err != nil {
			return nil, err
		}
		ranges, err := byterange.Resolve(specs, size)
		if err != nil {
			return nil, err
		}
		part = ranges[0]
		resp.StatusCode = http.StatusPartialContent
		resp.Header.Set("Content-Range", byterange.ContentRange(part, size))
	}
	resp.ContentLength = part.Len()
	resp.Header.Set("Content-Length", strconv.FormatInt(part.Len(), 10))
	resp.Body = io.NopCloser(bytes.NewReader(u.body[part.Start:part.End]))
	return resp, nil
}

// edge is a cache before an upstream that has one body under all keys.
type edge struct {
	*cache.Cache
	*upstream
}

func newEdge(b *testing.B, l cache.Limits, size int) edge {
	b.Helper()
	e := edge{cache.New(l), &upstream{body: content(size)}}
	b.Cleanup(e.Close)
	return e
}

func (e edge) request(key string) cache.Request {
	return cache.Request{Key: key, Policy: policy, Fetch: e.fetch}
}

// warm brings objects into the cache, all of each.
func (e edge) warm(b *testing.B, keys []string) {
	b.Helper()
	var loaders sync.WaitGroup
	n := runtime.GOMAXPROCS(0)
	for from := range n {
		loaders.Go(func() {
			for i := from; i < len(keys); i += n {
				if err := e.Warm(b.Context(), e.request(keys[i]), int64(len(e.body))); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	loaders.Wait()
	e.settle()
	if b.Failed() {
		b.FailNow()
	}
}

// settle returns when no exchange with the upstream is under way.
func (e edge) settle() {
	for e.Stats().Fills > 0 {
		runtime.Gosched()
	}
}

// sent is a client that reads everything at once.
type sent struct {
	header http.Header
	status int
	bytes  int
}

func (s *sent) Header() http.Header         { return s.header }
func (s *sent) WriteHeader(status int)      { s.status = status }
func (s *sent) Write(p []byte) (int, error) { s.bytes += len(p); return len(p), nil }

// client asks for one range again and again, and reads its answers at once.
type client struct {
	sent
	request *http.Request
	status  int
	want    int // bytes
}

// newClient returns one that asks for a part, if that is not empty, of which it is sent
// so many bytes.
func newClient(byteRange string, want int) *client {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	c := &client{sent: sent{header: http.Header{}}, request: r, status: http.StatusOK, want: want}
	if byteRange != "" {
		r.Header.Set("Range", byteRange)
		c.status = http.StatusPartialContent
	}
	return c
}

// get asks for the object that a key names, and checks how it is answered.
func (c *client) get(e edge, key string) (cache.Status, error) {
	clear(c.header)
	c.bytes = 0
	status, err := e.Serve(c, c.request, e.request(key))
	if err != nil || c.sent.status != c.status || c.bytes != c.want {
		return status, fmt.Errorf("%s: %d with %d bytes, %v", key, c.sent.status, c.bytes, err)
	}
	return status, nil
}

// hit is get for what is there.
func (c *client) hit(e edge, key string) error {
	status, err := c.get(e, key)
	if err == nil && status != cache.Hit {
		err = fmt.Errorf("%s: %s", key, status)
	}
	return err
}

// check makes sure, once, that the client is sent what its upstream has, byte for byte.
func (c *client) check(b *testing.B, e edge, key string, want []byte) {
	b.Helper()
	w := httptest.NewRecorder()
	if _, err := e.Serve(w, c.request, e.request(key)); err != nil || !bytes.Equal(w.Body.Bytes(), want) {
		b.Fatalf("%s: %d, not the bytes that the upstream has, %v", key, w.Code, err)
	}
}

// keysOf returns n keys as tracks have them, beginning with the one at first.
func keysOf(first, n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("stream/%011d/audio/128", first+i)
	}
	return keys
}

// cut returns the part of a body that a Range field, if there is one, asks for.
func cut(b *testing.B, body []byte, field string) []byte {
	b.Helper()
	if field == "" {
		return body
	}
	specs, err := byterange.Parse(field)
	if err != nil {
		b.Fatal(err)
	}
	r, ok := specs[0].Resolve(int64(len(body)))
	if !ok {
		b.Fatal(field)
	}
	return body[r.Start:r.End]
}
