package voyo

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"sync"
	"time"
)

// timing is how long the parts of a fetch take, for Server-Timing
// (https://www.w3.org/TR/server-timing/). What is tried in vain counts too, as
// the client waits for it as well.
type timing struct {
	mu        sync.Mutex    // the transport reports from goroutines of its own
	resolve   time.Duration // asking the resolvers
	connect   time.Duration // getting a connection: name, TCP and TLS, or one that was idle
	firstByte time.Duration // from then on until the answer began
}

// timingKey is the context key of a fetch's *timing.
type timingKey struct{}

// trace returns a context that has its requests timed.
func (t *timing) trace(ctx context.Context) context.Context {
	var began, connected time.Time
	locked := func(f func(now time.Time)) {
		t.mu.Lock()
		defer t.mu.Unlock()
		f(time.Now())
	}
	ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { locked(func(now time.Time) { began = now }) },
		GotConn: func(httptrace.GotConnInfo) {
			locked(func(now time.Time) { t.connect, connected = t.connect+now.Sub(began), now })
		},
		GotFirstResponseByte: func() { locked(func(now time.Time) { t.firstByte += now.Sub(connected) }) },
	})
	return context.WithValue(ctx, timingKey{}, t)
}

// resolving times a look-up, where ctx is that of a timed fetch. It is ended by
// what is returned.
func resolving(ctx context.Context) (end func()) {
	t, ok := ctx.Value(timingKey{}).(*timing)
	if !ok {
		return func() {}
	}
	began := time.Now()
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.resolve += time.Since(began)
	}
}

// field returns the timing as a field value, in milliseconds.
func (t *timing) field() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	ms := func(d time.Duration) string {
		return strconv.FormatFloat(float64(d.Microseconds())/1000, 'f', -1, 64)
	}
	return "resolve;dur=" + ms(t.resolve) + ", connect;dur=" + ms(t.connect) + ", ttfb;dur=" + ms(t.firstByte)
}

// setTiming tells the client how long the fetch took that it has waited for. One
// that was answered out of the cache, or that joined another's fetch, waited for
// none of its own.
func (u *upstream) setTiming(header http.Header) {
	if t := u.timing.Load(); t != nil {
		header.Set("Server-Timing", t.field())
	}
}
