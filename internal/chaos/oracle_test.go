package chaos

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// quiet is a script without trouble, of one object with versions.
func quiet(t *testing.T) (Script, Object) {
	t.Helper()
	return quietWith(t, "length")
}

// quietWith is quiet, of an object with the framing.
func quietWith(t *testing.T, framing string) (Script, Object) {
	t.Helper()
	for seed := uint64(0); ; seed++ {
		s := Draw(seed)
		o := s.Object(s.Paths()[0])
		if !o.Missing && o.Validator == "etag" && o.Control == "" && o.Framing == framing && o.Size > 100_000 {
			s.Trouble = 0
			return s, o
		}
	}
}

// TestContent checks that bytes do not depend on how they are asked for.
func TestContent(t *testing.T) {
	for _, path := range []string{"/audio/x/128.opus", "/art/x/default.png"} {
		all := Body(path, 3, 0, 10_000)
		for off := range int64(100) {
			for _, n := range []int64{0, 1, 7, 8, 9, 5000} {
				if !bytes.Equal(Body(path, 3, off, n), all[off:off+n]) {
					t.Fatalf("%s: %d bytes from %d on are others", path, n, off)
				}
			}
		}
		if other := Body(path, 4, 0, 10_000); bytes.Equal(other[100:200], all[100:200]) {
			t.Error("two versions are the same")
		}
		if !strings.HasSuffix(path, ".png") == bytes.HasPrefix(all, []byte(pngSignature)) {
			t.Errorf("%s begins with %q", path, all[:8])
		}
	}
}

// TestDraw checks that a seed says the same each time, and says something else than
// another one.
func TestDraw(t *testing.T) {
	if a, b := Draw(7).String(), Draw(7).String(); a != b {
		t.Errorf("got %s, then %s", a, b)
	}
	if a, b := Draw(7).String(), Draw(8).String(); a == b {
		t.Errorf("two seeds have one script: %s", a)
	}
}

// TestCheckSeesThrough holds that the oracle accepts what is right, and sees each way in
// which an edge could be wrong.
func TestCheckSeesThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o := quiet(t)
		s.Node.TTL, s.Node.Revalidate, s.Node.IfError = time.Minute, 0, 0
		l := newLedger(s)
		old := l.Now()
		l.claim(o, 0, o.SizeOf(0))
		l.Change(o.Path)
		l.claim(o, 1, o.SizeOf(1))
		size := o.SizeOf(1)
		right := func() Answer {
			return Answer{
				Visit: s.Plain(o.Path), Since: l.Now(), Status: 200, Whole: true, Marked: true, Body: Body(o.Path, 1, 0, size),
				Header: http.Header{"Etag": {o.Tag(1)}, "Content-Length": {fmt.Sprint(size)}},
			}
		}
		part := func() Answer {
			a := right()
			a.Status, a.Body = 206, a.Body[100:300]
			a.Visit.Header = http.Header{"Range": {"bytes=100-299"}}
			a.Header.Set("Content-Range", fmt.Sprintf("bytes 100-299/%d", size))
			a.Header.Set("Content-Length", "200")
			return a
		}
		refusal := func() Answer {
			return Answer{
				Visit: s.Plain(o.Path), Since: l.Now(), Status: 502, Whole: true, Marked: true, Body: []byte(`{"error":"VOYO stream temporarily unavailable"}`),
				Header: http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}},
			}
		}
		for _, a := range []Answer{right(), part(), refusal()} {
			if _, err := l.Check(a); err != nil {
				t.Errorf("status %d: %v", a.Status, err)
			}
		}
		for what, wrong := range map[string]func() Answer{
			"a flipped byte":      func() Answer { a := right(); a.Body[7777] ^= 1; return a },
			"a lost byte":         func() Answer { a := right(); a.Body = slices.Delete(a.Body, 50, 51); return a },
			"a truncated body":    func() Answer { a := right(); a.Body = a.Body[:9000]; a.Header.Del("Content-Length"); return a },
			"a spliced body":      func() Answer { a := right(); Fill(a.Body[5000:], o.Path, 0, 5000); return a },
			"another tag":         func() Answer { a := right(); a.Header.Set("Etag", o.Tag(0)); return a },
			"a tag of nobody's":   func() Answer { a := right(); a.Header.Set("Etag", `"x"`); return a },
			"a version to come":   func() Answer { a := right(); a.Body = Body(o.Path, 2, 0, size); a.Header.Del("Etag"); return a },
			"a cookie":            func() Answer { a := right(); a.Header.Set("Set-Cookie", "a=b"); return a },
			"a server's name":     func() Answer { a := right(); a.Header.Set("Server", "x"); return a },
			"a secret":            func() Answer { a := refusal(); a.Body = []byte(`{"error":"` + Secret + `"}`); return a },
			"a part from the off": func() Answer { a := part(); copy(a.Body, Body(o.Path, 1, 0, 200)); return a },
			"another part":        func() Answer { a := part(); a.Visit.Header.Set("Range", "bytes=100-300"); return a },
			"another total":       func() Answer { a := part(); a.Header.Set("Content-Range", "bytes 100-299/5000000"); return a },
			"a refusal in HTML":   func() Answer { a := refusal(); a.Body = []byte("<html>"); return a },
			"a kept refusal":      func() Answer { a := refusal(); a.Header.Del("Cache-Control"); return a },
			"an unfounded 404":    func() Answer { a := refusal(); a.Status = 404; return a },
			"no end":              func() Answer { a := right(); a.Err = fail("read", timeoutError{}); return a },
			"a purged version": func() Answer {
				a := right()
				a.Since.floors[o.Path] = 2
				return a
			},
			"a stale version": func() Answer {
				a := right()
				a.Since.at = old.at.Add(time.Minute + 1)
				return a
			},
		} {
			if verdict, err := l.Check(wrong()); err == nil {
				t.Errorf("%s is taken for %s", what, verdict)
			}
		}
	})
}

// TestSound holds that an answer may be broken in the end where an edge could not know
// better, and as often as that, and no more.
func TestSound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			framing     string
			lies, large bool
			broken      int // times that it may be
		}{
			{"length", false, true, 0},
			{"length", true, true, 1},
			{"chunked", false, false, 1},
			{"chunked", false, true, 1},
			{"chunked", true, false, 1},
			{"chunked", true, true, 2},
		} {
			s, o := quietWith(t, tt.framing)
			s.Node.Memory, s.Node.MaxObject = 1<<20, 0
			if tt.large {
				s.Node.MaxObject = o.Size - 1
			}
			l := newLedger(s)
			l.claim(o, 0, o.Size)
			if tt.lies {
				l.claim(o, 0, o.Size+1)
			}
			a := Answer{
				Visit: s.Plain(o.Path), Since: l.Now(), Status: 200, Marked: true, Body: Body(o.Path, 0, 0, o.Size),
				Header: http.Header{"Etag": {o.Tag(0)}}, Err: io.ErrUnexpectedEOF,
			}
			a.Visit.Paths = []string{o.Path}
			for n := range 4 {
				again, err := l.Sound(a, n)
				if may := n < tt.broken; again != may || (err == nil) != may {
					t.Errorf("%+v: broken after %d that were: %t, %v", tt, n, again, err)
				}
			}
			a.Whole, a.Err = true, nil
			if again, err := l.Sound(a, 0); again || err != nil {
				t.Errorf("%+v: what is whole: %t, %v", tt, again, err)
			}
		}
	})
}

// timeoutError is that of a deadline.
type timeoutError struct{}

func (timeoutError) Error() string   { return "timeout" }
func (timeoutError) Timeout() bool   { return true }
func (timeoutError) Temporary() bool { return true }
