package cache

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// gateway is a cache with a gateway's policy in front of an origin that answers as
// the test says.
type gateway struct {
	t      testing.TB
	c      *Cache
	policy Policy

	mu      sync.Mutex
	answers []string      // the origin's next ones
	asked   []http.Header // what it was asked since they were set
	open    int           // bodies that were not closed
}

func newGateway(t testing.TB) *gateway {
	t.Helper()
	return &gateway{t: t, c: newTest(t, Limits{Memory: 1 << 20, Slice: 4096}), policy: Policy{Gateway: true, MaxAge: -1}}
}

// fields parses "Name: value | Name: value". What begins with = is the body.
func fields(s string) (h http.Header, body string) {
	h = make(http.Header)
	for part := range strings.SplitSeq(s, " | ") {
		if text, ok := strings.CutPrefix(part, "="); ok {
			body = text
		} else if name, value, ok := strings.Cut(part, ":"); ok {
			h.Add(name, strings.TrimSpace(value))
		}
	}
	return h, body
}

func (g *gateway) fetch(method string) Fetch {
	return func(_ context.Context, header http.Header) (*http.Response, error) {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.asked = append(g.asked, header.Clone())
		if len(g.answers) == 0 {
			g.t.Errorf("the origin was asked: %s %v", method, header)
			return nil, io.ErrUnexpectedEOF
		}
		answer := g.answers[0]
		g.answers = g.answers[1:]
		if answer == "breaks" {
			return nil, io.ErrUnexpectedEOF
		}
		return g.parse(answer, method), nil
	}
}

// parse returns an answer to a method, given as "200 | Name: value | =body".
func (g *gateway) parse(answer, method string) *http.Response {
	status, rest, _ := strings.Cut(answer, " | ")
	h, body := fields(rest)
	resp := &http.Response{ProtoMajor: 1, ProtoMinor: 1, Header: h, ContentLength: int64(len(body)), Body: http.NoBody}
	if _, err := fmt.Sscan(status, &resp.StatusCode); err != nil {
		g.t.Error(err)
	}
	if method == http.MethodHead {
		if h.Get("Content-Length") != "" {
			resp.ContentLength, _ = strconv.ParseInt(h.Get("Content-Length"), 10, 64)
		}
		return resp
	}
	g.open++
	resp.Body = &pageBody{g: g, r: strings.NewReader(body)}
	return resp
}

// pageBody can't be read after it was closed, as net/http's can't.
type pageBody struct {
	g      *gateway
	r      io.Reader
	closed bool
}

func (b *pageBody) Read(p []byte) (int, error) {
	b.g.mu.Lock()
	defer b.g.mu.Unlock()
	if b.closed {
		return 0, http.ErrBodyReadAfterClose
	}
	return b.r.Read(p)
}

func (b *pageBody) Close() error {
	b.g.mu.Lock()
	defer b.g.mu.Unlock()
	if !b.closed {
		b.closed = true
		b.g.open--
	}
	return nil
}

// request returns what a client's request asks of the cache.
func (g *gateway) request(header http.Header) Request {
	return Request{
		Key: "http://origin.test/", Policy: &g.policy, Header: header,
		Fetch: g.fetch(http.MethodGet), Head: g.fetch(http.MethodHead),
	}
}

// step is a request, and what the origin says if it is asked.
type step struct {
	after  time.Duration
	ask    string // "GET | Name: value"
	origin string // "200 | Name: value | =body", and " || " before the next one; "" if it must not be asked; "breaks" if it does
	sent   string // fields that the origin is sent at first, and no other ones
	want   string // "200 hit =body", or "error" with what had been sent
	header string // fields that the client gets; one without a value must be absent
}

func (g *gateway) do(s step) {
	g.t.Helper()
	time.Sleep(s.after)
	g.mu.Lock()
	g.answers, g.asked = nil, nil
	if s.origin != "" {
		g.answers = strings.Split(s.origin, " || ")
	}
	g.mu.Unlock()

	method, rest, _ := strings.Cut(s.ask, " | ")
	r := httptest.NewRequestWithContext(g.t.Context(), method, "http://origin.test/", nil)
	r.Header, _ = fields(rest)
	rec := httptest.NewRecorder()
	status, err := g.c.Serve(rec, r, g.request(r.Header))
	got := fmt.Sprintf("%d %s =%s", rec.Code, status, rec.Body)
	if err != nil {
		got = strings.TrimSuffix(fmt.Sprintf("error =%s", rec.Body), " =")
	}
	if got != s.want {
		g.t.Errorf("%s: %s; want %s (%v; %s)", s.ask, got, s.want, err, rec.Header().Get("Cache-Status"))
	}
	synctest.Wait()
	if len(g.answers) > 0 || g.open > 0 {
		g.t.Errorf("%s: the origin was asked %d times, and has %d bodies open", s.ask, len(g.asked), g.open)
	} else if sent, _ := fields(s.sent); len(g.asked) > 0 && fmt.Sprint(sent) != fmt.Sprint(g.asked[0]) {
		g.t.Errorf("%s: the origin was sent %v, want %v", s.ask, g.asked[0], sent)
	}
	want, _ := fields(s.header)
	for name := range want {
		if got := strings.Join(rec.Header().Values(name), ","); got != want.Get(name) {
			g.t.Errorf("%s: %s: %q, want %q", s.ask, name, got, want.Get(name))
		}
	}
}

// TestGateway plays requests to a cache with a gateway's policy, and what it makes
// of the origin's answers.
func TestGateway(t *testing.T) {
	const hour, day = time.Hour, 24 * time.Hour
	tests := []struct {
		name  string
		steps []step
	}{
		{"status", []step{
			{ask: "GET", origin: "404 | Cache-Control: max-age=60 | =none", want: "404 miss =none", header: "Age: | Cache-Status: voyo; fwd=miss; stored"},
			{ask: "GET", want: "404 hit =none", header: "Age: 0"},
			{ask: "GET | Range: bytes=1-2", want: "404 hit =none"},
			{ask: "HEAD", want: "404 hit =", header: "Content-Length: 4"},
			{after: hour, ask: "GET", origin: "204 | Cache-Control: max-age=60", want: "204 miss =", header: "Content-Length:"},
			{ask: "GET", want: "204 hit =", header: "Content-Length:"},
			{after: hour, ask: "GET", origin: "503 | =busy", want: "503 pass =busy"},
			{ask: "GET", origin: "500 | =down", want: "500 pass =down"},
		}},
		{"not stored, and then stored", []step{
			{ask: "GET", origin: "200 | =a", want: "200 pass =a"},
			{ask: "GET | If-None-Match: \"x\" | Range: bytes=0-1", origin: "200 | Cache-Control: max-age=60 | =b", sent: "If-None-Match: \"x\" | Range: bytes=0-1", want: "206 miss =b"},
			{ask: "GET", want: "200 hit =b"},
		}},
		{"Vary", []step{
			{ask: "GET | Accept: a", origin: "200 | Cache-Control: max-age=60 | Vary: Accept | =a", want: "200 miss =a"},
			{ask: "GET | Accept: b", origin: "200 | Cache-Control: max-age=60 | Vary: Accept | =b", want: "200 miss =b"},
			{ask: "GET", origin: "200 | Cache-Control: max-age=60 | Vary: Accept | =none", want: "200 miss =none"},
			{ask: "GET | Accept: a", want: "200 hit =a"},
			{ask: "GET | Accept: b", want: "200 hit =b"},
			{ask: "GET | Accept-Language: en", want: "200 hit =none"},
		}},
		{"Vary changes", []step{
			{ask: "GET | A: 1 | B: 1", origin: "200 | Cache-Control: max-age=60 | Vary: A | =11", want: "200 miss =11"},
			{ask: "GET | A: 2 | B: 2", origin: "200 | Cache-Control: max-age=60 | Vary: B | =22", want: "200 miss =22"},
			{ask: "GET | A: 1 | B: 3", want: "200 hit =11"},
			{ask: "GET | A: 3 | B: 2", want: "200 hit =22"},
			{ask: "GET | A: 3 | B: 3", origin: "200 | Cache-Control: max-age=60 | Vary: * | =33", want: "200 pass =33"},
		}},
		{"304", []step{
			{ask: "GET", origin: "200 | Cache-Control: max-age=60 | ETag: W/\"a\" | A: 1 | B: 1 | =a", want: "200 miss =a"},
			{ask: "GET | If-None-Match: W/\"a\"", want: "304 hit ="},
			{after: hour, ask: "GET", origin: "304 | Cache-Control: max-age=60 | ETag: W/\"a\" | A: 2", sent: "If-None-Match: W/\"a\"", want: "200 revalidated =a", header: "A: 2 | B: 1"},
			{ask: "GET", want: "200 hit =a", header: "A: 2 | B: 1"},
			{after: hour, ask: "GET | If-None-Match: \"a\"", origin: "304 | Cache-Control: max-age=60 | ETag: W/\"a\"", sent: "If-None-Match: W/\"a\"", want: "304 revalidated ="},
			{after: hour, ask: "GET", origin: "200 | Cache-Control: max-age=60 | =b", sent: "If-None-Match: W/\"a\"", want: "200 miss =b"},
			{ask: "GET", want: "200 hit =b", header: "A: | Etag:"},
		}},
		{"HEAD", []step{
			{ask: "HEAD", origin: "200 | Cache-Control: max-age=60 | Content-Length: 3", want: "200 pass =", header: "Content-Length: 3"},
			{ask: "GET", origin: "200 | Cache-Control: max-age=60 | ETag: \"a\" | =abc", want: "200 miss =abc"},
			{ask: "HEAD", want: "200 hit =", header: "Content-Length: 3 | Etag: \"a\""},
			{after: hour, ask: "HEAD", origin: "200 | Cache-Control: max-age=60 | ETag: \"a\" | A: 1 | Content-Length: 3", want: "200 pass ="},
			{ask: "GET", want: "200 hit =abc", header: "A: 1"},
			{after: hour, ask: "HEAD", origin: "200 | Cache-Control: max-age=60 | ETag: \"b\" | Content-Length: 3", want: "200 pass ="},
			{ask: "GET", origin: "200 | Cache-Control: max-age=60 | ETag: \"b\" | =bbb", sent: "If-None-Match: \"a\"", want: "200 miss =bbb"},
		}},
		{"Authorization", []step{
			{ask: "GET | Authorization: x", origin: "200 | Cache-Control: max-age=60 | =x", want: "200 pass =x"},
			{ask: "GET | Authorization: y", origin: "200 | Cache-Control: max-age=60 | =y", want: "200 pass =y"},
			{ask: "GET | Authorization: x", origin: "200 | Cache-Control: public, max-age=60 | =all", want: "200 miss =all"},
			{ask: "GET", want: "200 hit =all"},
		}},
		{"Set-Cookie", []step{
			{ask: "GET", origin: "200 | Cache-Control: max-age=60 | Set-Cookie: a=1 | =1", want: "200 pass =1", header: "Set-Cookie: a=1"},
			{ask: "GET", origin: "200 | Cache-Control: max-age=60 | Set-Cookie: a=2 | =2", want: "200 pass =2", header: "Set-Cookie: a=2"},
		}},
		{"fields that are not to be kept", []step{
			{ask: "GET", origin: "200 | Cache-Control: max-age=60, private=\"A, Set-Cookie\" | A: 1 | Set-Cookie: a=1 | B: 2 | =a", want: "200 miss =a", header: "A: 1 | Set-Cookie: a=1 | B: 2"},
			{ask: "GET", want: "200 hit =a", header: "A: | Set-Cookie: | B: 2"},
		}},
		{"failures", []step{
			{ask: "GET", origin: "200 | Cache-Control: max-age=60, stale-if-error=7200 | ETag: \"a\" | =a", want: "200 miss =a"},
			{after: hour, ask: "GET", origin: "503 | =busy", sent: "If-None-Match: \"a\"", want: "200 stale =a", header: "Age: 3600"},
			{after: time.Minute, ask: "GET", origin: "breaks", sent: "If-None-Match: \"a\"", want: "200 stale =a"},
			{after: day, ask: "GET", origin: "503 | =busy", sent: "If-None-Match: \"a\"", want: "503 pass =busy"},
			{ask: "GET", origin: "304 | Cache-Control: max-age=60", sent: "If-None-Match: \"a\"", want: "200 revalidated =a"},
			{after: day, ask: "GET", origin: "breaks", sent: "If-None-Match: \"a\"", want: "error"},
		}},
		{"ranges of a stored part", []step{
			{ask: "GET | Range: bytes=-5", origin: "206 | Cache-Control: max-age=60 | Content-Range: bytes 5-9/10 | =56789", sent: "Range: bytes=-5", want: "206 miss =56789"},
			{ask: "GET | Range: bytes=-5", want: "206 hit =56789"},
			{ask: "GET | Range: bytes=6-8", want: "206 hit =678"},
			{ask: "GET | Range: bytes=6-", want: "206 hit =6789"},
			{ask: "GET | Range: bytes=-1", want: "206 hit =9", header: "Content-Range: bytes 9-9/10"},
			{ask: "GET", origin: "200 | Cache-Control: max-age=60 | =0123456789", want: "200 miss =0123456789"}, // there is no validator to combine them by
		}},
		{"parts are combined", []step{
			{ask: "GET | Range: bytes=0-4", origin: "206 | Cache-Control: max-age=60 | ETag: \"a\" | Content-Range: bytes 0-4/10 | =01234", sent: "Range: bytes=0-4", want: "206 miss =01234"},
			{ask: "GET", origin: "206 | Cache-Control: max-age=60 | ETag: \"a\" | Content-Range: bytes 5-9/10 | =56789", sent: "Range: bytes=5- | If-Range: \"a\"", want: "200 partial =0123456789"},
			{ask: "GET", want: "200 hit =0123456789"},
		}},
		{"a part that can't be kept", []step{
			{ask: "GET | Range: bytes=7-9", origin: "206 | Cache-Control: max-age=60 | Content-Range: bytes 7-9/100000 | =789", sent: "Range: bytes=7-9", want: "206 pass =789", header: "Content-Range: bytes 7-9/100000"},
			{ask: "GET | Range: bytes=7-9", origin: "206 | Cache-Control: max-age=60 | Content-Range: bytes 6-9/10 | =789", sent: "Range: bytes=7-9", want: "206 pass =789", header: "Content-Range: bytes 6-9/10"},
			{ask: "GET | Range: bytes=7-9,1-2", origin: "206 | Content-Type: multipart/byteranges | =789", sent: "Range: bytes=7-9,1-2", want: "206 pass =789"},
			{ask: "GET | Range: bytes=99-", origin: "416 | Content-Range: bytes */10 | =no", sent: "Range: bytes=99-", want: "416 pass =no", header: "Content-Range: bytes */10"},
		}},
		{"Age and Cache-Status of another cache", []step{
			{ask: "GET", origin: "200 | Cache-Control: max-age=60 | Age: 10 | Cache-Status: inner | =a", want: "200 miss =a", header: "Age: 10 | Cache-Status: inner,voyo; fwd=miss; stored"},
			{after: 20 * time.Second, ask: "GET", want: "200 hit =a", header: "Age: 30 | Cache-Status: inner,voyo; hit; ttl=30"},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGateway(t)
				for _, s := range tt.steps {
					g.do(s)
				}
			})
		})
	}
}
