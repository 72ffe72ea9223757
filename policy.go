package voyo

import (
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/voyo-music/caddy-voyo/cache"
)

// The defaults of what a cache keeps and for how long.
const (
	defaultArtEntries  = 500
	defaultArtMemory   = 64 << 20
	defaultArtTTL      = 24 * time.Hour
	defaultMaxAge      = time.Hour
	defaultMaxObject   = 10 << 20
	defaultNegativeTTL = time.Minute
)

// Policy decides what is kept, for how long, and what clients are told.
type Policy struct {
	// How long an answer is fresh where the upstream does not say so.
	// Default: `24h`, also if zero.
	TTL caddy.Duration `json:"ttl,omitempty"`

	// How long an answer is fresh, whatever the upstream says.
	// Default: `0`, which means that the upstream is believed.
	OverrideTTL caddy.Duration `json:"override_ttl,omitempty"`

	// How long it is remembered that something does not exist.
	// Default: `1m`. Zero means that it is not remembered.
	NegativeTTL *caddy.Duration `json:"negative_ttl,omitempty"`

	// How long clients may keep an answer without asking again: the max-age of
	// the Cache-Control header that they are sent. Default: `1h`. Zero means
	// that they ask every time.
	MaxAge *caddy.Duration `json:"max_age,omitempty"`

	// The size in bytes up to which an answer is kept; a larger one passes
	// through. It may not exceed the memory. Default: 10 MiB, or all the memory
	// where that is less; also if zero.
	MaxObject int64 `json:"max_object,omitempty"`
}

// ArtConfig configures how covers are cached.
type ArtConfig struct {
	// How many covers are kept. Default: `500`, also if zero.
	Entries int `json:"entries,omitempty"`

	// How many bytes of covers are kept in memory. Default: 64 MiB, also if
	// zero.
	Memory int64 `json:"memory,omitempty"`

	Policy
}

// StreamConfig configures how streams are delivered.
type StreamConfig struct {
	// How long clients may keep a stream without asking again: the max-age of
	// the Cache-Control header that they are sent. Default: `1h`. Zero means
	// that they ask every time.
	MaxAge *caddy.Duration `json:"max_age,omitempty"`
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

// cachePolicy returns p as the cache knows it, with the defaults for what p
// leaves open, for a cache of so much memory.
func (p Policy) cachePolicy(memory int64) (cache.Policy, error) {
	for _, d := range []struct {
		name  string
		value *caddy.Duration
	}{
		{"ttl", &p.TTL},
		{"override_ttl", &p.OverrideTTL},
		{"negative_ttl", p.NegativeTTL},
		{"max_age", p.MaxAge},
	} {
		if err := checkDuration(d.name, d.value); err != nil {
			return cache.Policy{}, err
		}
	}
	switch {
	case p.MaxObject < 0:
		return cache.Policy{}, fmt.Errorf("max_object must not be negative: %d", p.MaxObject)
	case p.MaxObject > memory:
		return cache.Policy{}, fmt.Errorf("max_object (%d bytes) exceeds memory (%d bytes)", p.MaxObject, memory)
	}
	ttl, object := p.TTL, p.MaxObject
	if ttl == 0 {
		ttl = caddy.Duration(defaultArtTTL)
	}
	if object == 0 {
		object = min(defaultMaxObject, memory)
	}
	return cache.Policy{
		TTL:         time.Duration(ttl),
		OverrideTTL: time.Duration(p.OverrideTTL),
		NegativeTTL: durationOr(p.NegativeTTL, defaultNegativeTTL),
		MaxAge:      durationOr(p.MaxAge, defaultMaxAge),
		MaxObject:   object,
	}, nil
}

// cachePolicy returns what clients are told of streams, which are not kept.
func (s StreamConfig) cachePolicy() (cache.Policy, error) {
	if err := checkDuration("max_age", s.MaxAge); err != nil {
		return cache.Policy{}, err
	}
	return cache.Policy{MaxAge: durationOr(s.MaxAge, defaultMaxAge)}, nil
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
