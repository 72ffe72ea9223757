package cache

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/voyo-music/caddy-voyo/internal/byterange"
)

// Explanation is what a cache has to say about a key.
type Explanation struct {
	// Stored is what is stored: for a gateway one for each of the variants, or else one
	// at the most.
	Stored []Stored

	// Opening says that the upstream is being asked for it now, or the disk.
	Opening bool

	// Remembered is why the upstream is not asked, or why its answer is not kept, until
	// RememberedFor has passed; empty if there is no such reason.
	Remembered    Remembered
	RememberedFor time.Duration
}

// Remembered is what is known of a key without an object.
type Remembered string

// What can be remembered.
const (
	RememberedMissing  Remembered = "not found"
	RememberedPass     Remembered = "not to be kept"
	RememberedTooLarge Remembered = "too large"
)

// Stored is what is stored of one object.
type Stored struct {
	Status int
	Type   string        // Content-Type
	Vary   []string      // for a gateway, the fields by which requests select it
	Size   int64         // in bytes; -1 if unknown yet
	Age    time.Duration // as the Age field has it
	TTL    time.Duration // for how long it is fresh; below zero: it has been stale for so long

	// For so long after it has become stale it may be used while it is being
	// confirmed, or if it can't be.
	WhileRevalidate, IfError time.Duration

	Memory, Disk []byterange.Range // the bytes that are there for good
	Filling      bool              // more are being fetched
}

// Explain returns what is known of a key. It asks no upstream, reads no more from the
// disk than what Peek does, and counts as no use. For a gateway it takes as long as
// there are objects.
func (c *Cache) Explain(ctx context.Context, key string) Explanation {
	c.recalled(ctx, key)
	c.mu.Lock()
	defer c.mu.Unlock()
	now := time.Now()
	e := Explanation{Opening: c.flights[key] != nil}
	gateway := c.store.resources.known.Contains(key)
	for _, o := range c.store.versions(key, gateway) {
		s := o.explain(now)
		if gateway {
			s.Vary, _ = varyFields(o.header)
		}
		e.Stored = append(e.Stored, s)
	}
	if m, ok := c.store.marks.Peek(key); ok && now.Before(m.until) {
		e.Remembered, e.RememberedFor = m.explain(), m.until.Sub(now)
	}
	return e
}

// versions returns the objects of a key: for a gateway those of all variants.
func (s *store) versions(key string, gateway bool) (found []*object) {
	if !gateway {
		if o, ok := s.objects.Peek(key); ok && s.valid(o) {
			found = append(found, o)
		}
		return found
	}
	since := s.resources.since(key)
	for _, k := range s.objects.Keys() {
		if k != key && !strings.HasPrefix(k, key+"\x00") {
			continue
		}
		if o, ok := s.objects.Peek(k); ok && o.born >= since && s.valid(o) {
			found = append(found, o)
		}
	}
	return found
}

func (m mark) explain() Remembered {
	switch {
	case m.tooLarge:
		return RememberedTooLarge
	case m.err == nil:
		return RememberedPass
	default:
		return RememberedMissing
	}
}

func (o *object) explain(now time.Time) Stored {
	s := Stored{
		Status:          o.status,
		Type:            o.header.Get("Content-Type"),
		Size:            o.size,
		Age:             o.currentAge(now),
		TTL:             -o.staleFor(now),
		WhileRevalidate: o.whileRevalidate,
		IfError:         o.ifError,
		Filling:         len(o.fills) > 0,
	}
	var complete []int
	for sl := range o.slices.all() {
		if sl.complete {
			complete = append(complete, sl.i)
		}
	}
	slices.Sort(complete)
	for _, i := range complete {
		s.Memory = o.addSlice(s.Memory, int64(i))
	}
	if o.disk == nil {
		return s
	}
	for i := o.disk.Next(0); i >= 0; i = o.disk.Next(i + 1) {
		s.Disk = o.addSlice(s.Disk, i)
	}
	return s
}

// addSlice adds the bytes of a slice to ranges that all are before it.
func (o *object) addSlice(ranges []byterange.Range, i int64) []byterange.Range {
	_, start, end := o.bounds(i * o.sliceSize)
	if last := len(ranges) - 1; last >= 0 && ranges[last].End == start {
		ranges[last].End = end
		return ranges
	}
	return append(ranges, byterange.Range{Start: start, End: end})
}
