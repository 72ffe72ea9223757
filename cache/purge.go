package cache

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/voyo-music/caddy-voyo/cache/disk"
)

// What is purged by its key is removed at once. Tags, and everything, are purged by
// a stamp: what was asked for before is not used any more, and removed when it is come
// across. Stamps are versions of objects on disk, so that they can be compared with
// those after a restart, too.

// maxPurgedTags is how many purged tags are remembered. When there are more, what is
// older than the purge of the first of them counts as purged if it has any tag.
const maxPurgedTags = 10_000

// maxTags is how many tags of an answer count; one that has more counts as having each
// of those that are purged.
const maxTags = 256

// purges are what was purged by tag, and when everything was. Guarded by Cache.mu.
type purges struct {
	latest uint64 // stamp
	all    uint64 // stamp of the last time that everything was purged
	tags   *simplelru.LRU[string, uint64]
	floor  uint64 // stamp of the latest tag that was forgotten
}

func newPurges() *purges {
	p := &purges{}
	p.tags = newLRU(maxPurgedTags, func(_ string, stamp uint64) { p.floor = max(p.floor, stamp) })
	return p
}

// since returns the stamp that what has the tags must not be older than.
func (p *purges) since(tags []string) uint64 {
	if len(tags) == 0 {
		return p.all
	}
	stamp := max(p.all, p.floor)
	if len(tags) > maxTags {
		return p.latest
	}
	for _, tag := range tags {
		if purged, ok := p.tags.Peek(tag); ok {
			stamp = max(stamp, purged)
		}
	}
	return stamp
}

// valid reports whether an object was purged neither by a tag nor with everything.
// The caller holds Cache.mu.
func (s *store) valid(o *object) bool {
	if o.stamp >= s.purges.latest {
		return true
	}
	if o.checked != s.purges.latest { // it was not asked since the latest purge
		o.purged = o.stamp < s.purges.since(tagsOf(o.header))
		o.checked = s.purges.latest
	}
	return !o.purged
}

// tagFields are the fields that tell by which tags an answer can be purged, with what
// separates the tags.
var tagFields = []struct{ name, separators string }{
	{"Cache-Tag", ", \t"},
	{"Surrogate-Key", " \t"},
}

// tagsOf returns the tags of an answer.
func tagsOf(h http.Header) (tags []string) {
	for _, f := range tagFields {
		for _, line := range h.Values(f.name) {
			tags = append(tags, strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(f.separators, r) })...)
		}
	}
	return tags
}

// Purge makes what is stored under the keys, and what is being fetched for them, of no
// use to requests that come later, also after a restart. For a gateway a key names
// a target URI. An error says that it is in effect now, but that what is on disk may
// come back if the process ends soon. It does I/O.
func (c *Cache) Purge(ctx context.Context, keys ...string) error {
	d, ids := c.purgeKeys(keys)
	if d == nil {
		return nil
	}
	return waitFor(ctx, func() error { return d.Purge(ids...) })
}

func (c *Cache) purgeKeys(keys []string) (*disk.Store, []disk.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var ids []disk.ID
	for _, key := range keys {
		c.store.resources.invalidate(key)
		c.store.marks.Remove(key)
		if o, ok := c.store.objects.Peek(key); ok {
			c.store.void(o)
		}
		if fl := c.flights[key]; fl != nil {
			c.unlist(fl)
			fl.outdated = true
		}
		c.store.disown(key)
		ids = append(ids, c.store.diskID(key))
	}
	return c.store.disk, ids
}

// PurgeTags is Purge for all that has one of the tags: members of Cache-Tag or
// Surrogate-Key in the upstream's answer.
func (c *Cache) PurgeTags(ctx context.Context, tags ...string) error {
	return c.purgeBy(ctx, func(p *purges) {
		for _, tag := range tags {
			p.tags.Add(tag, p.latest)
		}
	})
}

// PurgeAll is Purge for everything.
func (c *Cache) PurgeAll(ctx context.Context) error {
	return c.purgeBy(ctx, func(p *purges) {
		p.all = p.latest
		p.tags.Purge()
		p.floor = p.latest
		c.store.marks.Purge()
	})
}

// purgeBy notes what is purged, with the next stamp. Two at a time would have the disk's
// note be the earlier one's.
func (c *Cache) purgeBy(ctx context.Context, set func(*purges)) error {
	c.purging.Lock()
	defer c.purging.Unlock()
	c.mu.Lock()
	d := c.store.disk
	c.mu.Unlock()

	var listErr error
	if d != nil { // a version that is not known yet could be later than the stamp
		listErr = waitFor(ctx, d.List)
	}
	id, note := c.stampPurge(d, set)
	if d == nil {
		return nil
	}
	b, err := json.Marshal(note)
	if err != nil {
		return err
	}
	return errors.Join(listErr, waitFor(ctx, func() error { return d.SetNote(id, b) }))
}

// stampPurge notes what is purged, and returns what the disk, if there is one, is to
// note.
func (c *Cache) stampPurge(d *disk.Store, set func(*purges)) (id disk.ID, note purgeNote) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.store.purges
	p.latest = max(p.latest+1, uint64(time.Now().UnixNano()))
	if d == nil {
		set(p)
		return disk.ID{}, purgeNote{}
	}
	p.latest = max(p.latest, d.NextVersion())
	set(p)
	return c.store.noteID(), p.note()
}

// waitFor runs f, which does I/O, and waits for it as long as ctx lets it.
func waitFor(ctx context.Context, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- f() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// purgeNote is how purges are kept on disk.
type purgeNote struct {
	All   uint64            `json:"all"`
	Floor uint64            `json:"floor"`
	Tags  map[string]uint64 `json:"tags"`
}

// note returns what there is to be kept. The caller holds Cache.mu.
func (p *purges) note() purgeNote {
	note := purgeNote{All: p.all, Floor: p.floor, Tags: make(map[string]uint64, p.tags.Len())}
	for _, tag := range p.tags.Keys() {
		note.Tags[tag], _ = p.tags.Peek(tag)
	}
	return note
}

// readNote returns what a disk has noted. If that can't be read everything that is
// there counts as purged. It does I/O.
func readNote(d *disk.Store, namespace string) (note purgeNote) {
	if d == nil {
		return purgeNote{}
	}
	b, err := d.Note(disk.NewID(namespace, ""))
	if err == nil && len(b) == 0 {
		return purgeNote{}
	}
	if err != nil || json.Unmarshal(b, &note) != nil {
		return purgeNote{All: d.NextVersion()}
	}
	return note
}

// learn adds what a disk has noted. The caller holds Cache.mu.
func (p *purges) learn(note purgeNote) {
	p.all, p.floor = max(p.all, note.All), max(p.floor, note.Floor)
	p.latest = max(p.latest, note.All, note.Floor)
	for tag, stamp := range note.Tags {
		known, _ := p.tags.Peek(tag)
		p.tags.Add(tag, max(known, stamp))
		p.latest = max(p.latest, stamp)
	}
}

// noteID returns the ID of the disk's note about purges. No object has it, since none has
// an empty key.
func (s *store) noteID() disk.ID { return s.diskID("") }
