package disk

import (
	"fmt"
	"testing"
)

// A limit that shrinks is kept soon, at once and after a restart.
func TestLimitShrinks(t *testing.T) {
	dir := memDir(t)
	s, _ := openTest(t, dir, noLimit)
	for i := range 20 {
		fill(s, fmt.Sprint(i), false, 3, 10_000)
	}
	full := s.Stats().Bytes
	for _, limit := range []int64{full, full - 1, full / 2, layout + cost(10_000), layout, 0, -1} {
		s.SetLimit(limit)
		s.check(t)
		if st := s.Stats(); st.Bytes > max(limit, layout) || st.Limit != limit {
			t.Errorf("%+v", st)
		}
	}
	o := fill(s, "x", false, 1, 1) // does not fit
	if st := s.Stats(); o.Has(0) || st.Skipped != 1 || s.Err() != nil || st.Objects != 0 {
		t.Errorf("%+v", st)
	}
	s.SetLimit(noLimit)
	fill(s, "y", false, 9, 10_000)
	fill(s, "z", false, 1, 10_000)
	s.Close()
	s, _ = openTest(t, dir, layout+3*cost(10_000))
	s.check(t)
	if st := s.Stats(); st.Bytes > st.Limit || st.Slices == 0 {
		t.Errorf("%+v", st)
	}
	wantSlice(t, wantLoad(t, s, NewID("test", "z"), "z"), 0, content(NewID("test", "z"), "", 0, 10_000))
}

// A slice for which another of its own object has to go takes its place.
func TestLimitOfOneSlice(t *testing.T) {
	s, _ := openTest(t, memDir(t), layout+cost(10)+cost(10_000))
	o := s.Create(NewID("", "x"), []byte("x"), false)
	for i := range int64(3) {
		o.Put(Slice{i, content(o.id, "", i, 10_000)})
	}
	s.check(t)
	wantSlice(t, wantLoad(t, s, o.id, "x"), 2, content(o.id, "", 2, 10_000))
	if o.Next(0) != 2 {
		t.Error("there are more")
	}
}
