package cache

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// stalePolicy lets what is stale be used for a minute while it is confirmed, and for
// an hour if it can't be.
func stalePolicy() *Policy {
	p := policy()
	p.StaleWhileRevalidate, p.StaleIfError = minute, hour
	return p
}

// TestStaleWhileRevalidate has many clients ask for what has just become stale, from
// an upstream that hangs: all are answered at once, and it is asked once.
func TestStaleWhileRevalidate(t *testing.T) {
	for _, changed := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			c := newTest(t, Limits{})
			o := newOrigin(content(1, 1000))
			o.header.Set("Cache-Control", "max-age=10")
			gate := make(chan struct{})
			req := Request{Key: "a", Policy: stalePolicy(), Fetch: func(ctx context.Context, h http.Header) (*http.Response, error) {
				<-gate
				return o.fetch(ctx, h)
			}}
			close(gate)
			if _, _, err := get(t, c, req); err != nil {
				t.Fatal(err)
			}
			gate = make(chan struct{})
			time.Sleep(15 * time.Second)
			old := o.body
			for range 10 {
				resp, status, err := get(t, c, req)
				if err != nil || status != Stale || !bytes.Equal(read(t, resp), old) {
					t.Fatalf("%s, %v", status, err)
				}
				if got := resp.Header.Get("Cache-Status"); got != "voyo; hit; ttl=-5" {
					t.Error(got)
				}
				if age := resp.Header.Get("Age"); age != "15" {
					t.Errorf("Age is %s", age)
				}
			}
			if changed {
				o.set(content(2, 500), `"v2"`)
			}
			close(gate)
			synctest.Wait()
			resp, status, err := get(t, c, req)
			if err != nil || status != Hit || !bytes.Equal(read(t, resp), o.body) {
				t.Errorf("%s, %v", status, err)
			}
			if o.count() != 2 || o.requests[1].Get("If-None-Match") != `"v1"` {
				t.Errorf("asked %v", o.requests)
			}
		})
	}
}

func TestStaleIfError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{})
		o := newOrigin(content(1, 1000))
		o.header.Set("Cache-Control", "max-age=10")
		p := stalePolicy()
		p.StaleWhileRevalidate = 0
		req := Request{Key: "a", Policy: p, Fetch: o.fetch}
		if _, _, err := get(t, c, req); err != nil {
			t.Fatal(err)
		}
		failure := errReset
		o.fail = func(int, http.Header) error { return failure }
		expect := func(after time.Duration, want Status, requests int, cacheStatus string) {
			t.Helper()
			time.Sleep(after)
			resp, status, err := get(t, c, req)
			if status != want || o.count() != requests || !strings.HasPrefix(resp.Header.Get("Cache-Status"), cacheStatus) {
				t.Errorf("%s after %d requests, %v; Cache-Status: %s", status, o.count(), err, resp.Header.Get("Cache-Status"))
			}
			if want != Failed && !bytes.Equal(read(t, resp), o.body) {
				t.Error("wrong bytes")
			}
		}
		expect(5*time.Second, Hit, 1, "voyo; hit; ttl=5")
		expect(10*time.Second, Stale, 2, "voyo; fwd=stale; detail=failed")
		expect(0, Stale, 2, "voyo; hit; ttl=-5") // it has just failed
		expect(retryTime, Stale, 3, "voyo; fwd=stale; detail=failed")
		expect(hour, Failed, 4, "voyo; fwd=stale")
		failure = nil
		expect(0, Revalidated, 5, "voyo; fwd=stale; fwd-status=304")
		failure = ErrNotFound // that is an answer, and no failure
		expect(minute, Failed, 6, "voyo; fwd=stale")
		if c.Stats().Entries != 0 {
			t.Error("what does not exist any more is kept")
		}
	})
}

// TestStaleOnlyIfAllIsThere has a part of what is wanted missing: it could not be had
// without the upstream anyway.
func TestStaleOnlyIfAllIsThere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{Slice: 1000})
		o := newOrigin(content(1, 10_000))
		o.header.Set("Cache-Control", "max-age=10")
		req := Request{Key: "a", Policy: stalePolicy(), Fetch: o.fetch}
		if _, _, err := get(t, c, req, "Range", "bytes=0-1999"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(15 * time.Second)
		o.fail = func(int, http.Header) error { return errReset }
		if _, status, err := get(t, c, req, "Range", "bytes=1000-2999"); !errors.Is(err, errReset) {
			t.Errorf("%s, %v", status, err)
		}
		if _, status, err := get(t, c, req, "Range", "bytes=1000-1999"); status != Stale {
			t.Errorf("%s, %v", status, err)
		}
	})
}

// TestStaleSurvivesRestart has an object become stale on disk.
func TestStaleSurvivesRestart(t *testing.T) {
	n := newDiskNode(t, Limits{Memory: 1 << 20})
	o := newOrigin(content(1, 1000))
	o.header.Set("Cache-Control", "max-age=10")
	o.header.Set("Age", "11")
	req := Request{Key: "a", Policy: stalePolicy(), Fetch: o.fetch}
	n.bring(t, req)
	n.restart()
	o.fail = func(int, http.Header) error { return errReset }
	if _, status, err := get(t, n.Cache, req); status != Stale {
		t.Errorf("%s, %v", status, err)
	}
}
