package byterange

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
)

func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"bytes=0-499", "bytes=500-", "bytes=-500", "bytes=0-0, -1", "BYTES=,0-1,,", "bytes=-0", "bytes=5-2",
		"bytes=0-99999999999999999999", "items=0-1", "bytes=--1", "bytes", "bytes=9-,5-8,0-4", "byte\u017f=0-1",
	} {
		f.Add(s, int64(1000))
	}
	f.Add("bytes=0-", int64(0))
	f.Add("bytes=-1", int64(-1))
	f.Add("bytes=-9223372036854775807", int64(maxInt))
	f.Fuzz(func(t *testing.T, header string, size int64) {
		specs, err := Parse(header)
		if err != nil {
			if specs != nil {
				t.Fatalf("%v with %v", specs, err)
			}
			return
		}
		if len(specs) < 1 || len(specs) > MaxRanges {
			t.Fatalf("%d specs", len(specs))
		}
		elems := make([]string, len(specs))
		for i, s := range specs {
			elems[i] = format(s)
		}
		again, err := Parse("bytes=" + strings.Join(elems, ","))
		if err != nil || !slices.Equal(again, specs) {
			t.Fatalf("round trip of %v: %v, %v", specs, again, err)
		}
		ranges, err := Resolve(specs, size)
		if (err != nil) != (len(ranges) == 0) {
			t.Fatalf("%v with %v", ranges, err)
		}
		checkRanges(t, ranges, size)
		if _, set, ok := strings.Cut(header, "="); ok {
			checkServed(t, "bytes="+set, ranges, size)
		}
	})
}

// checkServed compares what a field is resolved to with what net/http serves for it, if
// that is one range.
func checkServed(t *testing.T, header string, ranges []Range, size int64) {
	t.Helper()
	if size < 1 || size > 4096 {
		return
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	r.Header.Set("Range", header)
	w := httptest.NewRecorder()
	http.ServeContent(w, r, "x.opus", time.Time{}, bytes.NewReader(make([]byte, size)))
	served := w.Header().Get("Content-Range")
	if w.Code != http.StatusPartialContent || served == "" || w.Body.Len() == 0 {
		return // none, several, or the empty one that it makes of "-0"
	}
	if len(ranges) != 1 || ContentRange(ranges[0], size) != served {
		t.Errorf("%q of %d bytes is %v, but %s to net/http", header, size, ranges, served)
	}
}

func FuzzParseContentRange(f *testing.F) {
	for _, s := range []string{
		"bytes 42-1233/1234", "bytes 42-1233/*", "bytes */1234", "bytes */*", "Bytes 0-0/1", "bytes 0-1/1",
		"bytes 0-9223372036854775807/9223372036854775807", "items 0-1/2", "bytes 0-/5", "bytes -1/5",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		r, size, err := ParseContentRange(header)
		var again string
		switch {
		case err == nil:
			if r.Start < 0 || r.Len() <= 0 || size < -1 || size >= 0 && r.End > size {
				t.Fatalf("%q: %v of %d", header, r, size)
			}
			again = ContentRange(r, size)
		case errors.Is(err, ErrUnsatisfied):
			if r != (Range{}) || size < 0 {
				t.Fatalf("%q: %v of %d", header, r, size)
			}
			again = Unsatisfied(size)
		default:
			if r != (Range{}) || size != -1 {
				t.Fatalf("%q: %v of %d with %v", header, r, size, err)
			}
			return
		}
		r2, size2, err2 := ParseContentRange(again)
		if r2 != r || size2 != size || !errors.Is(err2, err) {
			t.Fatalf("round trip of %q: %v of %d, %v", header, r2, size2, err2)
		}
	})
}

// FuzzAnswer holds every answer that is taken to be a part of what was asked for.
func FuzzAnswer(f *testing.F) {
	f.Add("bytes=0-99", "bytes 0-99/1000", int64(100))
	f.Add("bytes=500-", "bytes 500-999/1000", int64(-1))
	f.Add("bytes=-5", "bytes 995-999/1000", int64(5))
	f.Add("bytes=-5", "bytes 995-999/*", int64(5))
	f.Add("bytes=0-1,5-6", "bytes 0-1/10", int64(2))
	f.Add("bytes=0-99", "bytes 0-4/1000", int64(5))
	f.Fuzz(func(t *testing.T, asked, contentRange string, length int64) {
		r, size, ok := Answer(asked, contentRange, length)
		if !ok {
			return
		}
		specs, err := Parse(asked)
		if err != nil || len(specs) != 1 {
			t.Fatalf("%q is answered: %v, %v", asked, specs, err)
		}
		first, last := specs[0].First, specs[0].Last
		if first < 0 { // the last so many bytes
			first, last = max(size-last, 0), size-1
		}
		if r.Start != first || r.Len() <= 0 || r.End > size || last >= 0 && r.End-1 > last {
			t.Errorf("%q is answered with %v of %d", asked, r, size)
		}
		if length >= 0 && length != r.Len() {
			t.Errorf("%d bytes are taken for %v", length, r)
		}
		if again, n, err := ParseContentRange(ContentRange(r, size)); err != nil || again != r || n != size {
			t.Errorf("%v of %d is %v of %d, %v", r, size, again, n, err)
		}
	})
}
