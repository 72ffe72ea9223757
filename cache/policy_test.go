package cache

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

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
		{"large header", http.Header{"Cache-Tag": {strings.Repeat("a", maxHeader)}}, nil, false, Pass},
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

// TestTooLargeBeforeTheFirstByte lets an object of unknown size turn out too large
// before anything of it has left: the client is passed through, and sees no error.
func TestTooLargeBeforeTheFirstByte(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{})
		o := newOrigin(content(1, 5000))
		o.unknown = true
		o.wrap = func(_ context.Context, r io.Reader) io.Reader {
			return readerFunc(func(p []byte) (int, error) { time.Sleep(time.Millisecond); return r.Read(p) })
		}
		p := policy()
		p.MaxObject = 1000
		req := Request{Key: "a", Policy: p, Fetch: o.fetch}
		resp, status, err := get(t, c, req)
		if err != nil || status != Pass || !bytes.Equal(read(t, resp), o.body) {
			t.Errorf("%s, %v", status, err)
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

// TestPanicOfAdmitClosesTheBody lets the hook panic that inspects an object: the
// client gets an error, and the upstream's connection does not stay taken.
func TestPanicOfAdmitClosesTheBody(t *testing.T) {
	c := newTest(t, Limits{})
	o := newOrigin(content(1, 1000))
	p := policy()
	p.Admit = func(http.Header, []byte) error { panic("boom") }
	_, _, err := get(t, c, Request{Key: "a", Policy: p, Fetch: o.fetch})
	c.work.Wait()
	if err == nil || o.open() != 0 {
		t.Errorf("%v; %d bodies are open", err, o.open())
	}
}

// TestAgeOfAnAncientDate has an upstream whose Date is further back than a
// time.Duration reaches: the Age that follows must not wrap around.
func TestAgeOfAnAncientDate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{})
		o := newOrigin(content(1, 1000))
		o.header.Set("Date", "Mon, 01 Jan 1500 00:00:00 GMT")
		req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
		_, _, _ = get(t, c, req)
		time.Sleep(2 * time.Second)
		resp, _, err := get(t, c, req)
		if age := resp.Header.Get("Age"); err != nil || strings.HasPrefix(age, "-") {
			t.Errorf("Age: %s, %v", age, err)
		}
	})
}

// TestLifetimeOfDatesFarApart subtracts times that are as far apart as can be
// written: the difference must not wrap around, and make fresh what has expired.
func TestLifetimeOfDatesFarApart(t *testing.T) {
	h := http.Header{"Date": {"Fri, 31 Dec 9999 23:59:59 GMT"}, "Expires": {"Mon, 01 Jan 1500 00:00:00 GMT"}, "Age": {"2147483648"}}
	if l := policy().freshness(http.StatusOK, h, time.Now()).lifetime; l > 0 {
		t.Errorf("expired 500 years ago, and fresh for %v", l)
	}
}

// TestVaryOnEverythingAmongOthers writes the * of Vary as a member of a list, and
// as a line of its own: either way no other request may get the answer.
func TestVaryOnEverythingAmongOthers(t *testing.T) {
	for _, v := range [][]string{{"Origin, *"}, {"Origin", "*"}} {
		resp := &http.Response{StatusCode: 200, ContentLength: 5, Header: http.Header{"Vary": v}}
		if policy().storable(nil, resp, 5) {
			t.Errorf("%q is storable", v)
		}
	}
}

// TestNotModifiedMayForbidToStore confirms a stored object with a 304 that says
// no-store: it is good for that answer, and not kept for the next.
func TestNotModifiedMayForbidToStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{})
		o := newOrigin(content(1, 1000))
		req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
		_, _, _ = get(t, c, req)
		time.Sleep(2 * day)
		o.mu.Lock()
		o.header.Set("Cache-Control", "no-store")
		o.mu.Unlock()
		_, _, _ = get(t, c, req)
		if _, status, err := get(t, c, req); err != nil || status == Hit {
			t.Errorf("%s, %v", status, err)
		}
	})
}

// gatewayPolicy is that of a gateway whose operator says nothing of freshness.
func gatewayPolicy() *Policy { return &Policy{Gateway: true, MaxAge: -1} }

// answerHeader makes a header of "Name: value" lines.
func answerHeader(lines ...string) http.Header {
	h := make(http.Header)
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		h.Add(name, value)
	}
	return h
}

// TestGatewayStores says what a gateway keeps (RFC 9111, section 3).
func TestGatewayStores(t *testing.T) {
	const fresh, etag = "Cache-Control: max-age=60", `Etag: "a"`
	plain, authorized := http.Header{}, answerHeader("Authorization: Basic x")
	override := func(p *Policy) { p.OverrideTTL = hour }
	tests := []struct {
		name    string
		request http.Header
		status  int
		header  http.Header
		change  func(*Policy)
		want    bool
	}{
		{"nothing stated", plain, 200, answerHeader(), nil, false},
		{"nothing stated, but stale use granted", plain, 200, answerHeader(), func(p *Policy) { p.StaleWhileRevalidate, p.StaleIfError = hour, hour }, false},
		{"an entity tag", plain, 200, answerHeader(etag), nil, true},
		{"a modification", plain, 200, answerHeader("Last-Modified: Sun, 01 Jan 2023 00:00:00 GMT"), nil, true},
		{"the operator's ttl", plain, 200, answerHeader(), func(p *Policy) { p.TTL = hour }, true},
		{"fresh", plain, 200, answerHeader(fresh), nil, true},
		{"expires", plain, 200, answerHeader("Expires: Sun, 01 Jan 2090 00:00:00 GMT"), nil, true},
		{"stale, never to be confirmed", plain, 200, answerHeader("Cache-Control: max-age=0"), nil, false},
		{"stale, to be used so", plain, 200, answerHeader("Cache-Control: max-age=0, stale-if-error=9"), nil, true},
		{"stale, to be confirmed", plain, 200, answerHeader("Cache-Control: max-age=0", etag), nil, true},
		{"too old already", plain, 200, answerHeader(fresh, "Age: 60"), nil, false},
		{"no-cache, never to be confirmed", plain, 200, answerHeader("Cache-Control: max-age=60, no-cache"), nil, false},
		{"no-cache", plain, 200, answerHeader("Cache-Control: no-cache", etag), nil, true},
		{"no-cache of a field", plain, 200, answerHeader(`Cache-Control: max-age=60, no-cache="a"`), nil, true},
		{"private", plain, 200, answerHeader("Cache-Control: private, max-age=60"), nil, false},
		{"private field", plain, 200, answerHeader(`Cache-Control: private="a", max-age=60`), nil, true},
		{"no-store", plain, 200, answerHeader("Cache-Control: no-store, max-age=60", etag), nil, false},
		{"no-store of the client", answerHeader("Cache-Control: no-store"), 200, answerHeader(fresh), nil, true},
		{"pragma", plain, 200, answerHeader(fresh, "Pragma: no-cache"), nil, true},
		{"targeted", plain, 200, answerHeader("Cache-Control: no-store", "CDN-Cache-Control: max-age=60"), nil, true},
		{"targeted no-store", plain, 200, answerHeader(fresh, "CDN-Cache-Control: no-store"), nil, false},
		{"targeted without freshness", plain, 302, answerHeader(fresh, "Expires: Sun, 01 Jan 2090 00:00:00 GMT", "CDN-Cache-Control: x"), nil, false},

		{"must-understand, understood", plain, 404, answerHeader("Cache-Control: max-age=60, must-understand, no-store"), nil, true},
		{"must-understand, unknown", plain, 599, answerHeader("Cache-Control: max-age=60, must-understand"), nil, false},
		{"must-understand, a difference", plain, 226, answerHeader("Cache-Control: max-age=60, must-understand"), nil, false},
		{"must-understand, private", plain, 200, answerHeader("Cache-Control: max-age=60, must-understand, private"), nil, false},

		{"authorized", authorized, 200, answerHeader(fresh, etag), nil, false},
		{"authorized, public", authorized, 200, answerHeader("Cache-Control: max-age=60, public"), nil, true},
		{"authorized, s-maxage", authorized, 200, answerHeader("Cache-Control: s-maxage=60"), nil, true},
		{"authorized, must-revalidate", authorized, 200, answerHeader("Cache-Control: max-age=60, must-revalidate"), nil, true},
		{"authorized, proxy-revalidate", authorized, 200, answerHeader("Cache-Control: max-age=60, proxy-revalidate"), nil, false},
		{"cookie", plain, 200, answerHeader("Cache-Control: public, max-age=60", "Set-Cookie: a=b"), nil, false},
		{"private cookie", plain, 200, answerHeader(`Cache-Control: private="set-cookie", max-age=60`, "Set-Cookie: a=b"), nil, true},
		{"vary", plain, 200, answerHeader(fresh, "Vary: Accept"), nil, true},
		{"vary on everything", plain, 200, answerHeader(fresh, "Vary: Accept", "Vary: , *"), nil, false},

		{"events", plain, 200, answerHeader(fresh, "Content-Type: Text/Event-Stream; charset=utf-8"), nil, false},
		{"events, overridden", plain, 200, answerHeader("Content-Type: text/event-stream"), override, false},
		{"large header", plain, 200, answerHeader(fresh, "A: "+strings.Repeat("a", maxHeader)), nil, false},

		{"interim", plain, 103, answerHeader(fresh), nil, false},
		{"not modified", plain, 304, answerHeader(fresh), nil, false},
		{"range not satisfiable", plain, 416, answerHeader(fresh), nil, false},
		{"part", plain, 206, answerHeader(fresh), nil, true},
		{"found", plain, 302, answerHeader(fresh), nil, true},
		{"found, an entity tag", plain, 302, answerHeader(etag), nil, false},
		{"error", plain, 500, answerHeader(fresh), nil, true},
		{"error, a ttl", plain, 503, answerHeader(), func(p *Policy) { p.TTL = hour }, false},
		{"not found, a ttl", plain, 404, answerHeader(), func(p *Policy) { p.TTL = hour }, false},
		{"not found, a negative ttl", plain, 404, answerHeader(), func(p *Policy) { p.NegativeTTL = hour }, true},
		{"unknown", plain, 599, answerHeader("Last-Modified: Sun, 01 Jan 2023 00:00:00 GMT"), nil, false},
		{"unknown, public", plain, 599, answerHeader("Cache-Control: public", "Last-Modified: Sun, 01 Jan 2023 00:00:00 GMT"), nil, true},

		{"overridden", plain, 200, answerHeader("Cache-Control: no-store, private"), override, true},
		{"overridden, not by default", plain, 302, answerHeader("Cache-Control: no-store"), override, false},
		{"overridden, cookie", plain, 200, answerHeader("Set-Cookie: a=b"), override, false},
		{"overridden, authorized", authorized, 200, answerHeader(fresh), override, false},
		{"overridden, authorized and public", authorized, 200, answerHeader("Cache-Control: public"), override, true},
		{"overridden, vary on everything", plain, 200, answerHeader("Vary: *"), override, false},
		{"too large", plain, 200, answerHeader(fresh), func(p *Policy) { p.MaxObject = 4 }, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := gatewayPolicy()
			if tt.change != nil {
				tt.change(p)
			}
			resp := &http.Response{StatusCode: tt.status, ContentLength: 5, Header: tt.header}
			if got := p.storable(tt.request, resp, 5); got != tt.want {
				t.Errorf("storable: %t", got)
			}
			resp.ProtoMajor, resp.ContentLength = 1, -1
			if tt.status != 206 && p.storable(tt.request, resp, -1) {
				t.Error("what ends with its connection is storable")
			}
		})
	}
}

func TestStatesFreshness(t *testing.T) {
	for _, c := range []struct {
		header http.Header
		want   bool
	}{
		{nil, false},
		{answerHeader("Cache-Control: public, Max-Age=60"), true},
		{answerHeader("Cache-Control: public", "Cache-Control: s-maxage=60"), true},
		{answerHeader("Cache-Control: public, max-age"), false},
		{answerHeader("Cache-Control: stale-if-error=60"), false},
		{answerHeader("Expires: Thu, 01 Jan 2037 00:00:00 GMT"), true},
		{answerHeader("Cdn-Cache-Control: max-age=60"), true},
		{answerHeader("Cdn-Cache-Control: public", "Cache-Control: max-age=60", "Expires: Thu, 01 Jan 2037 00:00:00 GMT"), false},
	} {
		if got := StatesFreshness(c.header); got != c.want {
			t.Errorf("%v: got %t", c.header, got)
		}
	}
}
