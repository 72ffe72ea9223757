package voyo

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/voyo-music/caddy-voyo/cache/disk"
	"github.com/voyo-music/caddy-voyo/internal/expand"
)

// diskOverhead is how many bytes of a disk may go to the store's own bookkeeping
// rather than to what is kept.
const diskOverhead = 2 << 20

// The kinds of disks, as messages have them. Each is a directory of its own, so
// that a disk may be shared by both, each with its own bound.
const (
	artDisk    = "art"
	streamDisk = "stream"
)

// DiskConfig configures a disk that a cache has besides its memory. What is kept
// there survives restarts. A directory belongs to one process at a time; handlers
// of one configuration that name the same one share it, and must give it the same
// size.
type DiskConfig struct {
	// The directory, which is made if there is none. Covers are kept in its
	// subdirectory `art`, streams in `stream`. The placeholders `{env.*}` and
	// `{file.*}` are expanded once, when the configuration is loaded. Required.
	Dir string `json:"dir,omitempty"`

	// How many bytes of the disk may be taken, bookkeeping included. At least 2 MiB
	// more than the `max_object` of covers, or than 8 slices of streams. Required.
	Size int64 `json:"size,omitempty"`
}

// place is where something is kept on a disk, and how much. The zero value is
// nowhere.
type place struct {
	kind string
	dir  string // as configured, but absolute
	path string // that of the store in it
	size int64
}

// places are those of all the caches of a state.
type places struct {
	art, streams place
}

func (p places) list() []place {
	return slices.DeleteFunc([]place{p.art, p.streams}, func(p place) bool { return p.path == "" })
}

// provisionDisks finds out where the disks are, without looking at them. It comes
// after provisionPolicies.
func (h *Handler) provisionDisks(repl *caddy.Replacer, l limits) (err error) {
	if h.Art != nil {
		h.places.art, err = h.Art.Disk.place(repl, artDisk, h.artPolicy.MaxObject, "max_object")
		if err != nil {
			return fmt.Errorf("art: disk: %w", err)
		}
	}
	if h.Stream != nil {
		h.places.streams, err = h.Stream.Disk.place(repl, streamDisk, minSlices*l.streams.Slice, fmt.Sprintf("%d slices", minSlices))
		if err != nil {
			return fmt.Errorf("stream: disk: %w", err)
		}
	}
	return nil
}

// place returns the place for a kind of things, of which at least so many bytes
// must fit.
func (d *DiskConfig) place(repl *caddy.Replacer, kind string, least int64, what string) (place, error) {
	if d == nil {
		return place{}, nil
	}
	dir, err := expand.Value(repl, "dir", d.Dir)
	switch {
	case err != nil:
		return place{}, err
	case dir == "":
		return place{}, errors.New("dir is required")
	case d.Size < least+diskOverhead:
		return place{}, fmt.Errorf("size (%d bytes) must be at least %d bytes: %s and the bookkeeping", d.Size, least+diskOverhead, what)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return place{}, fmt.Errorf("dir: %w", err)
	}
	return place{kind, dir, filepath.Join(dir, kind), d.Size}, nil
}

// stores holds each store that some handler uses, by its path.
var stores = caddy.NewUsagePool()

// store is an open directory. It outlives reloads, those included that change
// what the handlers fetch.
type store struct {
	*disk.Store

	kind string // of what is in it
	made bool   // there was no directory before

	mu    sync.Mutex
	holds []*hold // the longest held first: that one's size is in effect, as for leases
}

// Destruct closes the store, when the last hold is gone.
func (s *store) Destruct() error {
	err := s.Close()
	living.dropStore(s)
	return err
}

// hold is a lease's hold on a store. A nil one is on none.
type hold struct {
	place place
	store *store
}

// openDisk returns a hold on the store at the place, which is opened if it is not
// open yet; nil if the place is nowhere.
func openDisk(p place) (*hold, error) {
	if p.path == "" {
		return nil, nil //nolint:nilnil // no disk is nothing that has failed
	}
	value, _, err := stores.LoadOrNew(p.path, func() (caddy.Destructor, error) {
		_, missing := os.Stat(p.path)
		d, err := disk.Open(p.path, p.size, diskEvents(p))
		if err != nil {
			return nil, err
		}
		s := &store{Store: d, kind: p.kind, made: errors.Is(missing, fs.ErrNotExist)}
		living.addStore(s)
		return s, nil
	})
	if errors.Is(err, disk.ErrInUse) {
		err = disk.ErrInUse // the path is said once
	}
	if err != nil {
		return nil, fmt.Errorf("%s disk %s: %w", p.kind, p.dir, err)
	}
	h := &hold{p, value.(*store)}
	h.store.mu.Lock()
	defer h.store.mu.Unlock()
	h.store.holds = append(h.store.holds, h)
	return h, nil
}

// release ends the hold. The last one closes the store.
func (h *hold) release() error {
	if h == nil {
		return nil
	}
	h.store.drop(h)
	_, err := stores.Delete(h.place.path)
	return err
}

func (s *store) drop(h *hold) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.Index(s.holds, h)
	s.holds = slices.Delete(s.holds, i, i+1)
	if i == 0 && len(s.holds) > 0 {
		s.SetLimit(s.holds[0].place.size)
	}
}

// disk returns the store for a cache to use, nil if there is none.
func (h *hold) disk() *disk.Store {
	if h == nil {
		return nil
	}
	return h.store.Store
}

// isEmpty reports whether it is known that nothing is on the disk, as it is where that has
// just been made.
func (h *hold) isEmpty() bool {
	return h == nil || h.store.made && h.store.Stats().Objects == 0
}

// disks are those of all the caches of a state, open.
type disks struct {
	art, streams *hold
}

// openDisks opens the disks, and returns those that it could open also when there
// is an error.
func openDisks(p places) (d disks, err error) {
	if d.art, err = openDisk(p.art); err != nil {
		return d, err
	}
	d.streams, err = openDisk(p.streams)
	return d, err
}

// same reports whether the caches go on with the same stores.
func (d disks) same(other disks) bool {
	return d.art.disk() == other.art.disk() && d.streams.disk() == other.streams.disk()
}

func (d disks) release() error {
	return errors.Join(d.art.release(), d.streams.release())
}

// diskEvents logs and counts what happens to a store. A store belongs to no configuration,
// so the logger is that of the one that runs at the time.
func diskEvents(p place) disk.Events {
	log := func() *zap.Logger {
		return caddy.Log().Named("http.handlers.voyo").With(zap.String("dir", p.path))
	}
	return disk.Events{
		Degraded: func(err error) {
			diskErrorsTotal.WithLabelValues(p.kind, diskErrorFailed).Inc()
			log().Error("disk failed, nothing is written to it", zap.Error(err))
		},
		Recovered: func() { log().Info("disk works again") },
		Damaged: func(name string, err error) {
			diskErrorsTotal.WithLabelValues(p.kind, diskErrorDamaged).Inc()
			log().Warn("damaged file on disk", zap.String("file", name), zap.Error(err))
		},
	}
}

// diskFailures are the reasons that /health gives for a failed disk. Anybody may
// read them, so an error's own text, which has paths in it, is not one of them.
var diskFailures = []struct {
	err    error
	reason string
}{
	{syscall.ENOSPC, "no space left on device"},
	{syscall.EDQUOT, "quota exceeded"},
	{syscall.EROFS, "read-only file system"},
	{fs.ErrPermission, "not writable"},
	{fs.ErrNotExist, "directory is gone"},
	{syscall.ENOTDIR, "directory is gone"},
	{syscall.EMFILE, "too many open files"},
	{syscall.ENFILE, "too many open files"},
	{syscall.EIO, "i/o error"},
	{disk.ErrInUse, "directory is in use by another process"},
}

// diskFailure says why a disk has failed.
func diskFailure(err error) string {
	for _, f := range diskFailures {
		if errors.Is(err, f.err) {
			return f.reason
		}
	}
	return "failed"
}

// ailments returns which disks have failed, and why.
func (d disks) ailments() (list []string) {
	for _, h := range []*hold{d.art, d.streams} {
		if h == nil {
			continue
		}
		if err := h.store.Err(); err != nil {
			list = append(list, h.place.kind+" disk: "+diskFailure(err))
		}
	}
	return list
}

// report returns the store's figures, nil if there is no store.
func (h *hold) report() *diskReport {
	if h == nil {
		return nil
	}
	s := h.store.Stats()
	return &diskReport{Bytes: s.Bytes, Limit: s.Limit, Slices: s.Slices, objects: s.Objects}
}

// count returns the number of entries.
func (r *diskReport) count() int {
	if r == nil {
		return 0
	}
	return r.objects
}
