package cache

import (
	"context"

	"github.com/voyo-music/caddy-voyo/cache/disk"
)

// A checkpoint says up to where its owner has kept the cache in step with something
// else, such as a log of purges. It is kept with what the cache has on disk, so that it
// is as old as that: after a restart, and where a disk was somewhere else meanwhile.

// checkpointKey names the checkpoint among the disk's notes. No object has it, since none
// has an empty key, and so no variant of one either.
const checkpointKey = "\x00checkpoint"

// SetCheckpoint keeps b, of at most 4 MiB, with what the cache has on disk, in the place
// of the last one. When it has returned without an error that outlives the process, and
// the machine's power. What was purged before is gone by then. Without a disk it does
// nothing. It does I/O.
func (c *Cache) SetCheckpoint(ctx context.Context, b []byte) error {
	d, id := c.checkpoint()
	if d == nil {
		return nil
	}
	return waitFor(ctx, func() error { return d.SetNote(id, b) })
}

// Checkpoint returns what SetCheckpoint has kept with what the cache has on disk; nil if
// that is nothing, or if there is no disk. It does I/O.
func (c *Cache) Checkpoint(ctx context.Context) (b []byte, err error) {
	d, id := c.checkpoint()
	if d == nil {
		return nil, nil
	}
	var read []byte // by who may be late
	err = waitFor(ctx, func() error {
		var err error
		read, err = d.Note(id)
		return err
	})
	if err != nil {
		return nil, err
	}
	return read, nil
}

// checkpoint returns where the checkpoint is kept.
func (c *Cache) checkpoint() (*disk.Store, disk.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.store.disk, c.store.diskID(checkpointKey)
}

// SetGate has what is on disk brought back only after gate has returned, which may wait
// for what was purged elsewhere. Its error leaves what is there to those who ask later. Its
// ctx ends with the cache. SetGate must be called before the cache is used.
func (c *Cache) SetGate(gate func(ctx context.Context) error) { c.gate = gate }
