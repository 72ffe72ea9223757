package cache

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/voyo-music/caddy-voyo/cache/disk"
	"github.com/voyo-music/caddy-voyo/internal/contain"
)

// meta is what is stored on disk of an object besides its slices.
type meta struct {
	Key       []byte        `json:"key"` // bytes, since a string's would have to be UTF-8
	Header    headerBytes   `json:"header"`
	Status    int           `json:"status"`
	Size      int64         `json:"size"`
	SliceSize int64         `json:"slice"`
	Arrived   time.Time     `json:"arrived"`
	Age       time.Duration `json:"age"`
	Lifetime  time.Duration `json:"lifetime"`
	While     time.Duration `json:"stale_while_revalidate,omitempty"`
	IfError   time.Duration `json:"stale_if_error,omitempty"`
	Late      bool          `json:"late,omitempty"`
}

// headerBytes is a header whose values may have any bytes.
type headerBytes map[string][][]byte

func newHeaderBytes(h http.Header) headerBytes {
	b := make(headerBytes, len(h))
	for name, values := range h {
		for _, v := range values {
			b[name] = append(b[name], []byte(v))
		}
	}
	return b
}

func (b headerBytes) header() http.Header {
	h := make(http.Header, len(b))
	for name, values := range b {
		for _, v := range values {
			h[name] = append(h[name], string(v))
		}
	}
	return h
}

func (o *object) encode() []byte {
	b, err := json.Marshal(meta{
		Key:       []byte(o.key),
		Header:    newHeaderBytes(o.header),
		Status:    o.status,
		Size:      o.size,
		SliceSize: o.sliceSize,
		Arrived:   o.arrived,
		Age:       o.age,
		Lifetime:  o.lifetime,
		While:     o.whileRevalidate,
		IfError:   o.ifError,
		Late:      o.late,
	})
	if err != nil {
		panic(err) // no part of it can fail to be marshaled
	}
	return b
}

// decodeObject returns the object that encode has described, if it is the key's.
func decodeObject(key string, b []byte) (*object, error) {
	var m meta
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, err
	}
	if string(m.Key) != key || m.SliceSize <= 0 || m.Size <= 0 || m.Size > maxSize {
		return nil, errors.New("not the key's object")
	}
	if now := time.Now(); m.Arrived.After(now) { // the clock was ahead: how old it is nobody knows
		m.Arrived, m.Lifetime = now, 0
	}
	header := m.Header.header()
	return &object{
		key:       key,
		status:    cmp.Or(m.Status, http.StatusOK), // which is not there where it was written by an older version
		header:    header,
		validator: newValidator(header, m.Size),
		arrived:   m.Arrived,
		age:       m.Age,
		freshness: freshness{m.Lifetime, m.While, m.IfError},
		size:      m.Size,
		sliceSize: m.SliceSize,
		late:      m.Late,
	}, nil
}

// SetDisk makes d the cache's second tier, in the place of another; nil for none.
// Its objects are named within the namespace: two caches share what they keep on
// disk if they have the same.
func (c *Cache) SetDisk(d *disk.Store, namespace string) {
	note := readNote(d, namespace)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.store.disk == d && c.store.namespace == namespace {
		return
	}
	c.store.disk, c.store.namespace = d, namespace
	c.store.purges.learn(note)
	for _, o := range c.store.objects.Values() {
		o.setDisk(nil)
		c.store.forgetEmpty(o)
	}
}

// diskID returns the name on disk of the object that a key names.
func (s *store) diskID(key string) disk.ID { return disk.NewID(s.namespace, key) }

// save has slices of an object written to the disk. They must be all, where the
// object is of use only as a whole.
func (s *store) save(o *object, slices ...disk.Slice) {
	if s.disk == nil || o.void || !s.valid(o) {
		return
	}
	if o.disk == nil || o.disk.Removed() {
		if o.gone { // by now, another version may be there
			return
		}
		o.setDisk(s.disk.Create(s.diskID(o.key), o.encode(), o.whole()))
	}
	o.disk.Put(slices...)
}

// saveWhole saves an object that is of use only as a whole, if all of it is there.
func (s *store) saveWhole(o *object) {
	var all []disk.Slice
	for off := int64(0); off < o.size; {
		i, start, end := o.bounds(off)
		sl := o.slices.at(i)
		if sl == nil || int64(len(sl.data)) != end-start {
			return
		}
		all = append(all, disk.Slice{Index: int64(i), Data: sl.data})
		off = end
	}
	s.save(o, all...)
}

// disown removes what the disk has of a key, or is about to write, of which the memory
// knows nothing: because it could not be recalled, or was forgotten since.
func (s *store) disown(key string) {
	if s.disk != nil {
		s.disk.Create(s.diskID(key), nil, false).Remove()
	}
}

// mayRecall reports whether the disk may have the object that a key names.
func (s *store) mayRecall(key string) bool {
	return s.disk != nil && s.disk.Known(s.diskID(key))
}

// recall starts the flight that brings the object which a key names back from the
// disk. The caller holds c.mu.
func (c *Cache) recall(key string) *flight {
	fl := &flight{key: key, done: make(chan struct{}), recall: true}
	d, namespace, id := c.store.disk, c.store.namespace, c.store.diskID(key)
	c.flights[key] = fl
	ok := c.background(func() {
		var o *object
		// An error means that there is nothing, which the next look-up will find.
		_ = contain.Do(func() (err error) {
			if c.gate != nil {
				if err := c.gate(c.ctx); err != nil {
					return err
				}
			}
			o, err = load(d, id, key)
			return err
		})
		c.arrive(fl, func() {
			if o != nil && !fl.outdated && c.store.disk == d && c.store.namespace == namespace {
				c.store.add(o)
				fl.obj = o
			}
		})
	})
	if !ok {
		c.endFlight(fl, ErrClosed)
	}
	return fl
}

// recalled makes sure that the object which a key names is in memory if the disk
// has it, unless an exchange about it is under way.
func (c *Cache) recalled(ctx context.Context, key string) {
	c.mu.Lock()
	fl := c.flights[key]
	if _, ok := c.store.objects.Peek(key); !ok && fl == nil && c.store.mayRecall(key) {
		fl = c.recall(key)
	}
	c.mu.Unlock()
	if fl == nil || !fl.recall {
		return
	}
	select {
	case <-fl.done:
	case <-ctx.Done():
	}
}

// load reads what the disk has of an object. It does I/O.
func load(d *disk.Store, id disk.ID, key string) (*object, error) {
	stored, b, err := d.Load(id)
	if err != nil {
		return nil, err
	}
	o, err := decodeObject(key, b)
	if err != nil {
		stored.Remove()
		return nil, fmt.Errorf("%w: %w", disk.ErrDamaged, err)
	}
	o.disk, o.stamp = stored, stored.Version()
	return o, nil
}

// promote brings a slice, of which f is the file or nil if that could not be
// opened, into memory, and returns its n bytes; nil if it can't. It does I/O.
func (c *Cache) promote(o *object, i int, f *disk.File, n int64) []byte {
	var data []byte
	if f != nil {
		data = make([]byte, n)
		if _, err := io.ReadFull(f, data); err != nil {
			data = nil // whoever reads on will see why
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	defer delete(c.store.promoting, sliceKey{o, i})
	if data != nil && !o.gone && o.dead == nil && o.slices.at(i) == nil {
		s := &slice{o: o, i: i, data: data}
		o.slices.set(s)
		c.store.keep(o, i, s)
	}
	return data
}
