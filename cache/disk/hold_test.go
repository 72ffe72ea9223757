package disk

import (
	"errors"
	"os"
	"testing"
)

// Who holds an object has its slices though another version has taken its place, until he
// lets go of it. After a restart there is the other one alone.
func TestHold(t *testing.T) {
	for _, whole := range []bool{false, true} {
		dir := memDir(t)
		s, _ := openTest(t, dir, noLimit)
		a := put(s, NewID("", "x"), "a", whole, "a0", "a1")
		s.Flush()
		a.Hold()
		a.Hold()
		b := put(s, a.id, "b", whole, "b0", "b1")
		s.check(t)
		a.Put(Slice{2, []byte("too late")})
		a.Release()
		a.Remove()
		s.check(t)
		wantSlice(t, a, 0, []byte("a0"))
		wantSlice(t, a, 1, []byte("a1"))
		wantSlice(t, wantLoad(t, s, a.id, "b"), 1, []byte("b1"))
		if !a.Removed() || a.Next(2) != -1 {
			t.Error("the old version is not a removed one")
		}
		a.Release()
		s.check(t)
		if st := s.Stats(); a.Has(0) || !b.Has(0) || st.Slices != 2 {
			t.Errorf("%+v", st)
		}
		b.Hold()
		b.Remove()
		s.Close()
		b.Release()
		s, _ = openTest(t, dir, noLimit)
		wantGone(t, s, b.id)
		s.check(t)
		if _, files := onDisk(dir); files > 0 {
			t.Errorf("%d files are left", files)
		}
	}
}

// What is held and was removed makes room like anything else, is purged, and is gone with
// its directory.
func TestHeldSlicesGo(t *testing.T) {
	s, l := openTest(t, memDir(t), noLimit)
	for _, whole := range []bool{false, true} {
		for what, end := range map[string]func(o *Object){
			"room":  func(*Object) { s.SetLimit(layout) },
			"purge": func(o *Object) { must(t, s.Purge(o.id)) },
			"damage": func(o *Object) {
				flip(t, pathOf(o, 1))
				if _, err := o.Open(1); !errors.Is(err, ErrDamaged) {
					t.Error(err)
				}
				wantSlice(t, o, 0, content(o.id, "", 0, 10))
			},
			"directory": func(*Object) {
				must(t, os.RemoveAll(s.dir))
				recovered := l.count("recovered")
				fill(s, "y", false, 1, 10)
				l.wait("recovered", recovered+1)
			},
		} {
			o := fill(s, "x", whole, 2, 10)
			o.Hold()
			o.Remove()
			wantSlice(t, o, 1, content(o.id, "", 1, 10))
			end(o)
			s.check(t)
			if o.Has(1) {
				t.Errorf("%s, whole %t: it is still there", what, whole)
			}
			o.Release()
			s.check(t)
			if o.Has(0) {
				t.Errorf("%s, whole %t: it is still there when nobody holds it", what, whole)
			}
			s.SetLimit(noLimit)
		}
	}
}
