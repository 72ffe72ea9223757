// Package cache is a shared HTTP cache whose bodies are kept in slices: read
// while they are written, filled by ranges, and never spliced from two versions.
//
// A request's way through it: Serve (serve.go) opens the object that its key
// names (open.go), which is a look-up, or one exchange with the upstream for
// however many ask (flight.go). A reader (reader.go) then walks the body's slices
// and, where one is missing, starts or joins a fill (fill.go), which pours an
// upstream's body into slices (pour.go). What is kept is bounded by the store
// (store.go); what may be kept, and for how long, is the policy's matter
// (policy.go).
package cache

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/voyo-music/caddy-voyo/internal/byterange"
)

// Errors that Serve, Forward and Warm return, to be told apart with errors.Is.
var (
	// ErrNotFound, wrapped in the error of a Fetch, says that the object does not
	// exist. The cache remembers it for Policy.NegativeTTL.
	ErrNotFound = errors.New("object not found")

	// ErrAborted says that an answer broke off after its header was sent. The
	// caller must abort the connection, so that the client sees an error and
	// not a short or a wrong body.
	ErrAborted = errors.New("answer broken off")

	// ErrStalled says that the upstream sent nothing for the stall time.
	ErrStalled = errors.New("upstream stalled")

	// ErrBadAnswer says that the upstream's answer contradicts itself or the
	// request: a wrong range or length, or another version of the object.
	ErrBadAnswer = errors.New("upstream answer is not valid")

	// ErrBusy says that too many exchanges with upstreams are under way.
	ErrBusy = errors.New("too many requests to upstreams")

	// ErrClosed says that the cache was closed.
	ErrClosed = errors.New("cache is closed")
)

// StallTimeout is how long an upstream may send nothing, before its header or
// within its body, until the exchange is given up.
const StallTimeout = 15 * time.Second

// DefaultSlice is the size of a slice, in bytes, where Limits names none.
const DefaultSlice = 256 << 10

// Fetch asks the upstream for an object. header holds the range and precondition
// fields to send. ctx belongs to the cache and not to a client, except in
// Forward. The answer's status is 200, 206, 304 or 416, anything else is an
// error; its header holds only what may be stored and sent to clients.
type Fetch func(ctx context.Context, header http.Header) (*http.Response, error)

// Request is what the cache needs to know besides the HTTP request.
type Request struct {
	Key    string // names the object; where Policy.Gateway, the target URI
	Policy *Policy
	Fetch  Fetch

	// Header is the client's, where Policy.Gateway: a stored answer is selected
	// by what it has of the fields that Vary names.
	Header http.Header

	// Peer says that the client is another cache of this kind, where not Policy.Gateway:
	// it is told for how long the object is fresh here, and its tags.
	Peer bool

	// Permit is called before the upstream is asked on behalf of this request, which its
	// error refuses; what others have asked for is free. It must not block. May be nil.
	Permit func() error

	// Head is a Fetch that asks for the header alone. Without it, a HEAD that is not
	// answered out of the cache is Fetch's, for one byte.
	Head Fetch

	// Annotate may add to the header of an answer, just before it is sent. By then
	// Fetch has returned if it was called for this answer, and the status is what it
	// is as far as is known. May be nil.
	Annotate func(Status, http.Header)
}

// Limits bounds what a Cache keeps.
type Limits struct {
	Entries int   // objects; 0 means one for each 16 KiB of Memory, and 100 at the least
	Memory  int64 // bytes of bodies
	Slice   int64 // bytes; the slice size of objects that are new. 0 means DefaultSlice
}

// Status says how a request was answered.
type Status string

// The statuses, in the words of logs and metrics.
const (
	Hit         Status = "hit"         // all of it was stored
	Miss        Status = "miss"        // nothing of it was stored, or a fill under way was joined
	Partial     Status = "partial"     // some of it was stored
	Stale       Status = "stale"       // stored and stale, and used all the same
	Revalidated Status = "revalidated" // stored, stale, and confirmed by the upstream
	Pass        Status = "pass"        // not for the cache
	Failed      Status = "error"       // no answer could be had
)

// Stats are a Cache's figures at one moment.
type Stats struct {
	Entries int   // objects of which something is kept
	Bytes   int64 // of bodies kept, fills under way included
	Fills   int   // exchanges with upstreams, under way
	Queued  int   // exchanges that wait for others to end
	Waiting int64 // readers that wait for an upstream
	Hits    int64 // answered out of the cache, since it was made
	Misses  int64 // answered with the upstream's help

	Sent     int64  // bytes of bodies that clients were sent, since it was made
	FromDisk int64  // those of them that were read from the disk for it
	Evicted  int64  // slices, and objects as a whole, that made room in memory
	Limits   Limits // with the number of objects that is in effect
}

// Cache keeps objects in memory. Its methods are safe for concurrent use.
type Cache struct {
	ctx    context.Context // of all exchanges with upstreams
	cancel context.CancelCauseFunc
	work   sync.WaitGroup              // the exchanges
	gate   func(context.Context) error // before what is on disk is brought back; may be nil

	purging sync.Mutex   // held while what is purged is noted on disk
	waiting atomic.Int64 // as in Stats

	mu        sync.Mutex // guards all below, and every object and fill
	store     *store
	flights   map[string]*flight // openings under way, by key
	exchanges exchanges
	hits      int64
	misses    int64
	sent      sent
}

// New returns an empty cache. Close must be called when it is no longer used.
func New(l Limits) *Cache {
	ctx, cancel := context.WithCancelCause(context.Background())
	return &Cache{
		ctx:       ctx,
		cancel:    cancel,
		store:     newStore(l),
		flights:   make(map[string]*flight),
		exchanges: newExchanges(),
	}
}

// SetLimits changes the limits, and evicts what is now too much. Objects keep
// the slice size they were stored with.
func (c *Cache) SetLimits(l Limits) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.store.setLimits(l)
}

// Close ends the exchanges under way and waits for them. Readers of unfinished
// bodies get ErrClosed.
func (c *Cache) Close() {
	c.mu.Lock()
	c.cancel(ErrClosed) // under mu, so that no exchange starts after it
	c.endQueues()
	c.mu.Unlock()
	c.work.Wait()
}

// Stats returns the figures of this moment.
func (c *Cache) Stats() Stats {
	c.mu.Lock()
	defer c.mu.Unlock()
	return Stats{
		Entries: c.store.objects.Len(),
		Bytes:   c.store.bytes,
		Fills:   c.exchanges.running(),
		Queued:  c.exchanges.queued(),
		Waiting: c.waiting.Load(),
		Hits:    c.hits,
		Misses:  c.misses,

		Sent:     c.sent.all,
		FromDisk: c.sent.fromDisk,
		Evicted:  c.store.evicted,
		Limits:   c.store.limits,
	}
}

// Info is what is known of an object that is stored and fresh.
type Info struct {
	Size int64 // in bytes; -1 if unknown yet
	Head int64 // how many bytes are stored from the object's beginning on
}

// Peek returns what is known of the object that a key names, and whether there is
// one. It does not count as a use of the object, and asks no upstream.
func (c *Cache) Peek(ctx context.Context, key string) (Info, bool) {
	c.recalled(ctx, key)
	c.mu.Lock()
	defer c.mu.Unlock()
	o, ok := c.store.objects.Peek(key)
	if !ok || !c.store.valid(o) || !o.fresh(time.Now()) {
		return Info{}, false
	}
	return Info{Size: o.size, Head: o.head()}, true
}

// Warm brings the first n bytes of an object into the cache, or all of one that
// is shorter. It does not count as a request.
func (c *Cache) Warm(ctx context.Context, req Request, n int64) error {
	t := &transaction{c: c, req: req}
	defer t.close()
	err := errSuperseded
	for attempt := 0; attempt < maxOpenings && errors.Is(err, errSuperseded); attempt++ {
		if err = t.open(ctx, byterange.Spec{First: 0, Last: n - 1}); err != nil || t.pass {
			return err
		}
		err = t.copy(ctx, 0, n, discard{})
	}
	if err == io.EOF {
		return nil
	}
	return err
}

// background runs f, which contains its panics, in the background. It reports
// false, and runs nothing, if the cache is closed. The caller holds c.mu.
func (c *Cache) background(f func()) bool {
	if c.ctx.Err() != nil {
		return false
	}
	c.work.Go(f)
	return true
}
