package disk

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// fill puts an object with n slices of a size into the store.
func fill(s *Store, key string, whole bool, n, size int) *Object {
	id := NewID("test", key)
	o := s.Create(id, []byte(key), whole)
	var parts []Slice
	for i := range int64(n) {
		parts = append(parts, Slice{i, content(id, "", i, size)})
	}
	o.Put(parts...)
	s.Flush()
	return o
}

// pathOf returns where a slice's file is.
func pathOf(o *Object, i int64) string {
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	at, _ := o.find(i)
	return o.slices[at].path()
}

func metaPathOf(o *Object) string {
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	return o.meta.path()
}

// What is there at once after a restart is what was there before, and no file is
// read for it: damage shows when the slice is opened.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	s, _ := openTest(t, dir, noLimit)
	o := fill(s, "a", false, 3, 5000)
	fill(s, "b", false, 3, 5000)
	before := s.Stats()
	path := pathOf(o, 1)
	s.Close()
	flip(t, path)

	s, l := openTest(t, dir, noLimit)
	o = wantLoad(t, s, NewID("test", "a"), "a")
	s.Flush()
	if st := s.Stats(); st.Loading || st.Bytes != before.Bytes || st.Slices != 6 || st.Objects != 2 || l.count("damaged") != 0 {
		t.Errorf("%+v, before %+v; %v", st, before, l.lines)
	}
	wantSlice(t, o, 0, content(o.id, "", 0, 5000))
	if !o.Has(1) {
		t.Error("the damage was noticed before the file was opened")
	}
	if _, err := o.Open(1); !errors.Is(err, ErrDamaged) {
		t.Error(err)
	}
	if o.Has(1) || l.count("damaged") != 1 {
		t.Errorf("%v", l.lines)
	}
	s.check(t)
}

// What is evicted first after a restart is what was not used for the longest time.
func TestOrderOfUse(t *testing.T) {
	dir := t.TempDir()
	tune := quick
	tune.touch = 0
	s, _ := openTuned(t, dir, noLimit, tune)
	var objects []*Object
	const n = 12
	for i := range n {
		objects = append(objects, fill(s, fmt.Sprint(i), false, 1, 10))
	}
	order := []int{7, 2, 11, 0, 4, 9, 1, 10, 3, 8, 6, 5}
	for _, i := range order {
		if _, err := read(t, objects[i], 0); err != nil {
			t.Error(err)
		}
		s.Flush() // or else their times could be the same
	}
	s.Close()

	s, _ = openTest(t, dir, noLimit)
	first := fmt.Sprint(order[0]) // now it is used again
	if _, err := read(t, wantLoad(t, s, NewID("test", first), first), 0); err != nil {
		t.Error(err)
	}
	for _, i := range append(order[1:], order[0]) {
		s.Flush()
		if got := oldest(s); got != fmt.Sprint(i) {
			t.Fatalf("%s is evicted next, want %d", got, i)
		}
		s.SetLimit(s.Stats().Bytes - 1)
	}
	s.check(t)
	if st := s.Stats(); st.Slices != 0 || st.Evicted != n {
		t.Errorf("%+v", st)
	}
}

// What was used when the clock was ahead does not stay longer for it.
func TestOrderOfUseInTheFuture(t *testing.T) {
	dir := t.TempDir()
	s, _ := openTest(t, dir, noLimit)
	future := time.Now().AddDate(20, 0, 0)
	for i, at := range []time.Time{time.Now().Add(-time.Hour), future.Add(time.Hour), time.Now(), future} {
		o := fill(s, fmt.Sprint(i), false, 1, 10)
		must(t, os.Chtimes(pathOf(o, 0), at, at))
	}
	s.Close()
	s, _ = openTest(t, dir, noLimit)
	for _, i := range []int{3, 1, 0, 2} {
		s.Flush()
		if got := oldest(s); got != fmt.Sprint(i) {
			t.Errorf("%s is evicted next, want %d", got, i)
		}
		s.SetLimit(s.Stats().Bytes - 1)
	}
	s.check(t)
}

// oldest returns the meta data of the object that is to be evicted next.
func oldest(s *Store) string {
	s.mu.Lock()
	f := s.used.oldest()
	s.mu.Unlock()
	_, meta, err := s.Load(f.o.id)
	if err != nil {
		return err.Error()
	}
	return string(meta)
}

// gate lets a test decide when shards are listed.
type gate struct {
	open    chan struct{}
	reached chan struct{}
	once    sync.Once
}

func newGate() *gate {
	return &gate{open: make(chan struct{}), reached: make(chan struct{})}
}

func (g *gate) tuning() tuning {
	tune := quick
	tune.listing = func(k byte) error {
		if k == 0 {
			g.once.Do(func() { close(g.reached) })
			<-g.open
		}
		return nil
	}
	return tune
}

// idIn returns an ID whose files are in a shard.
func idIn(k byte, name string) ID {
	id := NewID("", name)
	id[0] = k
	return id
}

func put(s *Store, id ID, meta string, whole bool, data ...string) *Object {
	o := s.Create(id, []byte(meta), whole)
	var parts []Slice
	for i, d := range data {
		parts = append(parts, Slice{int64(i), []byte(d)})
	}
	o.Put(parts...)
	return o
}

// While the directory is being listed all can be loaded, and what is created or
// removed meanwhile wins over what is found.
func TestLoading(t *testing.T) {
	dir := memDir(t)
	s, _ := openTest(t, dir, noLimit)
	ids := make(map[string]ID)
	for i, name := range []string{"loaded", "removed", "replaced", "created and removed", "put", "left"} {
		ids[name] = idIn(byte(0x40+i), name)
		put(s, ids[name], name, false, "old")
	}
	s.Close()

	g := newGate()
	s, _ = openTuned(t, dir, noLimit, g.tuning())
	<-g.reached
	if st := s.Stats(); !st.Loading || st.Objects != 0 {
		t.Errorf("%+v", st)
	}
	for _, id := range ids {
		if !s.Known(id) {
			t.Errorf("%x is not known", id)
		}
	}
	wantSlice(t, wantLoad(t, s, ids["loaded"], "loaded"), 0, []byte("old"))
	o := wantLoad(t, s, ids["removed"], "removed")
	o.Remove()
	wantGone(t, s, ids["removed"])
	put(s, ids["replaced"], "new", false, "new")
	wantGone(t, s, ids["replaced"]) // it is not written yet
	s.Create(ids["created and removed"], nil, false).Remove()
	wantGone(t, s, ids["created and removed"])
	o = wantLoad(t, s, ids["put"], "put")
	o.Put(Slice{1, []byte("more")})
	if st := s.Stats(); st.Written != 0 || !st.Loading {
		t.Errorf("%+v", st)
	}
	close(g.open)
	s.Flush()
	for range 2 {
		wantSlice(t, wantLoad(t, s, ids["loaded"], "loaded"), 0, []byte("old"))
		wantSlice(t, wantLoad(t, s, ids["left"], "left"), 0, []byte("old"))
		wantGone(t, s, ids["removed"])
		wantGone(t, s, ids["created and removed"])
		wantSlice(t, wantLoad(t, s, ids["replaced"], "new"), 0, []byte("new"))
		o = wantLoad(t, s, ids["put"], "put")
		wantSlice(t, o, 0, []byte("old"))
		wantSlice(t, o, 1, []byte("more"))
		s.check(t)
		s.Close()
		s, _ = openTest(t, dir, noLimit)
	}
}

// Many may ask for the same shard at once.
func TestLoadTogether(t *testing.T) {
	dir := memDir(t)
	s, _ := openTest(t, dir, noLimit)
	id := idIn(0, "x")
	put(s, id, "x", false, "x")
	s.Close()
	g := newGate()
	s, _ = openTuned(t, dir, noLimit, g.tuning())
	<-g.reached
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			if _, meta, err := s.Load(id); err != nil || string(meta) != "x" {
				t.Error(string(meta), err)
			}
		})
	}
	close(g.open)
	wg.Wait()
}

// Close does not wait for ever for a listing. What could not be written is counted.
func TestCloseWhileLoading(t *testing.T) {
	dir := memDir(t)
	s, _ := openTest(t, dir, noLimit)
	old := idIn(0x80, "old")
	put(s, old, "old", false, "old")
	s.Close()
	g := newGate()
	tune := g.tuning()
	tune.grace = 0
	s, _ = openTuned(t, dir, noLimit, tune)
	<-g.reached
	put(s, idIn(0x81, "new"), "new", false, "new")
	closed := make(chan struct{})
	go func() { s.Close(); close(closed) }()
	for {
		s.mu.Lock()
		closing := !s.closing.IsZero()
		s.mu.Unlock()
		if closing {
			break
		}
		time.Sleep(time.Millisecond)
	}
	close(g.open)
	<-closed
	if st := s.Stats(); st.Skipped != 1 || st.Written != 0 {
		t.Errorf("%+v", st)
	}
	wantSlice(t, wantLoad(t, s, old, "old"), 0, []byte("old"))
}

// Of what a crash may leave behind, only the latest version that has meta data is
// loaded, and the rest is removed.
func TestLeftovers(t *testing.T) {
	id := idIn(0x11, "x")
	type leftover struct {
		version uint64
		index   int64
		data    string
	}
	meta := func(version uint64, n int) leftover { return leftover{version, metaIndex(n), fmt.Sprint(version)} }
	for name, c := range map[string]struct {
		files []leftover
		want  string // the meta data of what is loaded, and its slices
	}{
		"one":                           {[]leftover{meta(5, 0), {5, 0, "a"}, {5, 7, "b"}}, "5: a b"},
		"slices without meta data":      {[]leftover{{5, 0, "a"}}, ""},
		"meta data without slices":      {[]leftover{meta(5, 0)}, ""},
		"two versions":                  {[]leftover{meta(5, 0), {5, 0, "a"}, meta(6, 0), {6, 0, "c"}}, "6: c"},
		"a later one without meta data": {[]leftover{meta(5, 0), {5, 0, "a"}, {6, 0, "c"}}, "5: a"},
		"a later one without slices":    {[]leftover{meta(5, 0), {5, 0, "a"}, meta(6, 0)}, ""},
		"an older one":                  {[]leftover{{4, 0, "x"}, meta(5, 0), {5, 0, "a"}}, "5: a"},
		"whole":                         {[]leftover{meta(5, 2), {5, 0, "a"}, {5, 1, "b"}}, "5: a b"},
		"whole without one":             {[]leftover{meta(5, 2), {5, 1, "b"}}, ""},
		"whole with one too many":       {[]leftover{meta(5, 1), {5, 0, "a"}, {5, 1, "b"}}, ""},
		"the same slice twice":          {[]leftover{meta(5, 0), {5, 0, "a"}, {5, 0, "later"}}, "5: later"},
		"two kinds of meta data":        {[]leftover{meta(5, 0), meta(5, 1), {5, 0, "a"}}, "5: a"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := memDir(t)
			if err := os.Mkdir(filepath.Join(dir, "11"), 0o700); err != nil {
				t.Fatal(err)
			}
			for i, l := range c.files {
				n := ident{id: id, version: l.version, index: l.index, size: int64(len(l.data))}
				n.crc = n.checksum([]byte(l.data))
				data := []byte(l.data)
				if l.index < 0 {
					data = n.encodeMeta(data)
				}
				path := filepath.Join(dir, "11", n.String())
				if err := os.WriteFile(path, data, 0o600); err != nil {
					t.Fatal(err)
				}
				when := time.Unix(int64(1000+i), 0)
				if err := os.Chtimes(path, when, when); err != nil {
					t.Fatal(err)
				}
			}
			s, _ := openTest(t, dir, noLimit)
			got := ""
			if o, meta, err := s.Load(id); err == nil {
				got = string(meta) + ":"
				for i := o.Next(0); i >= 0; i = o.Next(i + 1) {
					b, err := read(t, o, i)
					if err != nil {
						t.Error(err)
					}
					got += " " + string(b)
				}
			}
			if got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
			s.check(t)
			if _, files := onDisk(dir); c.want == "" && files != 0 {
				t.Errorf("%d files are left", files)
			}
			if o := s.Create(id, nil, false); o.version <= 6 {
				t.Error("the new version is not the latest")
			}
		})
	}
}

// A clock that went back makes no new version older.
func TestClockWentBack(t *testing.T) {
	dir := memDir(t)
	s, _ := openTest(t, dir, noLimit)
	id := NewID("", "x")
	s.mu.Lock()
	s.last = uint64(time.Now().Add(1000 * time.Hour).UnixNano())
	s.mu.Unlock()
	put(s, id, "old", false, "old")
	s.Close()
	s, _ = openTest(t, dir, noLimit)
	s.Flush()
	put(s, id, "new", false, "new")
	s.Close()
	s, _ = openTest(t, dir, noLimit)
	wantSlice(t, wantLoad(t, s, id, "new"), 0, []byte("new"))
	s.check(t)
}

// An object that is of use as a whole only is written, loaded and evicted as such.
func TestWhole(t *testing.T) {
	dir := memDir(t)
	s, _ := openTest(t, dir, noLimit)
	id := NewID("", "x")
	o := s.Create(id, []byte("x"), true)
	o.Put()
	o.SetMeta([]byte("y"))
	o.Put(Slice{2, []byte("c")}, Slice{0, []byte("a")}, Slice{2, []byte("c")})
	o.Put(Slice{1, []byte("b")}) // too late
	s.Flush()
	for range 2 {
		o = wantLoad(t, s, id, "y")
		wantSlice(t, o, 0, []byte("a"))
		wantSlice(t, o, 2, []byte("c"))
		if o.Has(1) {
			t.Error("it has a slice that was put later")
		}
		o.Put(Slice{1, []byte("b")})
		s.check(t)
		s.Close()
		s, _ = openTest(t, dir, noLimit)
	}
	o = wantLoad(t, s, id, "y")
	o.SetMeta([]byte("z"))
	s.Flush()
	fill(s, "other", false, 3, 10)
	s.SetLimit(s.Stats().Bytes - 1)
	s.check(t)
	wantGone(t, s, id)
	if st := s.Stats(); st.Evicted != 2 || st.Slices != 3 || o.Has(0) || o.Has(2) {
		t.Errorf("%+v", st)
	}
	// One that does not fit is not begun.
	s.SetLimit(s.Stats().Bytes + 3*cost(1))
	o = put(s, id, "x", true, "a", "b", "c", "d", "e", "f", "g", "h", "i")
	s.check(t)
	wantGone(t, s, id)
	if st := s.Stats(); st.Slices != 0 && st.Slices != 3 || st.Skipped != 9 {
		t.Errorf("%+v", st)
	}
	// With more room it may be put again.
	s.SetLimit(noLimit)
	o.Put(Slice{0, []byte("a")})
	s.check(t)
	wantSlice(t, wantLoad(t, s, id, "x"), 0, []byte("a"))
}

// A version takes the place of others at once, and has nothing once another has
// taken its place.
func TestCreateReplaces(t *testing.T) {
	s, _ := openTest(t, memDir(t), noLimit)
	id := NewID("", "x")
	a := put(s, id, "a", false, "a")
	s.Flush()
	b := s.Create(id, []byte("b"), false)
	if a.Has(0) || a.Next(0) != -1 || s.Known(id) {
		t.Error("the old version is still there")
	}
	if _, err := a.Open(0); !errors.Is(err, ErrNotStored) {
		t.Error(err)
	}
	a.Put(Slice{1, []byte("a")})
	a.SetMeta([]byte("a2"))
	a.Remove()
	wantGone(t, s, id)
	b.Put(Slice{0, []byte("b")})
	c := put(s, id, "c", false, "c") // before b can be written
	s.check(t)
	wantSlice(t, wantLoad(t, s, id, "c"), 0, []byte("c"))
	if b.Has(0) || wantLoad(t, s, id, "c") != c {
		t.Error("the old version is still there")
	}
}

// Objects that nothing was ever put into are bounded.
func TestIdle(t *testing.T) {
	s, _ := openTest(t, memDir(t), noLimit)
	var first *Object
	for i := range 2 * maxIdle {
		o := s.Create(NewID("", fmt.Sprint(i)), nil, false)
		if i == 0 {
			first = o
		}
	}
	if len(s.objects) != maxIdle || s.idle.Len() != maxIdle {
		t.Errorf("there are %d objects", len(s.objects))
	}
	first.Put(Slice{0, []byte("x")})
	last := s.objects[NewID("", fmt.Sprint(2*maxIdle-1))]
	last.Put(Slice{0, []byte("x")})
	s.check(t)
	if first.Has(0) || !last.Has(0) {
		t.Error("it is not the oldest one that went")
	}
	if o := s.Create(NewID("", "big"), make([]byte, maxMeta+1), false); !o.gone {
		t.Error("the meta data is too much")
	}
}

// What is queued when Close is called is written, and what is put later is not.
func TestClose(t *testing.T) {
	dir := memDir(t)
	s, _ := openTest(t, dir, noLimit)
	s.Flush() // until then the disk is listed
	id := NewID("", "x")
	o := s.Create(id, []byte("x"), false)
	data := bytes.Repeat([]byte("x"), 100_000)
	const n = 30
	for i := range int64(n) {
		o.Put(Slice{i, data})
	}
	for range 2 {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	s.Flush()
	o.Put(Slice{n, data})
	o.SetMeta([]byte("y"))
	for i := range int64(n) {
		wantSlice(t, wantLoad(t, s, id, "x"), i, data)
	}
	s.SetLimit(0) // another may own the directory
	o.Remove()
	wantGone(t, s, id)
	s, _ = openTest(t, dir, noLimit)
	o = wantLoad(t, s, id, "x")
	if !o.Has(n-1) || o.Has(n) {
		t.Error("not as it was when it was closed")
	}
	s.check(t)
}

// What doesn't fit into the queue is skipped, and counted.
func TestQueue(t *testing.T) {
	g := newGate()
	s, _ := openTuned(t, memDir(t), noLimit, g.tuning())
	<-g.reached
	big := make([]byte, queueLimit+1)
	o := s.Create(NewID("", "x"), nil, false)
	o.Put(Slice{0, big})
	o.Put(Slice{1, []byte("x")})
	for i := range int64(20) {
		s.Create(NewID("", fmt.Sprint(i)), nil, true).Put(Slice{0, []byte("x")}, Slice{1, []byte("x")})
	}
	close(g.open)
	s.Flush()
	if st := s.Stats(); st.Written != 1 || st.Skipped != 41 {
		t.Errorf("%+v", st)
	}
	for i := range int64(64) {
		o.Put(Slice{i + 1, big[:1<<20]})
		o.SetMeta(fmt.Append(nil, i))
		s.Stats()
	}
	s.check(t)
	if st := s.Stats(); st.Written+st.Skipped != 1+41+64 {
		t.Errorf("%+v", st)
	}
	wantLoad(t, s, o.id, "63")
}

// A process that can open no more files for a moment forgets nothing: what could not
// be listed is listed later.
func TestListingFailsForAMoment(t *testing.T) {
	dir := memDir(t)
	s, _ := openTest(t, dir, noLimit)
	o := fill(s, "x", false, 1, 10)
	s.Close()
	tune := quick
	var failed atomic.Int32
	tune.listing = func(k byte) error {
		if k == o.id[0] && failed.Add(1) <= 3 {
			return syscall.EMFILE
		}
		return nil
	}
	recovered := make(chan struct{})
	s, err := open(dir, noLimit, Events{Recovered: sync.OnceFunc(func() { close(recovered) })}, tune)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	<-recovered
	for !s.Known(o.id) || s.Err() != nil || s.Stats().Loading {
		s.Flush()
	}
	s.check(t)
	if _, meta, err := s.Load(o.id); err != nil || string(meta) != "x" {
		t.Errorf("%q, %v", meta, err)
	}
}
