package voyo

import (
	"math"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/time/rate"
)

// maxClients is how many clients a limiter knows, at about 400 bytes each. When there are
// more, the one who was not seen for the longest time is forgotten, and begins anew when it
// comes back. So who has that many addresses gets past the limits of a client, but he
// would without that; what holds him is total_lookups. Nobody is refused because of it.
const maxClients = 1 << 16

// maxForgotten is how many clients may be forgotten at a time, while others wait.
const maxForgotten = 100

// The names of the limits, as clients are told of them.
const (
	limitRequests     = "requests"
	limitLookups      = "lookups"
	limitTotalLookups = "total_lookups"
)

// limiter holds clients to the rates of a configuration. Its methods are safe for
// concurrent use, and block on nothing.
type limiter struct {
	rates  rates
	memory time.Duration // after which a client has all that it may have, as a new one does
	total  *rate.Limiter // of lookups; nil if they are not limited

	mu      sync.Mutex
	clients *simplelru.LRU[netip.Addr, *client] // the one seen last first
}

// client is what a limiter knows of a client. A bucket that is nil is not limited.
type client struct {
	seen              time.Time
	requests, lookups *rate.Limiter
}

func newLimiter(r rates) *limiter {
	l := &limiter{
		rates:  r,
		memory: time.Duration(max(r.requests.Window, r.lookups.Window)),
		total:  r.totalLookups.bucket(),
	}
	l.clients, _ = simplelru.NewLRU[netip.Addr, *client](maxClients, nil) // fails on a size below 1 only
	return l
}

// bucket returns a full bucket, nil if there is no limit.
func (r Rate) bucket() *rate.Limiter {
	if r.Count == 0 {
		return nil
	}
	return rate.NewLimiter(rate.Limit(float64(r.Count)/time.Duration(r.Window).Seconds()), r.Count)
}

// knowsClients reports whether anything is limited by client.
func (l *limiter) knowsClients() bool { return l.memory > 0 }

// limitsLookups reports whether lookups are limited in any way.
func (l *limiter) limitsLookups() bool { return l.total != nil || l.rates.lookups.Count > 0 }

// admit counts a request of a client's. The error is a problem.
func (l *limiter) admit(addr netip.Addr) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	return take(now, bucket{limitRequests, l.client(addr, now).requests})
}

// permit counts a lookup on behalf of a client. The error is a problem.
func (l *limiter) permit(addr netip.Addr) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Now()
	var own *rate.Limiter
	if l.knowsClients() {
		own = l.client(addr, now).lookups
	}
	return take(now, bucket{limitLookups, own}, bucket{limitTotalLookups, l.total})
}

// client returns what there is for a client, who is seen. The caller holds l.mu.
func (l *limiter) client(addr netip.Addr, now time.Time) *client {
	l.forget(now)
	c, ok := l.clients.Get(addr)
	if !ok {
		c = &client{requests: l.rates.requests.bucket(), lookups: l.rates.lookups.bucket()}
		l.clients.Add(addr, c)
	}
	c.seen = now
	return c
}

// forget forgets clients who were not seen for so long that their buckets are full: there
// is nothing to know of them. It reports whether there may be more. The caller holds l.mu.
func (l *limiter) forget(now time.Time) bool {
	for range maxForgotten {
		_, c, ok := l.clients.GetOldest()
		if !ok || now.Sub(c.seen) < l.memory {
			return false
		}
		l.clients.RemoveOldest()
	}
	return true
}

// report returns the figures for /health.
func (l *limiter) report() limitReport {
	for more := true; more; {
		l.mu.Lock()
		more = l.forget(time.Now())
		l.mu.Unlock()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return limitReport{ActiveIPs: l.clients.Len(), PerIPLimit: l.rates.requests.Count}
}

// bucket is one that has the name of its limit.
type bucket struct {
	limit string
	*rate.Limiter
}

// take takes one out of each bucket, or nothing if one of them is empty. The error is a
// problem.
func take(now time.Time, buckets ...bucket) error {
	var taken []*rate.Reservation
	for _, b := range buckets {
		if b.Limiter == nil {
			continue
		}
		r := b.ReserveN(now, 1)
		taken = append(taken, r)
		if wait := r.DelayFrom(now); wait > 0 {
			for _, r := range taken {
				r.CancelAt(now)
			}
			return tooMany(b.limit, wait)
		}
	}
	return nil
}

// tooMany is the problem of who is over a limit, for as long as wait.
func tooMany(limit string, wait time.Duration) problem {
	return problem{
		status:     http.StatusTooManyRequests,
		message:    "Too many requests",
		limit:      limit,
		retryAfter: int(math.Ceil(wait.Seconds())),
	}
}
