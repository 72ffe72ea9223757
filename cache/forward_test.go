package cache

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestForward answers past the cache: the upstream's range and size are the
// client's.
func TestForward(t *testing.T) {
	body := content(1, 3000)
	tests := []struct {
		name   string
		body   []byte
		method string
		fields []string
		asked  string // Range field
		status int
		want   []byte
		length string // Content-Length
		crange string
	}{
		{"whole", body, "GET", nil, "", 200, body, "3000", ""},
		{"range", body, "GET", []string{"Range", "bytes=5-9"}, "bytes=5-9", 206, body[5:10], "5", "bytes 5-9/3000"},
		{"several ranges", body, "GET", []string{"Range", "bytes=0-9,2000-2009", "If-Range", `"v1"`}, "", 200, body, "3000", ""},
		{"malformed range", body, "GET", []string{"Range", "bytes=5-2"}, "", 200, body, "3000", ""},
		{"range past the end", body, "GET", []string{"Range", "bytes=999999-"}, "bytes=999999-", 416, nil, "", "bytes */3000"},
		{"range of an empty object", nil, "GET", []string{"Range", "bytes=0-1"}, "bytes=0-1", 416, nil, "", "bytes */0"},
		{"not modified", body, "GET", []string{"If-None-Match", `"v1"`}, "", 304, nil, "", ""},
		{"empty", nil, "GET", nil, "", 200, nil, "0", ""},
		{"HEAD", body, "HEAD", []string{"Range", "bytes=5-9"}, "bytes=0-0", 200, nil, "3000", ""},
		{"HEAD of an empty object", nil, "HEAD", nil, "bytes=0-0", 200, nil, "0", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := newOrigin(tt.body)
			r := httptest.NewRequestWithContext(t.Context(), tt.method, "/", nil)
			for i := 0; i < len(tt.fields); i += 2 {
				r.Header.Set(tt.fields[i], tt.fields[i+1])
			}
			rec := httptest.NewRecorder()
			status, err := (&transaction{c: newTest(t, Limits{Memory: 1 << 20, Slice: 4096}), req: Request{Key: "a", Policy: policy(), Fetch: o.fetch}}).forward(rec, r)
			if err != nil || status != Pass {
				t.Fatalf("%s, %v", status, err)
			}
			resp := rec.Result()
			if got := read(t, resp); resp.StatusCode != tt.status || !bytes.Equal(got, tt.want) {
				t.Errorf("status %d, %d bytes", resp.StatusCode, len(got))
			}
			if h := resp.Header; h.Get("Content-Length") != tt.length || h.Get("Content-Range") != tt.crange {
				t.Errorf("Content-Length %q, Content-Range %q", h.Get("Content-Length"), h.Get("Content-Range"))
			}
			asked := o.requests[0]
			if asked.Get("Range") != tt.asked || (tt.asked == "" && asked.Get("If-Range") != "") || o.count() != 1 {
				t.Errorf("%d requests, the first is %v", o.count(), asked)
			}
			if n := o.open(); n != 0 {
				t.Errorf("%d bodies are open", n)
			}
		})
	}
}

// TestForwardRefusedHead asks an upstream that refuses the first byte: unless it says that
// there is one, what it has is empty, and its page about that is none of the client's.
func TestForwardRefusedHead(t *testing.T) {
	for contentRange, want := range map[string]string{"": "0", "bytes */0": "0", "bytes */700": ""} {
		fetch := func(context.Context, http.Header) (*http.Response, error) {
			h := http.Header{"Content-Type": {"text/html"}}
			if contentRange != "" {
				h.Set("Content-Range", contentRange)
			}
			return &http.Response{StatusCode: http.StatusRequestedRangeNotSatisfiable, Header: h, Body: http.NoBody}, nil
		}
		w, r := httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodHead, "/", nil)
		req := Request{Key: "a", Policy: policy(), Fetch: fetch}
		_, err := (&transaction{c: newTest(t, Limits{Memory: 1 << 20}), req: req}).forward(w, r)
		if want == "" {
			if !errors.Is(err, ErrBadAnswer) || len(w.Header()) > 0 {
				t.Errorf("%s: got %v and %v", contentRange, err, w.Header())
			}
			continue
		}
		if h := w.Header(); err != nil || w.Code != http.StatusOK || h.Get("Content-Length") != want || h.Get("Content-Type") != "" {
			t.Errorf("%q: got %d, %v, %v", contentRange, w.Code, h, err)
		}
	}
}

// TestSeveralRangesPassThrough wants several ranges of what must not be stored, from
// a real server: its multipart answer is none that the cache can read, so it is
// asked for the whole.
func TestSeveralRangesPassThrough(t *testing.T) {
	body := content(1, 10_000)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Etag", `"v1"`)
		http.ServeContent(w, r, "a.bin", time.Time{}, bytes.NewReader(body))
	}))
	defer srv.Close()
	tr := &http.Transport{}
	defer tr.CloseIdleConnections()
	req := Request{Key: "a", Policy: policy(), Fetch: func(ctx context.Context, h http.Header) (*http.Response, error) {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL, nil)
		if err != nil {
			return nil, err
		}
		r.Header = h
		return tr.RoundTrip(r)
	}}
	resp, status, err := get(t, newTest(t, Limits{}), req, "Range", "bytes=0-9,5000-5009")
	if err != nil || status != Pass || resp.StatusCode != 200 || !bytes.Equal(read(t, resp), body) {
		t.Errorf("%d, %s, %v", resp.StatusCode, status, err)
	}
}

// TestPermit refuses requests for which the upstream would be asked, and no others.
func TestPermit(t *testing.T) {
	c := newTest(t, Limits{Memory: 1 << 20, Slice: 4096})
	o := newOrigin(content(1, 3000))
	refused := errors.New("refused")
	calls := 0
	req := Request{Key: "a", Policy: policy(), Fetch: o.fetch, Permit: func() error { calls++; return refused }}
	if _, status, err := get(t, c, req); status != Failed || !errors.Is(err, refused) || o.count() != 0 || calls != 1 {
		t.Errorf("%s, %v; %d requests, asked %d times", status, err, o.count(), calls)
	}
	allowed := req
	allowed.Permit = nil
	if _, status, err := get(t, c, allowed); status != Miss || err != nil {
		t.Errorf("%s, %v", status, err)
	}
	if _, status, err := get(t, c, req); status != Hit || err != nil || calls != 1 {
		t.Errorf("a hit: %s, %v; asked %d times", status, err, calls)
	}
	req.Policy = &Policy{MaxObject: 1}
	req.Key = "large"
	req.Permit = func() error { calls++; return nil }
	if _, status, err := get(t, c, req); status != Pass || err != nil || calls != 2 {
		t.Errorf("what can't be kept: %s, %v; asked %d times", status, err, calls-1)
	}
}
