package cache

import (
	"net/http"
	"strings"
	"time"

	"github.com/voyo-music/caddy-voyo/cache/disk"
	"github.com/voyo-music/caddy-voyo/internal/byterange"
)

// object is one version of what a key names. All of it is guarded by Cache.mu,
// except that bytes of a slice never change once they are there, so that they are
// read without it.
type object struct {
	key       string
	born      uint64 // the generation in which it was asked for
	stamp     uint64 // it was not purged by this one and earlier ones
	checked   uint64 // the latest purge when it was last found out if it was purged
	purged    bool   // was it?
	status    int
	header    http.Header // stored fields; replaced, never changed
	validator validator
	arrived   time.Time     // when the upstream's answer, or the last 304, was asked for: it is no younger than that
	age       time.Duration // how old it already was then
	freshness               // from arrived on
	retry     time.Time     // until then it is not tried to confirm it: the upstream has just failed
	size      int64         // -1 until it is known
	sliceSize int64
	slices    parts        // in memory
	disk      *disk.Object // what is on disk, held while somebody reads the object; nil if nothing ever was
	readers   int          // transactions that answer with it
	fills     []*fill      // under way
	kept      int          // slices that the store could evict
	late      bool         // its size was known at its end only: an upstream that fills its gaps may not say it either
	gone      bool         // no longer in the store: only its present readers use it
	void      bool         // no longer what the key names, neither in memory nor on disk
	dead      error        // why it must not be read any more
}

// slice is what an object has in memory at a multiple of its slice size.
type slice struct {
	o        *object
	i        int    // index
	data     []byte // what is there from the slice's start on; only ever grows
	by       *fill  // that writes it; nil if it is complete
	counted  int64  // bytes that the store counts for it
	used     int64  // bytes that were served of it, lately
	served   int64  // bytes that were served of it, since that was last told to the disk
	complete bool   // nothing is missing, and the store knows it
	queue    queue  // of the memory's, that it is in

	prev, next *slice // in that queue; nil if it is in none
}

// uses returns how often the slice was used, in whole slices.
func (s *slice) uses() float64 { return float64(s.used) / float64(max(len(s.data), 1)) }

// newObject returns the object that an answer brings, which was asked for at the time
// given, and the answer's header with all that is not stored of it.
func newObject(req Request, a *answer, asked time.Time) (o *object, full http.Header) {
	o = &object{key: req.Key, status: objectStatus(a), size: a.size}
	o.header = a.Header.Clone()
	o.setFreshness(req.Policy, asked) // by all fields: some are not stored
	full = o.header
	if req.Policy.Gateway {
		o.header = storedHeader(full)
		dropFraming(full)
	} else {
		o.header = mediaHeader(full)
	}
	o.validator = req.Policy.validator(o.status, o.header, o.size)
	return o, full
}

// objectStatus is that of the object which an answer brings, if only a part of it.
func objectStatus(a *answer) int {
	if a.StatusCode == http.StatusPartialContent {
		return http.StatusOK
	}
	return a.StatusCode
}

// verifiable reports whether the upstream can be asked if the object still is good.
func (o *object) verifiable(p *Policy) bool {
	if !p.Gateway {
		return o.resumable()
	}
	return o.status == http.StatusOK && (o.header.Get("Etag") != "" || o.header.Get("Last-Modified") != "")
}

// preconditions returns the fields of a request that asks for that (RFC 9111, section
// 4.3.1).
func (o *object) preconditions(p *Policy) http.Header {
	h := make(http.Header)
	etag := o.validator.etag
	if p.Gateway { // a weak one will do for what is not to be resumed
		etag = o.header.Get("Etag")
	}
	if etag != "" {
		h.Set("If-None-Match", etag)
	}
	if modified := o.header.Get("Last-Modified"); modified != "" {
		h.Set("If-Modified-Since", modified)
	}
	return h
}

// confirmedBy reports whether a 304 with the header is about this version.
func (o *object) confirmedBy(h http.Header) bool {
	if etag, own := h.Get("Etag"), o.header.Get("Etag"); etag != "" && own != "" {
		return strings.TrimPrefix(etag, "W/") == strings.TrimPrefix(own, "W/")
	}
	modified := h.Get("Last-Modified")
	return modified == "" || o.validator.etag != "" || modified == o.header.Get("Last-Modified")
}

// refresh updates the object's header and freshness with those of an answer that confirms
// it (RFC 9111, sections 4.3.4 and 4.3.5), asked for by the request at the time given. It
// reports false, and changes nothing, if what would be stored then must not be, or would
// be for other requests than those that the object is for. The caller holds Cache.mu.
func (o *object) refresh(req Request, h http.Header, asked time.Time) bool {
	if !req.Policy.Gateway { // the type may be the cache's own finding
		h = mediaHeader(h)
		h.Del("Content-Type")
	}
	updated := updatedHeader(o.header, h)
	if !req.Policy.Gateway && len(h["Cdn-Cache-Control"]) == 0 && len(h["Cache-Control"])+len(h["Expires"]) > 0 {
		updated.Del("Cdn-Cache-Control") // may be what another cache has told, and this answer is the origin's own
	}
	if !req.Policy.mayStore(req.Header, o.status, updated, asked) || req.Policy.Gateway && !o.selects(req, updated) {
		return false
	}
	o.header, o.checked = updated, 0 // the tags may be others
	o.setFreshness(req.Policy, asked)
	return true
}

// setFreshness takes the object's age and freshness from its header, which has
// just arrived, and is not seen by anyone else yet.
func (o *object) setFreshness(p *Policy, now time.Time) {
	if o.header.Get("Date") == "" { // RFC 9110, section 6.6.1
		o.header.Set("Date", now.UTC().Format(http.TimeFormat))
	}
	o.arrived = now
	o.age = initialAge(o.header, now)
	o.freshness, o.retry = p.freshness(o.status, o.header, now), time.Time{}
}

// resumable reports whether what is missing of the object can be fetched by
// itself. Otherwise it is what one answer brought, and nothing else (RFC 9110,
// section 15.3.7.3).
func (o *object) resumable() bool { return o.size >= 0 && o.validator.usable() }

func (o *object) fresh(now time.Time) bool { return o.staleFor(now) < 0 }

// staleFor returns for how long the object has been stale; below zero if it is not.
func (o *object) staleFor(now time.Time) time.Duration {
	return now.Sub(o.arrived) - o.lifetime
}

// currentAge is the value of the Age field (RFC 9111, section 4.2.3).
func (o *object) currentAge(now time.Time) time.Duration {
	return o.age + max(0, now.Sub(o.arrived))
}

// bounds returns the index of the slice that holds the byte at off, and the
// slice's first byte and end. The last slice of an object of unknown size is as
// long as the others.
func (o *object) bounds(off int64) (i int, start, end int64) {
	i = int(off / o.sliceSize)
	start = int64(i) * o.sliceSize
	end = start + o.sliceSize
	if o.size >= 0 {
		end = min(end, o.size)
	}
	return i, start, end
}

// whole reports whether the object is of use only with all of its bytes.
func (o *object) whole() bool { return !o.resumable() || o.late }

// onlyForgotten reports whether the object still is what its key names on disk.
func (o *object) onlyForgotten() bool {
	return o != nil && !o.void && o.dead == nil && o.disk != nil && !o.disk.Removed()
}

// join makes somebody a reader of the object: what is on disk of it stays there for him,
// whatever becomes of its key.
func (o *object) join() {
	o.readers++
	if o.readers == 1 && o.disk != nil {
		o.disk.Hold()
	}
}

// left says that the object has a reader less.
func (o *object) left() {
	o.readers--
	if o.readers == 0 && o.disk != nil {
		o.disk.Release()
	}
}

// setDisk makes d what is on disk of the object; nil for nothing.
func (o *object) setDisk(d *disk.Object) {
	if o.readers > 0 && o.disk != nil {
		o.disk.Release()
	}
	if o.disk = d; o.readers > 0 && d != nil {
		d.Hold()
	}
}

// has reports whether a slice is there for good, in memory or on disk.
func (o *object) has(i int) bool {
	s := o.slices.at(i)
	return s != nil && s.complete || o.onDisk(i)
}

// onDisk reports whether a slice is on disk.
func (o *object) onDisk(i int) bool { return o.disk != nil && o.disk.Has(int64(i)) }

// bytes returns the object's bytes from off on, as far as they are in memory in one
// piece; nil if there are none.
func (o *object) bytes(off int64) []byte {
	i, start, _ := o.bounds(off)
	s := o.slices.at(i)
	if s == nil || off-start >= int64(len(s.data)) {
		return nil
	}
	return s.data[off-start:]
}

// serves reports whether what is wanted can be had of the object: because it is
// there, because it is on its way, or because it can be fetched.
func (o *object) serves(want byterange.Spec) bool { return o.resumable() || o.all(want) }

// all reports whether all that is wanted is there, or on its way.
func (o *object) all(want byterange.Spec) bool {
	start, end := o.extent(want)
	return o.promised(start, end)
}

// extent returns the bytes that are wanted, as far as the object has them; an end
// of -1 is an unknown size's.
func (o *object) extent(want byterange.Spec) (start, end int64) {
	if o.size < 0 {
		return 0, -1
	}
	r, _ := want.Resolve(o.size)
	return r.Start, r.End
}

// outcome says how a request for the bytes wanted will be answered.
func (o *object) outcome(want byterange.Spec, now time.Time) outcome {
	start, end := o.extent(want)
	out := outcome{ttl: o.lifetime - now.Sub(o.arrived)}
	switch {
	case o.size >= 0 && o.holds(start, end):
		out.hit = true
	case o.promised(start, end):
		out.collapsed = true
	default:
		out.partial, out.stored = true, true
	}
	return out
}

// holds reports whether all bytes from start to end are there for good.
func (o *object) holds(start, end int64) bool {
	for off := start; off < end; {
		i, _, next := o.bounds(off)
		if !o.has(i) {
			return false
		}
		off = next
	}
	return true
}

// head returns how many bytes are there for good from the beginning on.
func (o *object) head() int64 {
	var off int64
	for {
		i, _, next := o.bounds(off)
		if !o.has(i) || next <= off {
			return off
		}
		off = next
	}
}

// promised reports whether all bytes from start to end are there, or are being
// fetched. An end of -1 is the object's, whatever it may be.
func (o *object) promised(start, end int64) bool {
	if end < 0 {
		end = o.size
	}
	if end < 0 { // unknown: the one fill that there is will tell
		return o.fillAt(start) != nil || o.bytes(start) != nil
	}
	for off := start; off < end; {
		i, _, next := o.bounds(off)
		switch f := o.fillAt(off); {
		case f != nil && f.end < 0:
			return true
		case f != nil:
			next = f.end // not slice by slice, of which a claimed size can have any number
		case !o.has(i): // what has come of it, if anything
			n := int64(len(o.bytes(off)))
			if n == 0 {
				return false
			}
			next = off + n
		}
		off = next
	}
	return true
}

// fillAt returns the fill under way that will bring the byte at off; nil if
// there is none.
func (o *object) fillAt(off int64) *fill {
	for _, f := range o.fills {
		if off >= f.pos && (f.end < 0 || off < f.end) {
			return f
		}
	}
	return nil
}

// bringing returns the fill under way that will bring the slice with the first byte
// start, or is in the middle of it; nil if there is none.
func (o *object) bringing(start int64) *fill {
	i, _, _ := o.bounds(start)
	if s := o.slices.at(i); s != nil && !s.complete {
		return s.by
	}
	return o.fillAt(start)
}

// gap returns the end of the gap that begins at start, the first byte of a slice
// that is not there: up to limit, the next slice that is, or the next fill.
func (o *object) gap(start, limit int64) int64 {
	for _, f := range o.fills {
		if _, first, _ := o.bounds(f.pos); first > start {
			limit = min(limit, first)
		}
	}
	for s := range o.slices.all() { // of which there are fewer than a claimed size could have
		if first := int64(s.i) * o.sliceSize; first >= start {
			limit = min(limit, first)
		}
	}
	if o.disk != nil {
		if i := o.disk.Next(start/o.sliceSize + 1); i >= 0 {
			limit = min(limit, i*o.sliceSize)
		}
	}
	return limit
}
