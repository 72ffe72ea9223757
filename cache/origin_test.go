package cache

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/voyo-music/caddy-voyo/internal/byterange"
)

const (
	minute = time.Minute
	hour   = time.Hour
	day    = 24 * time.Hour
)

// content returns size bytes that are a function of the seed.
func content(seed uint64, size int) []byte {
	b := make([]byte, size)
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	_, _ = rand.NewChaCha8(key).Read(b)
	return b
}

// origin is an upstream without a network: it answers a Fetch from its fields,
// which a test may change between requests.
type origin struct {
	mu        sync.Mutex
	body      []byte
	header    http.Header
	noRange   bool                                             // answers 200 to a Range
	unknown   bool                                             // does not say how long the object is
	tamper    func(n int, resp *http.Response)                 // changes the nth answer, from 1 on
	wrap      func(ctx context.Context, r io.Reader) io.Reader // stands between the body and its reader
	fail      func(n int, header http.Header) error            // fails the nth request
	requests  []http.Header                                    // as received
	sent      int64                                            // bytes of bodies that were read
	openCount int                                              // bodies that were not closed
}

func newOrigin(body []byte) *origin {
	return &origin{body: body, header: http.Header{"Etag": {`"v1"`}, "Content-Type": {"image/png"}}}
}

// set changes the object.
func (o *origin) set(body []byte, etag string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.body = body
	o.header = o.header.Clone()
	o.header.Set("Etag", etag)
}

func (o *origin) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.requests)
}

func (o *origin) bytesSent() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.sent
}

func (o *origin) open() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.openCount
}

// fetch is a Fetch.
func (o *origin) fetch(ctx context.Context, header http.Header) (*http.Response, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.requests = append(o.requests, header.Clone())
	n := len(o.requests)
	if o.fail != nil {
		if err := o.fail(n, header); err != nil {
			return nil, err
		}
	}
	resp := &http.Response{StatusCode: 200, ProtoMajor: 1, ProtoMinor: 1, Header: o.header.Clone(), ContentLength: int64(len(o.body))}
	body := o.body
	if inm := header.Get("If-None-Match"); inm != "" && inm == o.header.Get("Etag") {
		resp.StatusCode, resp.ContentLength, body = 304, 0, nil
	} else if specs, err := byterange.Parse(header.Get("Range")); err == nil && !o.noRange &&
		(header.Get("If-Range") == "" || header.Get("If-Range") == o.header.Get("Etag")) {
		rng, ok := specs[0].Resolve(int64(len(body)))
		if ok {
			resp.StatusCode = 206
			resp.Header.Set("Content-Range", byterange.ContentRange(rng, int64(len(body))))
			body = body[rng.Start:rng.End]
			resp.ContentLength = rng.Len()
		} else {
			resp.StatusCode, resp.ContentLength, body = 416, 0, nil
			resp.Header.Set("Content-Range", byterange.Unsatisfied(int64(len(o.body))))
		}
	}
	if o.unknown && resp.StatusCode == 200 {
		resp.ContentLength, resp.TransferEncoding = -1, []string{"chunked"}
	}
	o.openCount++
	b := &answerBody{o: o, ctx: ctx, left: resp.ContentLength, r: bytes.NewReader(body)}
	if o.wrap != nil {
		b.r = o.wrap(ctx, b.r)
	}
	resp.Body = b
	if o.tamper != nil {
		o.tamper(n, resp)
	}
	return resp, nil
}

// answerBody is an answer's body. Like that of net/http it reports one that is
// shorter than its Content-Length.
type answerBody struct {
	o      *origin
	ctx    context.Context
	left   int64
	r      io.Reader
	closed bool
}

func (b *answerBody) Read(p []byte) (int, error) {
	if err := b.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := b.r.Read(p)
	b.o.mu.Lock()
	b.o.sent += int64(n)
	b.o.mu.Unlock()
	if b.left >= 0 {
		b.left -= int64(n)
	}
	if err == io.EOF && b.left > 0 {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (b *answerBody) Close() error {
	b.o.mu.Lock()
	defer b.o.mu.Unlock()
	if !b.closed {
		b.closed = true
		b.o.openCount--
	}
	return nil
}

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

// claims is an upstream that claims a size, and sends the pattern.
func claims(size int64) Fetch { return endless(size, func(int) {}) }

func newTest(t testing.TB, l Limits) *Cache {
	t.Helper()
	if l.Memory == 0 {
		l.Memory = 64 << 20
	}
	c := New(l)
	t.Cleanup(c.Close)
	return c
}

// policy is what most tests use.
func policy() *Policy {
	return &Policy{TTL: day, NegativeTTL: minute, MaxAge: hour, MaxObject: 10 << 20}
}

// get serves one request; fields are name, value pairs of its header.
func get(t testing.TB, c *Cache, req Request, fields ...string) (*http.Response, Status, error) {
	t.Helper()
	return do(t, c, http.MethodGet, req, fields...)
}

func do(t testing.TB, c *Cache, method string, req Request, fields ...string) (*http.Response, Status, error) {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, "/", nil)
	for i := 0; i < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	rec := httptest.NewRecorder()
	status, err := c.Serve(rec, r, req)
	resp := rec.Result()
	if err == nil && method == http.MethodGet {
		if said := resp.Header.Get("Content-Length"); said != "" && resp.StatusCode != 304 {
			if want, err := strconv.Atoi(said); err != nil || want != rec.Body.Len() {
				t.Errorf("Content-Length is %s, but the body has %d bytes", said, rec.Body.Len())
			}
		}
	}
	return resp, status, err
}

func serve(ctx context.Context, c *Cache, w http.ResponseWriter, req Request, rng string) error {
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	if rng != "" {
		r.Header.Set("Range", rng)
	}
	_, err := c.Serve(w, r, req)
	return err
}

func read(t testing.TB, resp *http.Response) []byte {
	t.Helper()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// contains reports whether the whole object is stored.
func contains(c *Cache, key string) bool {
	info, ok := c.Peek(context.Background(), key)
	return ok && info.Head == info.Size
}

// errReader fails after n bytes of r, when the channel is closed if there is one.
func errReader(r io.Reader, n int64, err error, when <-chan struct{}) io.Reader {
	return io.MultiReader(io.LimitReader(r, n), readerFunc(func([]byte) (int, error) {
		if when != nil {
			<-when
		}
		return 0, err
	}))
}

// noticing closes first at the first byte that is written.
type noticing struct {
	http.ResponseWriter
	first chan struct{}
	once  sync.Once
}

func (n *noticing) Write(p []byte) (int, error) {
	n.once.Do(func() { close(n.first) })
	return n.ResponseWriter.Write(p)
}

// pausing is a client that tells of its first bytes, and waits until it may go on.
type pausing struct {
	*httptest.ResponseRecorder
	first chan struct{} // closed with the first byte
	wait  <-chan struct{}
	once  sync.Once
}

func (p *pausing) Write(b []byte) (int, error) {
	p.once.Do(func() { close(p.first); <-p.wait })
	return p.ResponseRecorder.Write(b)
}

// leaving is a client that is gone after so many bytes.
type leaving struct {
	*httptest.ResponseRecorder
	after  int64
	cancel func()
}

func (l *leaving) Write(p []byte) (int, error) {
	n, _ := l.ResponseRecorder.Write(p)
	if l.after >= 0 && int64(l.Body.Len()) > l.after {
		l.cancel()
		return n, errors.New("client is gone")
	}
	return n, nil
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

// slowly returns a client of an object of the pattern, who takes a time over each
// slice.
func slowly(size, slice int64, each time.Duration) *checking {
	var next int64
	return &checking{header: http.Header{}, want: &pattern{0, size}, paused: func(got int64) error {
		if got >= next {
			next += slice
			time.Sleep(each)
		}
		return nil
	}}
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// closing is a body that does something when it is closed.
type closing struct {
	io.Reader
	close func()
}

func (c *closing) Close() error { c.close(); return nil }

var errReset = errors.New("connection reset")
