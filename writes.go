package voyo

import (
	"context"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/voyo-music/caddy-voyo/cache"
)

// timePerChunk is how long a client has for each 64 KiB of a stream, at the least. Who
// needs longer takes 35 kbit/s, about half of VOYO's lowest bitrate.
const timePerChunk = 15 * time.Second

// widenWrites has more of a stream at once written to its connection, until restore is
// called.
//
// Caddy cuts what is written into chunks of 64 KiB, unless the operator says otherwise,
// and gives a client the server's write_idle time for each of them. That is more time
// than a listener can need, and more chunks than are good for the node.
func widenWrites(ctx context.Context) (restore func()) {
	const chunk = caddyhttp.DefaultMaxWriteChunk
	_, w := caddyhttp.IdleTimeoutsFromContext(ctx)
	if w == nil || w.MaxChunk != chunk || w.Deadline.MinRate > 0 {
		return func() {}
	}
	w.MaxChunk = max(chunk, min(int(w.Deadline.Timeout/timePerChunk)*chunk, cache.DefaultSlice))
	return func() { w.MaxChunk = chunk }
}
