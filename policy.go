package voyo

import (
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/voyo-music/caddy-voyo/cache"
)

// The defaults of what a cache keeps and for how long.
const (
	defaultArtEntries   = 500
	defaultArtMemory    = 64 << 20
	defaultArtTTL       = 24 * time.Hour
	defaultArtObject    = 10 << 20
	defaultStreamMemory = 256 << 20
	defaultStreamTTL    = 720 * time.Hour
	defaultReadAhead    = 1
	defaultMaxAge       = time.Hour
	defaultNegativeTTL  = time.Minute
)

// The bounds of a slice, in bytes: below it the bookkeeping would outweigh the
// bytes, above it a seek would fetch far more than is wanted.
const (
	minSlice = 16 << 10
	maxSlice = 16 << 20
)

// minSlices is how many slices must fit into memory for a stream to be kept at all
// while it is read.
const minSlices = 8

// maxReadAhead bounds what one client's range makes the upstream send.
const maxReadAhead = 64

// Policy decides what is kept, for how long, and what clients are told.
type Policy struct {
	// How long an answer is fresh where the upstream does not say so.
	// Default: `24h` for covers, `720h` for streams, also if zero; for the origin's
	// pages a tenth of the time since they were last modified.
	TTL caddy.Duration `json:"ttl,omitempty"`

	// How long an answer is fresh, whatever the upstream says.
	// Default: `0`, which means that the upstream is believed.
	OverrideTTL caddy.Duration `json:"override_ttl,omitempty"`

	// How long it is remembered that something does not exist.
	// Default: `1m`, for the origin's pages `0`. Zero means that it is not remembered.
	NegativeTTL *caddy.Duration `json:"negative_ttl,omitempty"`

	// How long after it has become stale an answer may be used while it is confirmed
	// in the background (RFC 5861), where the upstream does not say so. Default: `0`,
	// which means not at all.
	StaleWhileRevalidate caddy.Duration `json:"stale_while_revalidate,omitempty"`

	// How long after it has become stale an answer may be used if the upstream fails
	// (RFC 5861), where the upstream does not say so. Default: `0`, which means not
	// at all.
	StaleIfError caddy.Duration `json:"stale_if_error,omitempty"`

	// How long clients may keep an answer without asking again: the max-age of
	// the Cache-Control header that they are sent. Default: `1h`, for the origin's
	// pages what it says itself. Zero means that they ask every time.
	MaxAge *caddy.Duration `json:"max_age,omitempty"`

	// The size in bytes up to which an answer is kept; a larger one passes
	// through. Default: for covers 10 MiB, or all the memory where that is less,
	// which it may not exceed; for streams no bound; for the origin's pages 16 MiB.
	// Also if zero.
	MaxObject int64 `json:"max_object,omitempty"`
}

// ArtConfig configures how covers are cached.
type ArtConfig struct {
	// How many covers are kept in memory. Default: `500`, also if zero.
	Entries int `json:"entries,omitempty"`

	// How many bytes of covers are kept in memory. Default: 64 MiB, also if
	// zero.
	Memory int64 `json:"memory,omitempty"`

	// Keeps covers on a disk too. Default: none.
	Disk *DiskConfig `json:"disk,omitempty"`

	Policy
}

// StreamConfig configures how streams are cached.
type StreamConfig struct {
	// How many bytes of streams are kept in memory. Default: 256 MiB, also if
	// zero.
	Memory int64 `json:"memory,omitempty"`

	// Keeps streams on a disk too. Default: none.
	Disk *DiskConfig `json:"disk,omitempty"`

	// The size in bytes of the slices that streams are kept in: what a seek
	// fetches at the least. From 16 KiB to 16 MiB. What is kept already stays as
	// it is. Default: 256 KiB, also if zero.
	Slice int64 `json:"slice,omitempty"`

	// How many slices are fetched beyond those that a range needs. Default: `1`.
	ReadAhead *int `json:"read_ahead,omitempty"`

	Policy
}

// limits returns what may be kept of the covers.
func (a ArtConfig) limits() (cache.Limits, error) {
	switch {
	case a.Entries < 0:
		return cache.Limits{}, fmt.Errorf("entries must not be negative: %d", a.Entries)
	case a.Memory < 0:
		return cache.Limits{}, fmt.Errorf("memory must not be negative: %d", a.Memory)
	}
	l := cache.Limits{Entries: a.Entries, Memory: a.Memory}
	if l.Entries == 0 {
		l.Entries = defaultArtEntries
	}
	if l.Memory == 0 {
		l.Memory = defaultArtMemory
	}
	return l, nil
}

// cachePolicy returns the policy for covers, with the defaults for what the
// configuration leaves open, for a cache of so much memory.
func (a ArtConfig) cachePolicy(memory int64) (cache.Policy, error) {
	p, err := a.Policy.cachePolicy(defaultArtTTL)
	switch {
	case err != nil:
		return cache.Policy{}, err
	case p.MaxObject > memory:
		return cache.Policy{}, fmt.Errorf("max_object (%d bytes) exceeds memory (%d bytes)", p.MaxObject, memory)
	case p.MaxObject == 0:
		p.MaxObject = min(defaultArtObject, memory)
	}
	p.Admit = admitImage
	return p, nil
}

// limits returns what may be kept of the streams.
func (s StreamConfig) limits() (cache.Limits, error) {
	switch {
	case s.Memory < 0:
		return cache.Limits{}, fmt.Errorf("memory must not be negative: %d", s.Memory)
	case s.Slice != 0 && (s.Slice < minSlice || s.Slice > maxSlice):
		return cache.Limits{}, fmt.Errorf("slice must be from 16KiB to 16MiB: %d bytes", s.Slice)
	}
	l := cache.Limits{Memory: s.Memory, Slice: s.Slice}
	if l.Memory == 0 {
		l.Memory = defaultStreamMemory
	}
	if l.Slice == 0 {
		l.Slice = cache.DefaultSlice
	}
	if l.Memory < minSlices*l.Slice {
		return cache.Limits{}, fmt.Errorf("memory (%d bytes) must hold at least %d slices (of %d bytes)", l.Memory, minSlices, l.Slice)
	}
	return l, nil
}

// cachePolicy returns the policy for streams, with the defaults for what the
// configuration leaves open.
func (s StreamConfig) cachePolicy() (cache.Policy, error) {
	p, err := s.Policy.cachePolicy(defaultStreamTTL)
	if err != nil {
		return cache.Policy{}, err
	}
	p.ReadAhead = defaultReadAhead
	if s.ReadAhead != nil {
		p.ReadAhead = *s.ReadAhead
	}
	if p.ReadAhead < 0 || p.ReadAhead > maxReadAhead {
		return cache.Policy{}, fmt.Errorf("read_ahead must be from 0 to %d: %d", maxReadAhead, p.ReadAhead)
	}
	return p, nil
}

// cachePolicy returns p as the cache knows it, with the defaults that all have.
func (p Policy) cachePolicy(defaultTTL time.Duration) (cache.Policy, error) {
	for _, d := range []struct {
		name  string
		value *caddy.Duration
	}{
		{"ttl", &p.TTL},
		{"override_ttl", &p.OverrideTTL},
		{"negative_ttl", p.NegativeTTL},
		{"stale_while_revalidate", &p.StaleWhileRevalidate},
		{"stale_if_error", &p.StaleIfError},
		{"max_age", p.MaxAge},
	} {
		if err := checkDuration(d.name, d.value); err != nil {
			return cache.Policy{}, err
		}
	}
	if p.MaxObject < 0 {
		return cache.Policy{}, fmt.Errorf("max_object must not be negative: %d", p.MaxObject)
	}
	ttl := time.Duration(p.TTL)
	if ttl == 0 {
		ttl = defaultTTL
	}
	return cache.Policy{
		TTL:         ttl,
		OverrideTTL: time.Duration(p.OverrideTTL),
		NegativeTTL: durationOr(p.NegativeTTL, defaultNegativeTTL),

		StaleWhileRevalidate: time.Duration(p.StaleWhileRevalidate),
		StaleIfError:         time.Duration(p.StaleIfError),

		MaxAge:    durationOr(p.MaxAge, defaultMaxAge),
		MaxObject: p.MaxObject,
	}, nil
}

// checkDuration refuses a negative duration.
func checkDuration(name string, d *caddy.Duration) error {
	if d != nil && *d < 0 {
		return fmt.Errorf("%s must not be negative: %s", name, time.Duration(*d))
	}
	return nil
}

// durationOr returns *d, or def where d is not set.
func durationOr(d *caddy.Duration, def time.Duration) time.Duration {
	if d == nil {
		return def
	}
	return time.Duration(*d)
}
