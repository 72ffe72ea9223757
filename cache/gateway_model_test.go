package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/voyo-music/caddy-voyo/internal/byterange"
)

// reply is how the origin of the model answers one request.
type reply struct {
	status  int
	control string // Cache-Control
	vary    string
	apart   bool   // the fields that it varies on make another body
	etag    string // "", "strong" or "weak"
	kind    string // what is wrong with it
	at      int    // byte of the body
	delay   time.Duration
}

func drawReply(rt *rapid.T) reply {
	return reply{
		status: rapid.SampledFrom([]int{200, 200, 200, 200, 404, 503}).Draw(rt, "status"),
		control: rapid.SampledFrom([]string{
			"max-age=30", "public, max-age=30", "max-age=10, stale-while-revalidate=100", "max-age=10, stale-if-error=1000",
			"no-cache", "no-store", "private, max-age=30",
		}).Draw(rt, "control"),
		vary:  rapid.SampledFrom([]string{"", "", "Lang", "Lang, Form", "Form", "Id", "*"}).Draw(rt, "vary"),
		apart: rapid.Bool().Draw(rt, "apart"),
		etag:  rapid.SampledFrom([]string{"", "strong", "strong", "strong", "weak"}).Draw(rt, "etag"),
		kind:  rapid.SampledFrom([]string{"", "", "", "", "", "", "refuses", "breaks", "unknown", "short", "no range", "several parts"}).Draw(rt, "kind"),
		at:    rapid.IntRange(200, 3000).Draw(rt, "at"),
		delay: time.Duration(rapid.IntRange(0, 3000).Draw(rt, "delay")) * time.Millisecond,
	}
}

// shared reports whether the reply to a request may be given to others that match it.
func (r reply) shared(request http.Header) bool {
	if strings.Contains(r.control, "no-store") || strings.Contains(r.control, "private") || r.vary == "*" {
		return false
	}
	return request.Get("Authorization") == "" || strings.Contains(r.control, "public")
}

// selected names the requests that select the reply to one.
func (r reply) selected(request http.Header) string {
	text := ""
	for name := range members(r.vary) {
		text += fmt.Sprintf("%s=%s;", name, request.Get(name))
	}
	return text
}

// edition is one representation that the origin has.
type edition struct {
	number  int
	version int64
	status  int
	body    []byte
}

func (e *edition) tag() string { return fmt.Sprintf(`"%d"`, e.number) }

// press is the origin of the model. Each of its answers says in its header which edition
// it has, which requests select it, the how manieth it is, and for whom it is if it is not
// for all. Those who get it may have heard of some of that in a later answer.
type press struct {
	replies []reply

	mu       sync.Mutex
	asked    int
	version  int64
	acked    int64 // the version that all who ask from now on must get, or a later one
	editions []*edition
	byKey    map[string]*edition
	ctxs     []context.Context
	open     int
}

// edition returns the present one for a request.
func (p *press) edition(r reply, request http.Header) *edition {
	key := fmt.Sprint(p.version, r.status)
	if r.apart {
		key += r.selected(request)
	}
	if known := p.byKey[key]; known != nil {
		return known
	}
	e := &edition{len(p.editions), p.version, r.status, content(uint64(len(p.editions)), 100+int(p.version)*700%9000)}
	p.editions, p.byKey[key] = append(p.editions, e), e
	return e
}

func (p *press) fetch(client http.Header, head bool) Fetch {
	return func(ctx context.Context, given http.Header) (*http.Response, error) {
		p.mu.Lock()
		r := p.replies[p.asked%len(p.replies)]
		p.asked++
		h := http.Header{"Cache-Control": {r.control}, "X-Asked": {strconv.Itoa(p.asked)}}
		e := p.edition(r, client)
		p.ctxs = append(p.ctxs, ctx)
		p.mu.Unlock()

		h.Set("X-Edition", strconv.Itoa(e.number))
		if r.vary != "" {
			h.Set("Vary", r.vary)
			h.Set("X-Selected", r.selected(client))
		}
		if !r.shared(client) {
			h.Set("X-User", client.Get("Id"))
		}
		switch r.etag {
		case "strong":
			h.Set("Etag", e.tag())
		case "weak":
			h.Set("Etag", "W/"+e.tag())
		}
		if trace := httptrace.ContextClientTrace(ctx); trace != nil && trace.Got1xxResponse != nil {
			if err := trace.Got1xxResponse(http.StatusEarlyHints, textproto.MIMEHeader{"X-User": {client.Get("Id")}}); err != nil {
				return nil, err
			}
		}
		select {
		case <-time.After(r.delay):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if r.kind == "refuses" {
			return nil, errReset
		}
		return p.answer(ctx, r, e, h, given, head), nil
	}
}

// answer heeds the conditions and the range that are given.
func (p *press) answer(ctx context.Context, r reply, e *edition, h, given http.Header, head bool) *http.Response {
	resp := &http.Response{StatusCode: e.status, ProtoMajor: 1, ProtoMinor: 1, Header: h, ContentLength: int64(len(e.body))}
	body := e.body
	request := &http.Request{Header: given}
	verdict := proceed
	if e.status == http.StatusOK {
		verdict = precondition(request, h)
	}
	specs, err := byterange.Parse(given.Get("Range"))
	switch {
	case verdict == notModified:
		resp.StatusCode, resp.ContentLength, body = http.StatusNotModified, 0, nil
	case verdict == failed:
		resp.StatusCode, body = http.StatusPreconditionFailed, []byte("no")
		resp.ContentLength = 2
	case err == nil && e.status == http.StatusOK && !head && r.kind != "no range" && ifRangeHolds(request, h):
		rng, ok := specs[0].Resolve(int64(len(body)))
		switch {
		case !ok:
			resp.StatusCode, resp.ContentLength, body = http.StatusRequestedRangeNotSatisfiable, 0, nil
			h.Set("Content-Range", byterange.Unsatisfied(int64(len(e.body))))
		case r.kind == "several parts":
			resp.StatusCode, body = http.StatusPartialContent, append([]byte("--part"), body...)
			h.Set("Content-Type", "multipart/byteranges")
			resp.ContentLength = int64(len(body))
		default:
			if r.kind == "short" {
				rng.End = min(rng.End, rng.Start+int64(r.at))
			}
			resp.StatusCode, resp.ContentLength, body = http.StatusPartialContent, rng.Len(), body[rng.Start:rng.End]
			h.Set("Content-Range", byterange.ContentRange(rng, int64(len(e.body))))
		}
	}
	if head {
		resp.Body = http.NoBody
		return resp
	}
	if r.kind == "unknown" && resp.StatusCode == e.status {
		resp.ContentLength, resp.TransferEncoding = -1, []string{"chunked"}
	}
	var from io.Reader = bytes.NewReader(body)
	if r.kind == "breaks" {
		from = errReader(from, int64(r.at), errReset, nil)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open++
	resp.Body = &closing{readerFunc(func(b []byte) (int, error) {
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		return from.Read(b[:min(len(b), 400)])
	}), sync.OnceFunc(func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.open--
	})}
	return resp
}

// visit is what one client of the model does, or what happens to the page.
type visit struct {
	kind   string
	after  time.Duration // since the visit before
	header http.Header
	leave  time.Duration // 0: it does not
	bytes  int           // after which it leaves; 0: it does not
}

func drawVisit(rt *rapid.T) visit {
	v := visit{
		kind:   rapid.SampledFrom([]string{"GET", "GET", "GET", "GET", "GET", "GET", "HEAD", "change", "invalidate", "limits"}).Draw(rt, "kind"),
		after:  time.Duration(rapid.SampledFrom([]int{0, 0, 0, 1, 500, 2000, 20_000, 70_000}).Draw(rt, "after")) * time.Millisecond,
		header: make(http.Header),
		leave:  time.Duration(rapid.SampledFrom([]int{0, 0, 0, 1, 1500}).Draw(rt, "leave")) * time.Millisecond,
		bytes:  rapid.SampledFrom([]int{0, 0, 0, 1, 700}).Draw(rt, "bytes"),
	}
	set := func(name string, values ...string) {
		if value := rapid.SampledFrom(values).Draw(rt, name); value != "" {
			v.header.Set(name, value)
		}
	}
	set("Lang", "", "de", "en")
	set("Form", "", "a", "b")
	set("Authorization", "", "", "", "me")
	set("Range", "", "", "", "bytes=0-99", "bytes=50-99", "bytes=600-", "bytes=-200", "bytes=1000-1999", "bytes=20000-")
	set("If-None-Match", "", "", "", `"0"`, `"1", "2"`)
	set("If-Match", "", "", "", "", "", `"0"`, `"1"`)
	if v.header.Get("Range") != "" {
		set("If-Range", "", "", `"0"`, `"1"`)
	}
	return v
}

// TestGatewayModel lets clients ask at once for a page that changes, of an origin that
// answers with all sorts of headers and faults. What they get is an edition that is for
// them: none that was made for another user or for other fields, none from before the
// last invalidation that they can know of, and the right bytes of it.
func TestGatewayModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		p := &press{replies: rapid.SliceOfN(rapid.Custom(drawReply), 1, 20).Draw(rt, "replies"), byKey: make(map[string]*edition)}
		visits := rapid.SliceOfN(rapid.Custom(drawVisit), 1, 30).Draw(rt, "visits")
		memory := rapid.SampledFrom([]int64{3000, 100_000}).Draw(rt, "memory")
		synctest.Test(t, func(*testing.T) { p.play(rt, visits, memory) })
	})
}

func (p *press) play(rt *rapid.T, visits []visit, memory int64) {
	c := New(Limits{Memory: memory, Slice: 512})
	defer c.Close()
	policy := &Policy{Gateway: true, MaxAge: -1, MaxObject: 8000}
	var wg sync.WaitGroup
	for i, v := range visits {
		time.Sleep(v.after)
		switch v.kind {
		case "limits":
			c.SetLimits(Limits{Memory: memory, Slice: 300})
		case "change", "invalidate":
			p.mu.Lock()
			p.version++
			p.mu.Unlock()
			if v.kind == "invalidate" {
				c.Invalidate("page")
				p.mu.Lock()
				p.acked = p.version
				p.mu.Unlock()
			}
		default:
			v.header.Set("Id", strconv.Itoa(i))
			wg.Go(func() {
				if err := p.visit(c, policy, v); err != nil {
					rt.Errorf("visit %d: %v", i, err)
				}
			})
		}
	}
	wg.Wait()
	c.work.Wait()
	synctest.Wait()
	c.check(rt)
	for _, ctx := range p.ctxs {
		if ctx.Err() == nil {
			rt.Error("an exchange has no end")
		}
	}
	if n := len(c.store.resources.flying); n+p.open != 0 {
		rt.Errorf("%d openings are under way, %d bodies are open", n, p.open)
	}
}

// visit makes a client's request, and returns what is wrong with its answer.
func (p *press) visit(c *Cache, policy *Policy, v visit) error {
	p.mu.Lock()
	least, asked := p.acked, p.asked
	p.mu.Unlock()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if v.leave > 0 {
		defer time.AfterFunc(v.leave, cancel).Stop()
	}
	r := httptest.NewRequestWithContext(ctx, v.kind, "/", nil)
	r.Header = v.header.Clone()
	var hints []string
	w := &leaving{ResponseRecorder: httptest.NewRecorder(), after: -1, cancel: cancel}
	if v.bytes > 0 {
		w.after = int64(v.bytes)
	}
	hinting := &hintedLeaving{w, func(h http.Header) { hints = append(hints, h.Get("X-User")) }}
	began := time.Now()
	_, err := c.Serve(hinting, r, Request{Key: "page", Policy: policy, Header: v.header.Clone(), Fetch: p.fetch(v.header, false), Head: p.fetch(v.header, true)})
	if took := time.Since(began); took > 5*time.Minute {
		return fmt.Errorf("it took %s", took)
	}
	for _, user := range hints {
		if user != v.header.Get("Id") {
			return fmt.Errorf("hints are for %s", user)
		}
	}
	if err != nil && !errors.Is(err, ErrAborted) {
		if w.Body.Len() > 0 {
			return fmt.Errorf("an answer had begun, and the error doesn't say so: %w", err)
		}
		return nil
	}
	if wrong := p.judge(v, w.ResponseRecorder, least, asked, err == nil); wrong != nil {
		return fmt.Errorf("%w\nasked: %v %v\ngot: %d %v, %d bytes, %v", wrong, v.kind, v.header, w.Code, w.Header(), w.Body.Len(), err)
	}
	return nil
}

type hintedLeaving struct {
	*leaving
	hint func(http.Header)
}

func (h *hintedLeaving) WriteHeader(status int) {
	if status < 200 {
		h.hint(h.Header().Clone())
		return
	}
	h.leaving.WriteHeader(status)
}
