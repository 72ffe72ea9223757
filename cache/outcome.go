package cache

import (
	"time"
)

// Name is the cache's in Cache-Status.
const Name = "voyo"

// outcome is how a request went, for Cache-Status and for the figures.
type outcome struct {
	hit         bool // answered with what was stored, alone
	bypass      bool // the cache was not asked, or is not to keep such answers
	passed      bool // the answer can't be kept
	others      bool // something was stored, but for other requests (RFC 9111, section 4.1)
	stale       bool // something was stored, but had to be confirmed or replaced; with hit, is to be
	failed      bool // but could not, and was used all the same
	revalidated bool // and was confirmed
	partial     bool // something was stored, but not all that was wanted
	collapsed   bool // another request's exchange with the upstream was shared
	stored      bool // what the upstream sent is kept
	ttl         time.Duration
}

// missed returns what a hit is of which something was not there after all.
func (o outcome) missed() outcome {
	if o.hit {
		o.hit, o.partial, o.stored = false, true, true
	}
	return o
}

func (o outcome) status() Status {
	switch {
	case o.failed, o.hit && o.stale:
		return Stale
	case o.hit:
		return Hit
	case o.bypass || o.passed:
		return Pass
	case o.revalidated:
		return Revalidated
	case o.partial:
		return Partial
	default:
		return Miss
	}
}

// String returns the outcome as a member of Cache-Status (RFC 9211, section 2).
func (o outcome) String() string {
	if o.hit {
		return Name + "; hit; ttl=" + seconds(o.ttl)
	}
	s := Name + "; fwd="
	switch {
	case o.bypass:
		s += "bypass"
	case o.stale:
		s += "stale"
	case o.partial:
		s += "partial"
	case o.others:
		s += "vary-miss"
	default:
		s += "miss"
	}
	if o.revalidated {
		s += "; fwd-status=304"
	}
	if o.failed {
		s += "; detail=failed"
	}
	if o.stored {
		s += "; stored"
	}
	if o.collapsed {
		s += "; collapsed"
	}
	return s
}
