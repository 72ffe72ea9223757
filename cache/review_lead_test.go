package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestSlowReaderIsReadAheadOf has a listener far into an object whose next slice is
// missing: the fill that follows him brings it, with one request.
func TestSlowReaderIsReadAheadOf(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{Memory: 64_000, Slice: 1000})
		o := newOrigin(content(1, 40_000))
		p := policy()
		p.ReadAhead = 0
		req := Request{Key: "a", Policy: p, Fetch: o.fetch}
		if _, _, err := get(t, c, req, "Range", "bytes=0-29999"); err != nil {
			t.Fatal(err)
		}
		c.work.Wait()
		before := o.count()
		p2 := *p
		p2.ReadAhead = 2
		req.Policy = &p2
		var waited atomic.Int64
		var last time.Time
		var got bytes.Buffer
		client := &checking{header: http.Header{}, want: &pattern{}, paused: func(int64) error {
			if !last.IsZero() {
				waited.Add(int64(time.Since(last)))
			}
			time.Sleep(5 * time.Second) // for each slice
			last = time.Now()
			return nil
		}}
		if err := serve(t.Context(), c, &teeWriter{client, &got}, req, "bytes=20000-39999"); err != nil || !bytes.Equal(got.Bytes(), o.body[20_000:]) {
			t.Error(err)
		}
		c.work.Wait()
		t.Logf("%d requests, %v", o.count()-before, o.requests[before:])
		for i, h := range o.requests[before:] {
			for _, g := range o.requests[before : before+i] {
				if h.Get("Range") == g.Get("Range") {
					t.Errorf("%s was asked for twice", h.Get("Range"))
				}
			}
		}
		if sent := o.bytesSent(); sent > 45_000 {
			t.Errorf("the upstream sent %d bytes of 40000", sent)
		}
	})
}

// TestSeekOnABusyNodeAsksOnce has more exchanges than may run, and a client that wants
// the end of something new: the answer that it has waited for is used.
func TestSeekOnABusyNodeAsksOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const size = 4 << 20
		c := newTest(t, Limits{Memory: 2 << 20, Slice: 64 << 10})
		gate := make(chan struct{})
		hang := func(ctx context.Context, h http.Header) (*http.Response, error) {
			<-gate
			return nil, errReset
		}
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		busy := manyClients(ctx, c, minExchanges-1, hang, 1, nil)
		synctest.Wait()
		asked := make(map[string]int)
		slow := make(chan struct{})
		fetch := func(ctx context.Context, h http.Header) (*http.Response, error) {
			asked[h.Get("Range")]++
			<-slow
			return claims(size)(ctx, h)
		}
		done := make(chan error)
		go func() {
			client := &checking{header: http.Header{}, want: &pattern{3 << 20, size}}
			err := serve(t.Context(), c, client, Request{Key: "seek", Policy: &Policy{TTL: day}, Fetch: fetch}, fmt.Sprintf("bytes=%d-", 3<<20))
			if err == nil && client.wrong {
				err = errors.New("wrong bytes")
			}
			done <- err
		}()
		synctest.Wait()
		waiting := make(chan error, 1) // in the queue
		go func() {
			waiting <- serve(t.Context(), c, httptest.NewRecorder(), Request{Key: "queued", Policy: &Policy{TTL: day}, Fetch: hang}, "")
		}()
		synctest.Wait()
		close(slow)
		synctest.Wait()
		close(gate)
		if err := <-done; err != nil {
			t.Error(err)
		}
		<-waiting
		for range minExchanges - 1 {
			<-busy
		}
		for rng, times := range asked {
			if times > 1 {
				t.Errorf("%s was asked for %d times", rng, times)
			}
		}
	})
}
