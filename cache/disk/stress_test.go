package disk

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"

	"pgregory.net/rapid"
)

// TestStress lets many do everything at once: whatever is read is what was put into
// the version that it is read from, and all is counted right in the end.
func TestStress(t *testing.T) {
	const keys, workers, acts = 8, 8, 400
	dir := memDir(t)
	tune := quick
	tune.touch = 0
	for round := range 4 {
		s, l := openTuned(t, dir, layout+1<<20, tune)
		var mu sync.Mutex
		handles := make([]*Object, keys) // the latest of each key, and their versions
		versions := make(map[*Object]string)
		var wg sync.WaitGroup
		for w := range workers {
			wg.Go(func() {
				rnd := rand.New(rand.NewPCG(uint64(round), uint64(w)))
				for i := range acts {
					k := rnd.IntN(keys)
					id := NewID("stress", fmt.Sprint(k))
					mu.Lock()
					o := handles[k]
					version := versions[o]
					mu.Unlock()
					if rnd.IntN(10) == 0 || o == nil {
						version = fmt.Sprintf("%d.%d.%d", round, w, i)[:5]
						o = s.Create(id, []byte(version), k%3 == 0)
						mu.Lock()
						handles[k], versions[o] = o, version
						mu.Unlock()
					}
					stressAct(t, s, rnd, o, version)
				}
			})
		}
		wg.Wait()
		s.SetLimit(layout + 1<<20)
		s.check(t)
		if st := s.Stats(); st.Bytes > st.Limit || st.Written == 0 || len(l.lines) > 0 {
			t.Errorf("%+v %v", st, l.lines)
		}
		s.Close()
	}
}

func stressAct(t *testing.T, s *Store, rnd *rand.Rand, o *Object, version string) {
	t.Helper()
	i := rnd.Int64N(10)
	switch rnd.IntN(12) {
	case 0:
		s.SetLimit(layout + rnd.Int64N(2<<20))
	case 1:
		if rnd.IntN(4) == 0 {
			o.Remove()
		}
	case 2:
		o.SetMeta([]byte(version))
	case 3:
		if loaded, meta, err := s.Load(o.id); err == nil {
			o, version = loaded, string(meta)
		} else if !errors.Is(err, ErrNotStored) {
			t.Error(err)
		}
		fallthrough
	case 4, 5, 6:
		o.Hold()
		defer o.Release()
		for i := o.Next(0); i >= 0; i = o.Next(i + 1) {
			b, err := read(t, o, i)
			if err != nil && !errors.Is(err, ErrNotStored) || err == nil && !bytes.Equal(b, content(o.id, version, i, sizeOf(version, i))) {
				t.Errorf("%d bytes, %v", len(b), err)
			}
		}
	case 7:
		s.Flush()
		s.Stats()
		s.Known(o.id)
	default:
		o.Put(Slice{i, content(o.id, version, i, sizeOf(version, i))}, Slice{i + 1, content(o.id, version, i+1, sizeOf(version, i+1))})
	}
}

// model is what a store should hold.
type model struct {
	s       *Store
	objects map[ID]*modelObject
	order   []modelSlice // of their use, the last one last; nil if it is not known
	ordered bool
}

type modelObject struct {
	o      *Object
	meta   string
	whole  bool
	slices map[int64]string
}

type modelSlice struct {
	id ID
	i  int64
}

func (m *model) use(id ID, i int64) {
	m.unuse(func(x modelSlice) bool { return x == modelSlice{id, i} })
	m.order = append(m.order, modelSlice{id, i})
}

func (m *model) unuse(match func(modelSlice) bool) {
	var rest []modelSlice
	for _, x := range m.order {
		if !match(x) {
			rest = append(rest, x)
		}
	}
	m.order = rest
}

func (m *model) remove(id ID) {
	delete(m.objects, id)
	m.unuse(func(x modelSlice) bool { return x.id == id })
}

func (m *model) put(rt *rapid.T, id ID) {
	x := m.objects[id]
	var parts []Slice
	for range rapid.IntRange(1, 3).Draw(rt, "slices") {
		i := rapid.Int64Range(0, 4).Draw(rt, "index")
		parts = append(parts, Slice{i, []byte(rapid.StringN(0, 20, 20).Draw(rt, "data"))})
	}
	fresh := len(x.slices) == 0
	x.o.Put(parts...)
	m.s.Flush()
	if x.whole && !fresh {
		return
	}
	var written []int64
	for _, p := range parts {
		if _, there := x.slices[p.Index]; !there {
			x.slices[p.Index] = string(p.Data)
			written = append(written, p.Index)
		}
	}
	if x.whole { // they are written in the order of their indices
		for i := range int64(5) {
			if _, there := x.slices[i]; there {
				m.use(id, i)
			}
		}
		return
	}
	for _, i := range written {
		m.use(id, i)
	}
}

func (m *model) evict() {
	if len(m.order) == 0 || !m.ordered {
		return
	}
	m.s.SetLimit(m.s.Stats().Bytes - 1)
	m.s.Flush()
	m.s.SetLimit(noLimit)
	oldest := m.order[0]
	x := m.objects[oldest.id]
	if delete(x.slices, oldest.i); x.whole || len(x.slices) == 0 {
		m.remove(oldest.id)
		return
	}
	m.order = m.order[1:]
}

func (m *model) compare(t *testing.T) {
	t.Helper()
	parts := 0
	for id, x := range m.objects {
		parts += len(x.slices)
		if len(x.slices) == 0 {
			wantGone(t, m.s, id)
			continue
		}
		o := wantLoad(t, m.s, id, x.meta)
		last := int64(-1)
		for range len(x.slices) {
			last = o.Next(last + 1)
			if _, there := x.slices[last]; !there {
				t.Errorf("there is a slice %d", last)
			}
		}
		if o.Next(last+1) != -1 {
			t.Error("there are too many slices")
		}
	}
	if st := m.s.Stats(); st.Slices != parts {
		t.Errorf("%+v, want %d slices", st, parts)
	}
	m.s.check(t)
}

// TestModel compares a store with a map, through restarts, evictions and damage.
func TestModel(t *testing.T) {
	ids := []ID{idIn(1, "a"), idIn(1, "b"), idIn(2, "c")}
	rapid.Check(t, func(rt *rapid.T) {
		dir := memDir(t)
		defer os.RemoveAll(dir)
		m := &model{objects: make(map[ID]*modelObject), ordered: true}
		m.s, _ = openTest(t, dir, noLimit)
		m.s.Flush()
		for range rapid.IntRange(1, 25).Draw(rt, "acts") {
			id := rapid.SampledFrom(ids).Draw(rt, "id")
			x := m.objects[id]
			act := rapid.SampledFrom([]string{"create", "put", "put", "put", "open", "open", "evict", "remove", "meta", "damage", "restart"}).Draw(rt, "act")
			switch {
			case act == "create" || x == nil:
				m.remove(id)
				x = &modelObject{meta: rapid.StringN(0, 10, 10).Draw(rt, "meta"), whole: rapid.Bool().Draw(rt, "whole"), slices: make(map[int64]string)}
				x.o = m.s.Create(id, []byte(x.meta), x.whole)
				m.objects[id] = x
			case act == "put":
				m.put(rt, id)
			case act == "open" || act == "damage":
				i := x.o.Next(rapid.Int64Range(0, 4).Draw(rt, "index"))
				if i < 0 {
					continue
				}
				if act == "open" {
					wantSlice(t, x.o, i, []byte(x.slices[i]))
					m.use(id, i)
					continue
				}
				if x.whole || len(x.slices) == 1 {
					continue // see TestDamageOfTheLastSlice
				}
				must(t, os.Truncate(pathOf(x.o, i), int64(len(x.slices[i])+1)))
				if _, err := x.o.Open(i); !errors.Is(err, ErrDamaged) {
					t.Error(err)
				}
				delete(x.slices, i)
				m.unuse(func(y modelSlice) bool { return y == modelSlice{id, i} })
			case act == "evict":
				m.evict()
			case act == "remove":
				x.o.Remove()
				m.remove(id)
			case act == "meta":
				x.meta = rapid.StringN(0, 10, 10).Draw(rt, "meta")
				x.o.SetMeta([]byte(x.meta))
			case act == "restart":
				m.s.Close()
				m.s, _ = openTest(t, dir, noLimit)
				m.ordered = false // times are too coarse
				for id, x := range m.objects {
					if len(x.slices) == 0 {
						m.remove(id)
						continue
					}
					x.o = wantLoad(t, m.s, id, x.meta)
				}
			}
			m.compare(t)
			if t.Failed() {
				rt.FailNow()
			}
		}
		m.s.Close()
	})
}
