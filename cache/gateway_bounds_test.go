package cache

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
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
