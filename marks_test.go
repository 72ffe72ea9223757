package voyo

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestMarks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarks()
		defer m.Close()
		done := make(chan struct{})
		runs := 0
		work := func(context.Context) error {
			runs++
			<-done
			return nil
		}
		warm := func(key string) verdict {
			v, _, err := m.warm(key, nil, work)
			if err != nil {
				t.Error(err)
			}
			return v
		}
		check := func(when string, got, want verdict, size int) {
			t.Helper()
			synctest.Wait()
			if got != want || m.Len() != size {
				t.Errorf("%s: got %d and %d marks", when, got, m.Len())
			}
		}
		check("first", warm("a"), warmingBegins, 1)
		check("under way", warm("a"), warmAlready, 1)
		time.Sleep(10 * time.Minute)
		check("another", warm("b"), warmingBegins, 2)
		close(done)
		check("done", warm("a"), warmAlready, 2)
		time.Sleep(markTTL - 10*time.Minute)
		check("done long ago", warm("b"), warmAlready, 1)
		check("again", warm("a"), warmingBegins, 2)
		time.Sleep(markTTL)
		check("and again", warm("a"), warmingBegins, 1)
		time.Sleep(markTTL)
		if n := m.Len(); n != 0 || runs != 4 {
			t.Errorf("got %d marks and %d runs", n, runs)
		}
	})
}

func TestMarksBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarks()
		id := func(i int) string { return fmt.Sprintf("%011d", i) }
		running := make(chan struct{}, maxWarming+maxWaiting)
		hang := func(ctx context.Context) error {
			running <- struct{}{}
			<-ctx.Done()
			return ctx.Err()
		}
		for i := range maxWarming + maxWaiting {
			if got, _, _ := m.warm(id(i), nil, hang); got != warmingBegins {
				t.Fatalf("%d: got %d", i, got)
			}
		}
		synctest.Wait()
		if n := len(running); n != maxWarming {
			t.Errorf("%d are being warmed", n)
		}
		if got, _, _ := m.warm("another", nil, hang); got != warmingRefused {
			t.Errorf("got %d", got)
		}
		// what hangs is given up, and so is what waited all the time
		time.Sleep(warmTimeout)
		synctest.Wait()
		if n := m.Len(); n != 0 {
			t.Errorf("%d marks of what has failed", n)
		}
		for i := range 2 * maxMarks {
			if got, _, _ := m.warm(id(1000+i), nil, func(context.Context) error { return nil }); got != warmingBegins {
				t.Fatalf("%d: got %d", i, got)
			}
			time.Sleep(time.Second / warmRate)
			synctest.Wait()
		}
		if n := m.Len(); n != maxMarks {
			t.Errorf("got %d marks", n)
		}
		if got, _, _ := m.warm("hangs until the end", nil, hang); got != warmingBegins {
			t.Errorf("got %d", got)
		}
		m.Close()
		if got, _, _ := m.warm("too late", nil, hang); got != warmingRefused {
			t.Errorf("got %d", got)
		}
	})
}

// The permit is asked for work that is about to begin, and for nothing else.
func TestMarksPermit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarks()
		defer m.Close()
		over, asked := errors.New("over"), 0
		permit := func(err error) func() error {
			return func() error { asked++; return err }
		}
		runs := 0
		work := func(context.Context) error { runs++; return nil }
		for i, c := range []struct {
			permit func() error
			want   verdict
			err    error
			asked  int
			marks  int
		}{
			{permit(over), warmingRefused, over, 1, 0},
			{permit(nil), warmingBegins, nil, 2, 1},
			{permit(over), warmAlready, nil, 2, 1},
			{nil, warmAlready, nil, 2, 1},
		} {
			got, _, err := m.warm("a", c.permit, work)
			synctest.Wait()
			if got != c.want || err != c.err || asked != c.asked || m.Len() != c.marks {
				t.Errorf("%d: got %d, %v, after %d questions, with %d marks", i, got, err, asked, m.Len())
			}
		}
		if runs != 1 {
			t.Errorf("%d runs", runs)
		}
	})
}

func TestMarksForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarks()
		defer m.Close()
		failed := errors.New("failed")
		release := make(chan error)
		slow := func(context.Context) error { return <-release }
		_, first, _ := m.warm("a", nil, slow)
		_, _, _ = m.warm("b", nil, func(context.Context) error { return nil })
		m.forget("a", "never seen")
		what, second, _ := m.warm("a", nil, slow)
		if what != warmingBegins || second == first {
			t.Fatalf("got %d after the mark was forgotten", what)
		}
		release <- failed // of either of them: a failure takes no other one's mark
		release <- nil
		synctest.Wait()
		<-first.done
		<-second.done
		if (first.err == nil) == (second.err == nil) {
			t.Errorf("got %v and %v", first.err, second.err)
		}
		if what, w, _ := m.warm("b", nil, slow); what != warmAlready || w.err != nil {
			t.Errorf("another track: got %d", what)
		}
		m.forgetAll()
		if n := m.Len(); n != 0 {
			t.Errorf("%d marks are left", n)
		}
	})
}

// TestMarksBudget has more tracks warmed than may be at once, however fast they are.
func TestMarksBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarks()
		defer m.Close()
		const tracks = maxWarming + 4*warmRate
		began := time.Now()
		var last *warmth
		for i := range tracks {
			_, last, _ = m.warm(fmt.Sprint(i), nil, func(context.Context) error { return nil })
		}
		m.work.Wait()
		if took := time.Since(began); last.err != nil || took < 4*time.Second-time.Second/warmRate || took > 5*time.Second {
			t.Errorf("%d tracks took %s; %v", tracks, took, last.err)
		}
	})
}
