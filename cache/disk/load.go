package disk

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/voyo-music/caddy-voyo/internal/contain"
)

// batch is for how many files s.mu is held at once.
const batch = 1024

// scan is what is known of the listing of the directory. Guarded by Store.mu.
type scan struct {
	loading bool
	number  int // of the listing: there is a new one if there is another directory
	listed  [shards]bool
	listing map[byte]chan struct{} // shards that are being listed; closed when done
	barred  map[ID]struct{}        // whose files in shards that are not listed yet are old
	cold    []aged                 // slices that were found
}

// aged is a slice with its mtime.
type aged struct {
	*file
	mtime int64
}

// found is a file of the store in a directory.
type found struct {
	ident
	mtime int64
}

// start begins anew.
func (c *scan) start() {
	*c = scan{
		loading: true, number: c.number + 1,
		listing: make(map[byte]chan struct{}), barred: make(map[ID]struct{}),
	}
}

// unlisted reports whether there may be files of an object that are not known yet.
func (c *scan) unlisted(id ID) bool {
	_, barred := c.barred[id]
	return !c.listed[id[0]] && !barred
}

// bar makes whatever there may be of an object not count.
func (c *scan) bar(id ID) {
	if !c.listed[id[0]] {
		c.barred[id] = struct{}{}
	}
}

// load lists all that is in the directory.
func (s *Store) load() error {
	for k := range shards {
		s.mu.Lock()
		hurried := s.hurried()
		s.mu.Unlock()
		if hurried {
			return nil
		}
		if err := s.list(byte(k)); err != nil {
			return err
		}
	}
	s.rank()
	return nil
}

// rank brings what was found into the order of its use, behind all that was used
// since.
func (s *Store) rank() {
	s.mu.Lock()
	cold := s.cold
	s.cold = nil
	s.mu.Unlock()
	slices.SortFunc(cold, func(a, b aged) int { return cmp.Compare(b.mtime, a.mtime) })
	for part := range slices.Chunk(cold, batch) {
		s.mu.Lock()
		for _, f := range part {
			if !f.dead {
				s.used.back(f.file)
			}
		}
		s.mu.Unlock()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loading = false
}

// list lists a shard, if it is not listed yet, or waits for who does. An error says
// that it could not, but that another time it may.
func (s *Store) list(k byte) error {
	s.mu.Lock()
	for s.listing[k] != nil {
		ch := s.listing[k]
		s.mu.Unlock()
		<-ch
		s.mu.Lock()
	}
	if s.listed[k] {
		s.mu.Unlock()
		return nil
	}
	ch, number := make(chan struct{}), s.number
	s.listing[k] = ch
	s.mu.Unlock()

	defer close(ch)
	dir := filepath.Join(s.dir, shard(k))
	var all []found
	foreign := 0
	err := contain.Do(func() (err error) {
		if s.tune.listing != nil {
			if err := s.tune.listing(k); err != nil {
				return err
			}
		}
		all, foreign, err = readShard(dir, k)
		return err
	})
	if isTemporary(err) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if number == s.number {
			delete(s.listing, k)
		}
		return err
	}
	s.merge(k, number, all)
	if foreign > 0 {
		s.damaged(dir, fmt.Errorf("%d files that are not the cache's are left alone", foreign))
	}
	if err != nil {
		s.damaged(dir, err)
	}
	return nil
}

// readShard returns the store's files in a shard, an object's together, the latest
// version first, and its meta data before its slices. Others it counts.
func readShard(path string, k byte) (all []found, foreign int, err error) {
	dir, err := os.Open(path) //nolint:gosec // it is in the configured directory
	if errors.Is(err, fs.ErrNotExist) {
		return nil, 0, nil // there was no room to make it
	}
	if err != nil {
		return nil, 0, err
	}
	defer dir.Close()
	now := time.Now()
	for err == nil {
		var entries []os.DirEntry
		entries, err = dir.ReadDir(1024)
		for _, e := range entries {
			n, ok := parse(e.Name())
			if !ok || n.id[0] != k || !e.Type().IsRegular() {
				foreign++
				continue
			}
			fi, err := e.Info()
			if err != nil {
				continue // it has gone since
			}
			if n.index < 0 {
				n.size = min(fi.Size(), maxMeta+metaHeader)
			}
			all = append(all, found{n, usedAt(fi.ModTime(), now)})
		}
	}
	slices.SortFunc(all, func(a, b found) int {
		return cmp.Or(bytes.Compare(a.id[:], b.id[:]), cmp.Compare(b.version, a.version),
			cmp.Compare(a.index, b.index), cmp.Compare(b.mtime, a.mtime))
	})
	if err == io.EOF {
		err = nil
	}
	return all, foreign, err
}

// usedAt returns when a file was used, by its mtime. What was used in the future was
// used before all else: or else it would stay for as long as the clock was ahead.
func usedAt(mtime, now time.Time) int64 {
	if mtime.After(now) {
		return mtime.UnixNano() - math.MaxInt64
	}
	return mtime.UnixNano()
}

// merge puts what was found in a shard into the index.
func (s *Store) merge(k byte, number int, all []found) {
	for len(all) > 0 {
		all = s.mergeSome(number, all)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if number != s.number {
		return // it was another directory's
	}
	s.listed[k] = true
	delete(s.listing, k)
	for id := range s.barred {
		if id[0] == k {
			delete(s.barred, id)
		}
	}
}

// mergeSome puts some objects that were found into the index, and returns the
// others: s.mu is wanted by requests, too.
func (s *Store) mergeSome(number int, all []found) []found {
	s.mu.Lock()
	defer s.mu.Unlock()
	if number != s.number {
		return nil
	}
	for left := batch; len(all) > 0 && left > 0; {
		id := all[0].id
		n := slices.IndexFunc(all, func(f found) bool { return f.id != id })
		if n < 0 {
			n = len(all)
		}
		s.adopt(id, all[:n])
		all = all[n:]
		left -= n
	}
	return all
}

// adopt puts an object's files into the index: those of its latest version that has
// meta data, if they are complete, unless there is a later one already. The others
// are removed. The caller holds s.mu.
func (s *Store) adopt(id ID, files []found) {
	cur := &Object{s: s, id: id, gone: true}
	at := slices.IndexFunc(files, func(f found) bool { return f.index < 0 })
	if _, barred := s.barred[id]; at >= 0 && !barred && s.objects[id] == nil {
		cur.version, cur.gone = files[at].version, false
		cur.needs = int32(min(^files[at].index, 1<<30)) //nolint:gosec // so it fits
		s.objects[id] = cur
	}
	old := cur
	for _, n := range files {
		s.last = max(s.last, n.version)
		o := cur
		if n.version != cur.version || cur.gone {
			if old.version != n.version {
				old = &Object{s: s, id: id, version: n.version, gone: true}
			}
			o = old
		}
		f := &file{o: o, index: n.index, size: n.size, crc: n.crc, changed: n.mtime}
		s.bytes += f.cost()
		switch {
		case o.gone || !s.attach(f):
			s.discard(f)
		case n.index >= 0:
			s.cold = append(s.cold, aged{f, n.mtime})
		}
	}
	if len(cur.slices) == 0 || cur.whole() && len(cur.slices) != int(cur.needs) {
		s.remove(cur)
	}
}
