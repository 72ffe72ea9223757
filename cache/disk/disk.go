// Package disk keeps slices of objects in files, within a number of bytes: at
// once after a restart, right after a kill at any moment, and out of the way when
// the disk fails.
//
// It knows nothing of HTTP. An object is a version of something that an ID names:
// some meta data, which only its owner can read, and slices by index, which never
// change once they are there.
package disk

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

// Errors to be told apart with errors.Is.
var (
	// ErrInUse says that another process, or this one by another path, has opened
	// the directory.
	ErrInUse = errors.New("directory is in use by another process")

	// ErrNotStored says that what was asked for is not there, or not any more.
	ErrNotStored = errors.New("not stored")

	// ErrDamaged says that what is there is not what was written. It is gone then.
	ErrDamaged = errors.New("damaged file")
)

// ID names an object.
type ID [16]byte

// NewID returns the ID for a key within a namespace. Different ones have different
// IDs, as far as SHA-256 can tell.
func NewID(namespace, key string) ID {
	b := make([]byte, 0, binary.MaxVarintLen64+len(namespace)+len(key))
	b = binary.AppendUvarint(b, uint64(len(namespace)))
	b = append(b, namespace...)
	sum := sha256.Sum256(append(b, key...))
	return ID(sum[:16])
}

// Events are called when there is something that an operator should know, one at a
// time. They must return soon. Each may be nil.
type Events struct {
	Degraded  func(err error)              // nothing more is written for now
	Recovered func()                       // it is again
	Damaged   func(name string, err error) // a file was not what it should be, and is ignored or removed
}

const (
	shards = 256 // directories, named after the first byte of the IDs in them

	// maxIdle is how many objects that have nothing on disk, and nothing queued, may
	// still have something put into them.
	maxIdle = 4096
)

// Store is a directory of objects. Its methods, and those of its objects, are safe
// for concurrent use, and do no I/O unless they say so.
//
// One goroutine writes and removes files (work.go), so that what is done to a file
// is done in the order in which it was decided. The index (index.go) is ahead of the
// disk where something is removed, and behind it where something is written.
type Store struct {
	dir    string
	events Events
	tune   tuning
	wake   chan struct{} // there is something to do
	done   chan struct{} // closed when the worker has ended
	home   *os.File      // the directory, locked; nil if there is none yet. Touched by the worker only
	tell   sync.Mutex    // held while an event is called
	notes  sync.Mutex    // held while a note is read or written

	mu      sync.Mutex // guards all below, and every object and file
	limit   int64
	bytes   int64 // what files take of the disk, the trash included, and what is reserved for new ones
	err     error // why nothing is written at present
	stats   Stats // those that are counted, and not known otherwise
	last    uint64
	objects map[ID]*Object       // all that are not gone
	held    map[*Object]struct{} // those that are, and have slices for who holds them
	idle    *simplelru.LRU[ID, *Object]
	used    list // slices; and meta data, if it is all that an object has
	open    map[*file]openings

	queue   []job
	queued  int64         // bytes
	trash   []*file       // to be unlinked
	stuck   []*file       // could not be unlinked, to be tried again
	touched []*file       // whose use is to be noted on disk
	due     time.Time     // when to try again what has failed; zero if nothing has
	backoff time.Duration // until then, the next time
	noEvict bool          // until then
	closing time.Time     // when Close was called
	closed  bool

	scan
}

// tuning is what tests change.
type tuning struct {
	backoff time.Duration      // until what has failed is first tried again
	touch   time.Duration      // how often the use of a slice is noted on disk at the most
	grace   time.Duration      // how long Close waits for the listing
	listing func(k byte) error // called before a shard is listed, and may fail that; may be nil
}

// Open opens the directory, which it makes if there is none. It reads no files: it
// lists them in the background, until which nothing is written and nothing evicted,
// but everything that is there can be loaded. Files that it does not know are left
// alone and not counted. The error wraps ErrInUse if the directory is locked. A
// disk that is full does not fail it.
func Open(dir string, limit int64, events Events) (*Store, error) {
	return open(dir, limit, events, tuning{backoff: time.Second, touch: time.Hour, grace: 5 * time.Second})
}

func open(dir string, limit int64, events Events, tune tuning) (*Store, error) {
	dir, err := filepath.Abs(dir) // whatever the process's working directory becomes
	if err != nil {
		return nil, err
	}
	s := &Store{
		dir: dir, events: events, tune: tune, limit: limit, backoff: tune.backoff,
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	if s.idle, err = simplelru.NewLRU[ID, *Object](maxIdle, nil); err != nil {
		return nil, err
	}
	s.reset()
	if _, err = s.prepare(); err == nil {
		err = s.tryWrite(0)
	}
	if err != nil && !isFull(err) {
		s.unlock()
		return nil, fmt.Errorf("opening disk cache: %w", err)
	}
	go s.run(err)
	return s, nil
}

// reset empties the index. The caller holds s.mu.
func (s *Store) reset() {
	for _, o := range s.objects {
		o.forget()
	}
	for o := range s.held {
		o.forget()
	}
	s.objects, s.held = make(map[ID]*Object), make(map[*Object]struct{})
	s.idle.Purge()
	s.used.init()
	s.open = make(map[*file]openings)
	s.stats.Objects, s.stats.Slices = 0, 0
	s.trash, s.stuck, s.touched = nil, nil, nil
	s.bytes = layout
	s.scan.start()
}

// forget makes an object one that has nothing. The caller holds Store.mu.
func (o *Object) forget() {
	for _, f := range o.slices {
		f.dead = true
	}
	if o.meta != nil {
		o.meta.dead = true
	}
	o.gone, o.pending, o.meta, o.slices = true, nil, nil, nil
}

// Close writes what is queued, ends what runs in the background and unlocks the
// directory. What is stored can still be read, as long as no one else evicts it;
// what is put is ignored.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closing.IsZero() {
		s.closing = time.Now()
	}
	s.poke()
	s.mu.Unlock()
	<-s.done
	return nil
}

// SetLimit changes how many bytes of the disk the store may take. What is too much
// then is evicted in the background.
func (s *Store) SetLimit(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit = n
	s.poke()
}

// Err returns why nothing is written at present; nil if all is well.
func (s *Store) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Stats are a Store's figures at one moment.
type Stats struct {
	Bytes   int64 // of the disk taken, bookkeeping and files being written included
	Limit   int64
	Objects int
	Slices  int
	Written int64 // slices, since it was opened
	Skipped int64 // slices that were put but not written: the disk was too slow, or failed
	Evicted int64 // slices
	Damaged int64 // files
	Loading bool  // what was there when it was opened is not counted in full yet
}

// Stats returns the figures of this moment.
func (s *Store) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := s.stats
	st.Bytes, st.Limit, st.Loading = s.bytes, s.limit, s.loading
	return st
}

// Flush waits until all that was put so far is written, or given up.
func (s *Store) Flush() {
	s.mu.Lock()
	passed := s.done
	if s.closing.IsZero() {
		passed = make(chan struct{})
		s.queue = append(s.queue, job{passed: passed})
		s.poke()
	}
	s.mu.Unlock()
	<-passed
}

// Known reports whether Load may find something: false means that there is nothing.
func (s *Store) Known(id ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.objects[id]; o != nil {
		return o.meta != nil
	}
	return s.unlisted(id)
}

// Load returns the latest version of what the ID names, with its meta data. It does
// I/O. The error wraps ErrNotStored if there is none.
func (s *Store) Load(id ID) (*Object, []byte, error) {
	if err := s.list(id[0]); err != nil {
		return nil, nil, err
	}
	for {
		o, f, pending := s.lookup(id)
		if f == nil {
			return nil, nil, fmt.Errorf("object %x: %w", id[:], ErrNotStored)
		}
		if pending != nil {
			return o, pending, nil
		}
		meta, err := s.readMeta(f)
		if s.isDead(f) {
			continue // it was removed or replaced meanwhile
		}
		if err != nil {
			return nil, nil, s.failed(f, err)
		}
		return o, meta, nil
	}
}

// lookup returns the object that an ID names, with its meta file, nil if it has
// none, and the meta data that is going to be in its place, if any.
func (s *Store) lookup(id ID) (*Object, *file, []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.objects[id]; o != nil {
		return o, o.meta, bytes.Clone(o.pending)
	}
	return nil, nil, nil
}

func (s *Store) isDead(f *file) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return f.dead
}

// nextVersion returns a version later than all that are known. The caller holds s.mu.
func (s *Store) nextVersion() uint64 {
	s.last = max(s.last+1, uint64(time.Now().UnixNano()))
	return s.last
}

// Create returns a new version of what the ID names, which takes the place of all
// others at once. Nothing is written before its first slice is put. If whole, it is
// only of use with all its slices: they must be put by one call, and are evicted
// together.
func (s *Store) Create(id ID, meta []byte, whole bool) *Object {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.objects[id]; old != nil {
		s.remove(old)
	}
	s.bar(id)
	o := &Object{s: s, id: id, version: s.nextVersion(), pending: append([]byte{}, meta...)}
	if whole {
		o.needs = -1
	}
	if len(meta) > maxMeta {
		o.gone = true
		return o
	}
	s.objects[id] = o
	s.settle(o)
	return o
}
