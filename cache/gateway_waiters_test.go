package cache

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestGatewayInterims has many wait for one answer: what comes before it, and may be about
// the one that the origin was asked for, is for that one.
func TestGatewayInterims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{Memory: 1 << 20})
		fetch := func(ctx context.Context, _ http.Header) (*http.Response, error) {
			hint := textproto.MIMEHeader{"Link": {"</his.css>; rel=preload"}, "Connection": {"X-Hop"}, "X-Hop": {"1"}}
			if err := httptrace.ContextClientTrace(ctx).Got1xxResponse(http.StatusEarlyHints, hint); err != nil {
				return nil, err
			}
			time.Sleep(time.Second)
			return (&gateway{t: t}).parse("200 | Cache-Control: max-age=60 | =a", http.MethodGet), nil
		}
		var mu sync.Mutex
		var told []http.Header
		var wg sync.WaitGroup
		for range 10 {
			wg.Go(func() {
				r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
				w := &hinted{httptest.NewRecorder(), func(h http.Header) {
					mu.Lock()
					defer mu.Unlock()
					told = append(told, h)
				}}
				if _, err := c.Serve(w, r, Request{Key: "a", Policy: &Policy{Gateway: true}, Header: r.Header, Fetch: fetch}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if len(told) != 1 || told[0].Get("Link") == "" || told[0].Get("X-Hop")+told[0].Get("Connection") != "" {
			t.Errorf("told: %v", told)
		}
	})
}

// hinted is a client that takes interim responses.
type hinted struct {
	*httptest.ResponseRecorder
	hint func(http.Header)
}

func (h *hinted) WriteHeader(status int) {
	if status < 200 {
		h.hint(h.Header().Clone())
		return
	}
	h.ResponseRecorder.WriteHeader(status)
}

// TestGatewayLeaveIsNoFailure has a client leave while a page is confirmed: the origin has
// not failed, and the next one does not get what is stale for that.
func TestGatewayLeaveIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		body := "old"
		p := newPage(t, func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-time.After(time.Second):
			case <-r.Context().Done():
			}
			w.Header().Set("Cache-Control", "max-age=60, stale-if-error=86400")
			w.Header().Set("Etag", strconv.Quote(body))
			fmt.Fprint(w, body)
		})
		p.get(t.Context())
		time.Sleep(time.Hour)
		body = "new"
		ctx, leave := context.WithTimeout(t.Context(), time.Millisecond)
		defer leave()
		p.get(ctx)
		synctest.Wait()
		if got := p.get(t.Context()); got != "miss =new" {
			t.Error(got)
		}
	})
}

// TestGatewayConfirmsAtOnce has many ask for a page that is to be confirmed each time:
// nobody waits for more than one answer that turns out to be another's.
func TestGatewayConfirmsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPage(t, func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(time.Second)
			w.Header().Set("Cache-Control", "no-cache")
			w.Header().Set("Etag", `"a"`)
			if r.Header.Get("If-None-Match") != "" {
				w.WriteHeader(http.StatusNotModified)
			}
		})
		var wg sync.WaitGroup
		start := time.Now()
		for range 50 {
			wg.Go(func() { p.get(t.Context()) })
		}
		wg.Wait()
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("it took %s, and %d requests", took, p.count.Load())
		}
	})
}
