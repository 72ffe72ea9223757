package cache

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestWaitersAreToldAtOnce has many wait for one upstream, which answers after a second
// and sends a slice in each of the next two. Nobody looks now and then whether there is
// something: in a bubble that would take time.
func TestWaitersAreToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newTest(t, Limits{Slice: 1000})
		o := newOrigin(content(1, 2000))
		fetch := func(ctx context.Context, h http.Header) (*http.Response, error) {
			time.Sleep(time.Second)
			resp, err := o.fetch(ctx, h)
			if err == nil {
				body := resp.Body
				resp.Body = &closing{readerFunc(func(p []byte) (int, error) {
					time.Sleep(time.Second)
					return body.Read(p[:min(len(p), 1000)])
				}), func() { body.Close() }}
			}
			return resp, err
		}
		req := Request{Key: "a", Policy: policy(), Fetch: fetch}
		began := time.Now()
		var clients sync.WaitGroup
		for range 100 {
			clients.Go(func() {
				if _, _, err := get(t, c, req, "Range", "bytes=0-999"); err != nil {
					t.Error(err)
				}
				if took := time.Since(began); took != 2*time.Second {
					t.Errorf("the first slice took %s", took)
				}
			})
		}
		clients.Wait()
		if n := o.count(); n != 1 {
			t.Errorf("the upstream was asked %d times", n)
		}
	})
}
