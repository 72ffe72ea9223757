package cache

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestGatewayKeepsNoMoreThanItMay has an answer that is larger than the memory, and can't
// be fetched in parts since it has been modified in the second in which it was made.
func TestGatewayKeepsNoMoreThanItMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{Memory: 100_000, Slice: 1000})
		const size = 1_000_000
		var most int64
		body := &pattern{0, size}
		fetch := func(context.Context, http.Header) (*http.Response, error) {
			now := time.Now().UTC().Format(http.TimeFormat)
			return &http.Response{
				StatusCode: 200, ProtoMajor: 1, ContentLength: size, Body: io.NopCloser(readerFunc(func(p []byte) (int, error) {
					most = max(most, c.Stats().Bytes)
					return body.Read(p)
				})),
				Header: http.Header{"Cache-Control": {"max-age=60"}, "Last-Modified": {now}, "Date": {now}},
			}, nil
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		rec := httptest.NewRecorder()
		status, err := c.Serve(rec, r, Request{Key: "a", Policy: &Policy{Gateway: true, MaxAge: -1}, Header: r.Header, Fetch: fetch})
		if most > 100_000 || status != Pass || rec.Body.Len() != size {
			t.Errorf("%d bytes of an answer that is %s, %v; the client got %d", most, status, err, rec.Body.Len())
		}
	})
}

// TestGatewayTinyParts has many ask for parts that can only be cut into tiny slices: those
// take far more memory than they have bytes.
func TestGatewayTinyParts(t *testing.T) {
	const objects = 1000
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	c := newTest(t, Limits{Memory: 64 << 20})
	before := heap()
	for i := range objects {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		r.Header.Set("Range", "bytes=1-1022")
		fetch := endless(1023, func(int) {})
		if _, err := c.Serve(httptest.NewRecorder(), r, Request{Key: strconv.Itoa(i), Policy: &Policy{Gateway: true, TTL: hour}, Header: r.Header, Fetch: fetch}); err != nil {
			t.Fatal(err)
		}
	}
	c.work.Wait()
	if took := int64(heap()-before) / objects; took > bytesPerEntry {
		t.Errorf("%d bytes each, for 1022", took)
	}
	runtime.KeepAlive(c)
}

// TestGatewayAsksAtOnce has more clients wait for slow answers, which are not kept, than
// there may be fills.
func TestGatewayAsksAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{Memory: 64 << 20})
		var wg sync.WaitGroup
		start := time.Now()
		for i := range 1000 {
			wg.Go(func() {
				r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
				fetch := func(context.Context, http.Header) (*http.Response, error) {
					time.Sleep(time.Second)
					return &http.Response{StatusCode: 200, Header: http.Header{"Cache-Control": {"no-store"}}, Body: http.NoBody}, nil
				}
				if _, err := c.Serve(httptest.NewRecorder(), r, Request{Key: fmt.Sprint(i), Policy: &Policy{Gateway: true}, Header: r.Header, Fetch: fetch}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("it took %s", took)
		}
	})
}
