package cache

import (
	"errors"
	"net/http"
	"strconv"
	"time"
)

// What one cache tells another of the same kind is for caches alone: clients are told
// what the operator wants them to be.

// PeerField is the targeted field (RFC 9213) in which one cache tells another how long
// something is fresh. It is one of our own: whoever asks for a track can pass for a cache of
// this kind, and others on the way heed CDN-Cache-Control. Who has asked takes it for that.
const PeerField = "Voyo-Cache-Control"

// MissingError is an ErrNotFound that another cache has told.
type MissingError struct {
	For time.Duration // how long that will remember it; nobody else should for longer
}

// Error implements error.
func (MissingError) Error() string { return ErrNotFound.Error() }

// Is lets it be known as an ErrNotFound.
func (MissingError) Is(target error) bool { return target == ErrNotFound }

// negativeTTL is how long it is remembered that something does not exist, as err says.
func (p *Policy) negativeTTL(err error) time.Duration {
	if m, ok := errors.AsType[MissingError](err); ok {
		return min(p.NegativeTTL, m.For)
	}
	return p.NegativeTTL
}

// tellPeer tells another cache how long an object, of the age and stale for the times
// given, is fresh, so that it is for as long there (RFC 9213), but for what is cut off of a
// second, how strict its origin is about that, and by which tags it is purged.
func (p *response) tellPeer(policy *Policy, stored http.Header, age, stale time.Duration) {
	if age >= time.Second { // also of what has just come from a cache that did not say so
		p.set("Age", seconds(age))
	}
	value := "max-age=" + seconds(max(age-stale, 0)) // which is below its age if it is stale: so it is there
	if !policy.overrides(p.status) {
		value += strictness(policy, stored)
	}
	p.set(PeerField, value)
	for _, f := range tagFields {
		for _, line := range stored[f.name] {
			p.add(f.name, line)
		}
	}
}

// strictness returns what an origin says of the use of what is stale, which another
// cache could not know otherwise, as more directives.
func strictness(policy *Policy, stored http.Header) (value string) {
	d, _ := responseDirectives(stored)
	switch {
	case policy.mustConfirm(d):
		return ", no-cache"
	case d.has(mustRevalidate...):
		return ", must-revalidate"
	}
	for _, name := range []string{"stale-while-revalidate", "stale-if-error"} {
		if stated, ok := d.seconds(name); ok {
			value += ", " + name + "=" + seconds(stated)
		}
	}
	return value
}

// tellMissing tells another cache how long it is remembered that there is no such object.
func (t *transaction) tellMissing(h http.Header, err error) {
	if !t.req.Peer || !errors.Is(err, ErrNotFound) {
		return
	}
	left := t.req.Policy.negativeTTL(err)
	if t.outcome.hit {
		left = t.outcome.ttl
	}
	h.Set(PeerField, "max-age="+seconds(left))
}

// seconds returns a time as delta-seconds (RFC 9111, section 1.2.2).
func seconds(d time.Duration) string { return strconv.FormatInt(int64(d/time.Second), 10) }
