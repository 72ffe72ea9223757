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
		check := func(when string, got, want verdict, size int) {
			t.Helper()
			synctest.Wait()
			if got != want || m.Len() != size {
				t.Errorf("%s: got %d and %d marks", when, got, m.Len())
			}
		}
		check("first", verdictOf(m.warm("a", work)), warmingBegins, 1)
		check("under way", verdictOf(m.warm("a", work)), warmAlready, 1)
		time.Sleep(10 * time.Minute)
		check("another", verdictOf(m.warm("b", work)), warmingBegins, 2)
		close(done)
		check("done", verdictOf(m.warm("a", work)), warmAlready, 2)
		time.Sleep(markTTL - 10*time.Minute)
		check("done long ago", verdictOf(m.warm("b", work)), warmAlready, 1)
		check("again", verdictOf(m.warm("a", work)), warmingBegins, 2)
		time.Sleep(markTTL)
		check("and again", verdictOf(m.warm("a", work)), warmingBegins, 1)
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
			if got, _ := m.warm(id(i), hang); got != warmingBegins {
				t.Fatalf("%d: got %d", i, got)
			}
		}
		synctest.Wait()
		if n := len(running); n != maxWarming {
			t.Errorf("%d are being warmed", n)
		}
		if got, _ := m.warm("another", hang); got != warmingRefused {
			t.Errorf("got %d", got)
		}
		// what hangs is given up, and so is what waited all the time
		time.Sleep(warmTimeout)
		synctest.Wait()
		if n := m.Len(); n != 0 {
			t.Errorf("%d marks of what has failed", n)
		}
		for i := range 2 * maxMarks {
			if got, _ := m.warm(id(1000+i), func(context.Context) error { return nil }); got != warmingBegins {
				t.Fatalf("%d: got %d", i, got)
			}
			synctest.Wait()
		}
		if n := m.Len(); n != maxMarks {
			t.Errorf("got %d marks", n)
		}
		m.warm("hangs until the end", hang)
		m.Close()
		if got, _ := m.warm("too late", hang); got != warmingRefused {
			t.Errorf("got %d", got)
		}
	})
}

func verdictOf(v verdict, _ *warmth) verdict { return v }

func TestMarksForget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := newMarks()
		defer m.Close()
		failed := errors.New("failed")
		release := make(chan error)
		slow := func(context.Context) error { return <-release }
		_, first := m.warm("a", slow)
		m.warm("b", func(context.Context) error { return nil })
		m.forget("a", "never seen")
		what, second := m.warm("a", slow)
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
		if what, w := m.warm("b", slow); what != warmAlready || w.err != nil {
			t.Errorf("another track: got %d", what)
		}
		m.forgetAll()
		if n := m.Len(); n != 0 {
			t.Errorf("%d marks are left", n)
		}
	})
}
