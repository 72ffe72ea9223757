package cache

import "context"

// Purge makes what is stored under the keys, and what is being fetched for them, of no
// use to requests that come later, also after a restart. For a gateway a key names
// a target URI. An error says that it is in effect now, but that what is on disk may
// come back if the process ends soon. It does I/O.
func (c *Cache) Purge(ctx context.Context, keys ...string) error { return nil }

// PurgeTags is Purge for all that has one of the tags: members of Cache-Tag or
// Surrogate-Key in the upstream's answer.
func (c *Cache) PurgeTags(ctx context.Context, tags ...string) error { return nil }

// PurgeAll is Purge for everything.
func (c *Cache) PurgeAll(ctx context.Context) error { return nil }
