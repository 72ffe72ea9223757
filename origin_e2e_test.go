package voyo_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The end-to-end tests of streams know every byte of every track, so that not one
// that a client gets goes unchecked: the bytes follow from the track's ID and their
// offset, and cost neither the origin nor its clients more than a copy.

const (
	songBlock = 64 << 10 // bytes that are taken from the tape in one piece
	tapeSize  = 1 << 20
)

// tape has the bytes that all songs are made of. No two pieces of it are alike.
var tape = sync.OnceValue(func() []byte {
	b := make([]byte, tapeSize+songBlock)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
})

// song is a track whose bytes are known.
type song struct {
	id   string
	size int64
	key  uint64 // what the bytes follow from, along with their offset

	version int
}

func newSong(id string, size int64) song {
	var key uint64
	for _, c := range []byte(id) {
		key = scatter(key ^ uint64(c))
	}
	return song{id: id, size: size, key: key}
}

// scatter is the finalizer of splitmix64.
func scatter(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// newSongs returns songs with consecutive IDs, of at most so many bytes each. Hardly
// one of them ends with a slice.
func newSongs(first, n int, size int64) []song {
	songs := make([]song, n)
	for i := range songs {
		songs[i] = newSong(sourceID(first+i), size-int64(i%50)*1021)
	}
	return songs
}

func totalSize(songs []song) (n int64) {
	for _, s := range songs {
		n += s.size
	}
	return n
}

// path is where an edge has it.
// next returns the song's next version, of which all is different.
func (s song) next() song {
	s.key, s.version = scatter(s.key+1), s.version+1
	return s
}

// etag returns the version's entity tag.
func (s song) etag() string {
	if s.version == 0 {
		return `"` + s.id + `"`
	}
	return fmt.Sprintf(`"%s.%d"`, s.id, s.version)
}

func (s song) path() string { return "/cdn/stream/" + s.id }

// bytes returns the bytes from off on: some, as long as off is before the end.
func (s song) bytes(off int64) []byte {
	if off >= s.size {
		return nil
	}
	block, within := off/songBlock, off%songBlock
	at := int64(scatter(s.key+uint64(block))%tapeSize) + within
	return tape()[at : at+min(songBlock-within, s.size-off)]
}

// errWrongBytes is the one error that no client may ever get.
var errWrongBytes = errors.New("wrong bytes")

// check compares what a client got from off on with what it should have got.
func (s song) check(off int64, got []byte) error {
	for len(got) > 0 {
		want := s.bytes(off)
		n := min(len(want), len(got))
		if n == 0 || !bytes.Equal(want[:n], got[:n]) {
			return fmt.Errorf("%w: track %s of %d bytes, within %d bytes from %d on", errWrongBytes, s.id, s.size, len(got), off)
		}
		got, off = got[n:], off+int64(n)
	}
	return nil
}

var copyBuffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// verify reads a body that should have the bytes from start to end, and returns how
// many it has.
func (s song) verify(body io.Reader, start, end int64) (n int64, err error) {
	buf := copyBuffers.Get().(*[64 << 10]byte)
	defer copyBuffers.Put(buf)
	for {
		m, readErr := body.Read(buf[:])
		if err := s.check(start+n, buf[:m]); err != nil {
			return n, err
		}
		n += int64(m)
		switch {
		case start+n > end:
			return n, fmt.Errorf("%w: more than were asked for", errWrongBytes)
		case readErr == io.EOF && start+n < end:
			return n, fmt.Errorf("%w: %d of %d bytes, and a proper end", errWrongBytes, n, end-start)
		case readErr == io.EOF:
			return n, nil
		case readErr != nil:
			return n, readErr
		}
	}
}

// reader is an io.ReadSeeker of the bytes.
func (s song) reader() *songReader { return &songReader{song: s} }

type songReader struct {
	song song
	off  int64
}

func (r *songReader) Read(p []byte) (n int, err error) {
	for n < len(p) {
		m := copy(p[n:], r.song.bytes(r.off))
		if m == 0 {
			break
		}
		n, r.off = n+m, r.off+int64(m)
	}
	if n == 0 && len(p) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (r *songReader) Seek(offset int64, whence int) (int64, error) {
	r.off = [...]int64{0, r.off, r.song.size}[whence] + offset
	return r.off, nil
}

// archive is an upstream with songs, and a cover for each. It counts what it sends,
// and can be as slow as a distant one.
type archive struct {
	*httptest.Server

	delay    time.Duration // before each answer
	arrived  func()        // called with each request, before the delay; may be nil
	requests atomic.Int64
	active   atomic.Int64 // requests that are being answered
	sent     atomic.Int64 // bytes of songs
	rate     atomic.Int64 // bytes per second and answer; 0 is as fast as it can

	mu     sync.Mutex
	songs  map[string]song
	ranges []string             // that were asked for
	first  map[string]time.Time // when a song's first byte was sent, by ID
	askers map[string]string    // who asked for a song last, by ID: a host's address
	marks  map[int64]chan struct{}
}

func newArchive(t *testing.T, songs ...song) *archive {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return newArchiveAt(t, l, songs...)
}

// newArchiveAt returns one that listens elsewhere than on the loopback interface.
func newArchiveAt(t *testing.T, l net.Listener, songs ...song) *archive {
	t.Helper()
	tape() // which takes its time
	a := &archive{
		songs: make(map[string]song), first: make(map[string]time.Time), askers: make(map[string]string), marks: make(map[int64]chan struct{}),
	}
	a.add(songs...)
	a.Server = &httptest.Server{Listener: l, Config: &http.Server{Handler: a}}
	a.Start()
	t.Cleanup(a.Close)
	return a
}

func (a *archive) add(songs ...song) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, s := range songs {
		a.songs[s.id] = s
	}
}

// ServeHTTP leaves ranges and preconditions to net/http, which knows nothing of what
// is tested here.
func (a *archive) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.requests.Add(1)
	a.active.Add(1)
	defer a.active.Add(-1)
	if strings.HasPrefix(r.URL.Path, "/art/") {
		w.Header().Set("Etag", `"cover"`)
		http.ServeContent(w, r, "", time.Time{}, strings.NewReader(coverOf(path.Base(path.Dir(r.URL.Path)))))
		return
	}
	a.mu.Lock()
	s, ok := a.songs[strings.TrimSuffix(path.Base(r.URL.Path), ".opus")]
	a.ranges = append(a.ranges, r.Header.Get("Range"))
	a.askers[s.id], _, _ = net.SplitHostPort(r.RemoteAddr)
	a.mu.Unlock()
	if !ok {
		http.NotFound(w, r)
		return
	}
	if a.arrived != nil {
		a.arrived()
	}
	if a.delay > 0 {
		select {
		case <-time.After(a.delay):
		case <-r.Context().Done():
			return
		}
	}
	w.Header().Set("Etag", s.etag())
	w.Header().Set("Content-Type", "audio/ogg")
	http.ServeContent(&tap{a, w, r, s.id, time.Now(), 0}, r, "", time.Time{}, s.reader())
}

// coverOf returns the cover of a track.
func coverOf(id string) string { return fakeCover(id, 20_000) }

// tap is where an answer's bytes come out, at the archive's rate.
type tap struct {
	archive *archive
	http.ResponseWriter
	r     *http.Request
	id    string
	began time.Time
	sent  int64
}

func (p *tap) Write(b []byte) (n int, err error) {
	rate := p.archive.rate.Load()
	step := len(b)
	if rate > 0 {
		step = 16 << 10
	}
	for n < len(b) && err == nil {
		if err = p.wait(rate); err != nil {
			break
		}
		var m int
		m, err = p.ResponseWriter.Write(b[n:min(len(b), n+step)])
		if rate > 0 && err == nil {
			err = http.NewResponseController(p.ResponseWriter).Flush()
		}
		p.archive.count(p.id, int64(m))
		n, p.sent = n+m, p.sent+int64(m)
	}
	return n, err
}

// wait waits until the next bytes are due.
func (p *tap) wait(rate int64) error {
	if rate <= 0 {
		return nil
	}
	due := p.began.Add(time.Duration(p.sent * int64(time.Second) / rate))
	select {
	case <-time.After(time.Until(due)):
		return nil
	case <-p.r.Context().Done():
		return p.r.Context().Err()
	}
}

func (a *archive) count(id string, n int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.first[id]; !ok {
		a.first[id] = time.Now()
	}
	sent := a.sent.Add(n)
	for at, mark := range a.marks {
		if sent >= at {
			close(mark)
			delete(a.marks, at)
		}
	}
}

// reached returns a channel that is closed when so many bytes have been sent since
// the counters were reset.
func (a *archive) reached(n int64) <-chan struct{} {
	mark := make(chan struct{})
	a.mu.Lock()
	defer a.mu.Unlock()
	a.marks[n] = mark
	return mark
}

// idle reports whether nobody is being answered.
func (a *archive) idle() bool { return a.active.Load() == 0 }

// reset sets the counters to zero.
func (a *archive) reset() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.requests.Store(0)
	a.sent.Store(0)
	a.ranges = nil
	clear(a.first)
	clear(a.askers)
}

// asker returns the address of the host that asked for a song last.
func (a *archive) asker(s song) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.askers[s.id]
}

// firstByte returns when a song's first byte was sent.
func (a *archive) firstByte(s song) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.first[s.id]
}

func (a *archive) askedRanges() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.ranges)
}

// mustRest fails the test if the archive was asked for anything.
func (a *archive) mustRest(t *testing.T) {
	t.Helper()
	if n := a.requests.Load(); n != 0 {
		t.Errorf("the upstream was asked %d times, for %q, and sent %d bytes of songs", n, a.askedRanges(), a.sent.Load())
	}
}
