package byterange

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const maxInt = math.MaxInt64

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		header string
		want   []Spec
		err    error
	}{
		// RFC 9110, section 14.1.2.
		{header: "bytes=0-499", want: []Spec{{0, 499}}},
		{header: "bytes=500-999", want: []Spec{{500, 999}}},
		{header: "bytes=-500", want: []Spec{{-1, 500}}},
		{header: "bytes=9500-", want: []Spec{{9500, -1}}},
		{header: "bytes=0-0,-1", want: []Spec{{0, 0}, {-1, 1}}},
		{header: "bytes= 0-0, -1", want: []Spec{{0, 0}, {-1, 1}}},
		{header: "bytes= 0-999, 4500-5499, -1000", want: []Spec{{0, 999}, {4500, 5499}, {-1, 1000}}},
		{header: "bytes=500-600,601-999", want: []Spec{{500, 600}, {601, 999}}},
		{header: "bytes=500-700,601-999", want: []Spec{{500, 700}, {601, 999}}},

		// Valid, if odd.
		{header: "BYTES=0-1", want: []Spec{{0, 1}}},
		{header: "bytes=-0", want: []Spec{{-1, 0}}},
		{header: "bytes=007-010", want: []Spec{{7, 10}}},
		{header: "bytes=,\t0-1 ,, ,2-3,", want: []Spec{{0, 1}, {2, 3}}},
		{header: "bytes=0-9223372036854775807", want: []Spec{{0, maxInt}}},
		{header: "bytes=0-9223372036854775808", want: []Spec{{0, maxInt}}},
		{header: "bytes=-99999999999999999999", want: []Spec{{-1, maxInt}}},
		{header: "bytes=99999999999999999999-", want: []Spec{{maxInt, -1}}},
		{header: "bytes=" + list(MaxRanges), want: slices.Repeat([]Spec{{0, 1}}, MaxRanges)},

		{header: "items=0-1", err: ErrUnit},
		{header: "=0-1", err: ErrUnit},
		{header: "bytes =0-1", err: ErrUnit},
		{header: " bytes=0-1", err: ErrUnit},
		{header: "byte\u017f=0-1", err: ErrUnit},

		{header: "", err: ErrSyntax},
		{header: "bytes", err: ErrSyntax},
		{header: "bytes 0-1", err: ErrSyntax},
		{header: "bytes=", err: ErrSyntax},
		{header: "bytes=, ,", err: ErrSyntax},
		{header: "bytes=-", err: ErrSyntax},
		{header: "bytes=5", err: ErrSyntax},
		{header: "bytes=2-1", err: ErrSyntax},
		{header: "bytes=99999999999999999999-5", err: ErrSyntax},
		{header: "bytes=99999999999999999999x-", err: ErrSyntax},
		{header: "bytes=--5", err: ErrSyntax},
		{header: "bytes=+1-5", err: ErrSyntax},
		{header: "bytes=1-+5", err: ErrSyntax},
		{header: "bytes=1_0-20", err: ErrSyntax},
		{header: "bytes=0x1-2", err: ErrSyntax},
		{header: "bytes=0 -1", err: ErrSyntax},
		{header: "bytes=0- 1", err: ErrSyntax},
		{header: "bytes=1 0-20", err: ErrSyntax},
		{header: "bytes=0-1\n", err: ErrSyntax},
		{header: "bytes=0-1;2-3", err: ErrSyntax},
		{header: "bytes=0-1-2", err: ErrSyntax},
		{header: "bytes=0-1,x", err: ErrSyntax},
		{header: "bytes=0-1,bytes=2-3", err: ErrSyntax},
		{header: "bytes=\u0661-2", err: ErrSyntax},

		{header: "bytes=" + list(MaxRanges+1), err: ErrTooMany},
		{header: "bytes=" + list(100_000), err: ErrTooMany},
	} {
		got, err := Parse(tc.header)
		if !errors.Is(err, tc.err) || !slices.Equal(got, tc.want) {
			t.Errorf("Parse(%.40q) = %v, %v; want %v, %v", tc.header, got, err, tc.want, tc.err)
		}
	}
}

func TestSpecResolve(t *testing.T) {
	for _, tc := range []struct {
		spec Spec
		size int64
		want Range
		ok   bool
	}{
		{Spec{0, 499}, 10000, Range{0, 500}, true},
		{Spec{-1, 500}, 10000, Range{9500, 10000}, true},
		{Spec{9500, -1}, 10000, Range{9500, 10000}, true},
		{Spec{0, 9}, 10, Range{0, 10}, true},
		{Spec{0, 10}, 10, Range{0, 10}, true},
		{Spec{9, 9}, 10, Range{9, 10}, true},
		{Spec{9, -1}, 10, Range{9, 10}, true},
		{Spec{0, maxInt}, 10, Range{0, 10}, true},
		{Spec{0, maxInt}, maxInt, Range{0, maxInt}, true},
		{Spec{0, maxInt - 1}, maxInt, Range{0, maxInt}, true},
		{Spec{-1, 10}, 10, Range{0, 10}, true},
		{Spec{-1, maxInt}, 10, Range{0, 10}, true},
		{Spec{10, -1}, 10, Range{}, false},
		{Spec{10, 20}, 10, Range{}, false},
		{Spec{maxInt, -1}, maxInt, Range{}, false},
		{Spec{-1, 0}, 10, Range{}, false},
		{Spec{0, -1}, 0, Range{}, false},
		{Spec{0, 0}, 0, Range{}, false},
		{Spec{-1, 5}, 0, Range{}, false},
		{Spec{0, -1}, -1, Range{}, false},
		{Spec{-1, 5}, -1, Range{}, false},
		{Spec{5, 3}, 10, Range{}, false}, // not a valid Spec
	} {
		if got, ok := tc.spec.Resolve(tc.size); got != tc.want || ok != tc.ok {
			t.Errorf("%v.Resolve(%d) = %v, %v; want %v, %v", tc.spec, tc.size, got, ok, tc.want, tc.ok)
		}
	}
}

func TestResolve(t *testing.T) {
	for _, tc := range []struct {
		header string
		want   []Range // of 1000 bytes; none: unsatisfiable
	}{
		{"bytes=0-99", []Range{{0, 100}}},
		{"bytes=500-599,0-99,-1", []Range{{500, 600}, {0, 100}, {999, 1000}}},
		{"bytes=1000-,0-99", []Range{{0, 100}}},
		{"bytes=500-600,601-999", []Range{{500, 1000}}},
		{"bytes=500-700,601-999", []Range{{500, 1000}}},
		{"bytes=500-,300-399,0-599", []Range{{0, 1000}}},
		{"bytes=700-799,0-99,300-399,100-199", []Range{{700, 800}, {0, 200}, {300, 400}}},
		{"bytes=200-299,0-99,900-,100-199", []Range{{0, 300}, {900, 1000}}},
		{"bytes=0-1,3-4", []Range{{0, 2}, {3, 5}}},
		{"bytes=0-,0-,0-,0-", []Range{{0, 1000}}},
		{"bytes=1000-", nil},
		{"bytes=1000-,-0", nil},
	} {
		specs, err := Parse(tc.header)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Resolve(specs, 1000)
		if !slices.Equal(got, tc.want) || errors.Is(err, ErrUnsatisfiable) != (tc.want == nil) {
			t.Errorf("Resolve(%q) = %v, %v; want %v", tc.header, got, err, tc.want)
		}
	}
	if _, err := Resolve(nil, 1000); !errors.Is(err, ErrUnsatisfiable) {
		t.Errorf("Resolve(nil): got %v", err)
	}
}

func TestFormat(t *testing.T) {
	for _, tc := range []struct{ got, want string }{
		{Header(Range{0, 100}), "bytes=0-99"},
		{Header(Range{100, maxInt}), "bytes=100-"},
		{Header(Range{100, -1}), "bytes=100-"},
		{ContentRange(Range{0, 100}, 1234), "bytes 0-99/1234"},
		{ContentRange(Range{0, 100}, -1), "bytes 0-99/*"},
		{ContentRange(Range{maxInt - 1, maxInt}, maxInt), "bytes 9223372036854775806-9223372036854775806/9223372036854775807"},
		{Unsatisfied(1234), "bytes */1234"},
		{Unsatisfied(0), "bytes */0"},
	} {
		if tc.got != tc.want {
			t.Errorf("got %q, want %q", tc.got, tc.want)
		}
	}
}

func TestParseContentRange(t *testing.T) {
	for _, tc := range []struct {
		header string
		want   Range
		size   int64
		err    error
	}{
		// RFC 9110, section 14.4.
		{"bytes 42-1233/1234", Range{42, 1234}, 1234, nil},
		{"bytes 42-1233/*", Range{42, 1234}, -1, nil},
		{"bytes */1234", Range{}, 1234, ErrUnsatisfied},
		{"bytes 0-499/1234", Range{0, 500}, 1234, nil},
		{"bytes 734-1233/1234", Range{734, 1234}, 1234, nil},

		{"Bytes 0-0/1", Range{0, 1}, 1, nil},
		{"bytes */0", Range{}, 0, ErrUnsatisfied},
		{"bytes 0-9223372036854775806/*", Range{0, maxInt}, -1, nil},
		{"items 0-1/2", Range{}, -1, ErrUnit},
		{"byte\u017f 0-1/2", Range{}, -1, ErrUnit},
		{"bytes=0-1/2", Range{}, -1, ErrSyntax},
		{"", Range{}, -1, ErrSyntax},
		{"bytes", Range{}, -1, ErrSyntax},
		{"bytes ", Range{}, -1, ErrSyntax},
		{"bytes 0-1", Range{}, -1, ErrSyntax},
		{"bytes 0-1/", Range{}, -1, ErrSyntax},
		{"bytes 0-/2", Range{}, -1, ErrSyntax},
		{"bytes -1/2", Range{}, -1, ErrSyntax},
		{"bytes -/2", Range{}, -1, ErrSyntax},
		{"bytes 2-1/3", Range{}, -1, ErrSyntax},
		{"bytes 0-2/2", Range{}, -1, ErrSyntax},
		{"bytes 0-0/0", Range{}, -1, ErrSyntax},
		{"bytes */*", Range{}, -1, ErrSyntax},
		{"bytes */", Range{}, -1, ErrSyntax},
		{"bytes  0-1/2", Range{}, -1, ErrSyntax},
		{"bytes\t0-1/2", Range{}, -1, ErrSyntax},
		{"bytes 0-1/2 ", Range{}, -1, ErrSyntax},
		{"bytes 0-1 /2", Range{}, -1, ErrSyntax},
		{"bytes 0-1/-2", Range{}, -1, ErrSyntax},
		{"bytes 0-1/2/3", Range{}, -1, ErrSyntax},
		{"bytes 0-1/2, 3-4/5", Range{}, -1, ErrSyntax},
		{"bytes 0-9223372036854775807/*", Range{}, -1, ErrSyntax},
		{"bytes 0-1/99999999999999999999", Range{}, -1, ErrSyntax},
		{"bytes */99999999999999999999", Range{}, -1, ErrSyntax},
	} {
		got, size, err := ParseContentRange(tc.header)
		if !errors.Is(err, tc.err) || got != tc.want || size != tc.size {
			t.Errorf("ParseContentRange(%q) = %v, %d, %v; want %v, %d, %v",
				tc.header, got, size, err, tc.want, tc.size, tc.err)
		}
	}
}

// TestServeContent holds single ranges against net/http. The two differ only
// where net/http strays from RFC 9110: it serves zero bytes for "-0" and
// answers 416 to a malformed field or a number beyond int64.
func TestServeContent(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		object := bytes.Repeat([]byte("voyo!"), 20)[:rapid.IntRange(1, 100).Draw(t, "size")]
		size := int64(len(object))
		spec := drawSpec(t, size)
		if spec == (Spec{-1, 0}) {
			t.Skip("net/http answers 206 with no bytes")
		}
		header := "bytes=" + format(spec)

		req := httptest.NewRequest(http.MethodGet, "/", nil)
		req.Header.Set("Range", header)
		rec := httptest.NewRecorder()
		http.ServeContent(rec, req, "a.opus", time.Time{}, bytes.NewReader(object))

		specs, err := Parse(header)
		if err != nil {
			t.Fatal(err)
		}
		ranges, err := Resolve(specs, size)
		got := rec.Header().Get("Content-Range")
		if err != nil {
			if rec.Code != http.StatusRequestedRangeNotSatisfiable || got != Unsatisfied(size) {
				t.Fatalf("%s of %d: %v; net/http: %d %q", header, size, err, rec.Code, got)
			}
			return
		}
		r := ranges[0]
		if rec.Code != http.StatusPartialContent || got != ContentRange(r, size) ||
			!bytes.Equal(rec.Body.Bytes(), object[r.Start:r.End]) {
			t.Fatalf("%s of %d: %v; net/http: %d %q", header, size, r, rec.Code, got)
		}
	})
}

// TestResolveModel holds sets of ranges against a byte-by-byte model.
func TestResolveModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.Int64Range(0, 60).Draw(t, "size")
		specs := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) Spec { return drawSpec(t, size) }), 1, MaxRanges).Draw(t, "specs")
		want := make([]bool, size)
		var starts []int64 // of the satisfiable specs, in the order of the request
		for _, s := range specs {
			if r, ok := s.Resolve(size); ok {
				starts = append(starts, r.Start)
			}
			for i := range size {
				suffix := s.First < 0 && i >= size-s.Last
				inside := s.First >= 0 && i >= s.First && (s.Last < 0 || i <= s.Last)
				want[i] = want[i] || suffix || inside
			}
		}
		ranges, err := Resolve(specs, size)
		if errors.Is(err, ErrUnsatisfiable) == slices.Contains(want, true) {
			t.Fatalf("got %v, %v", ranges, err)
		}
		checkRanges(t, ranges, size)
		got := make([]bool, size)
		last := -1
		for _, r := range ranges {
			for i := r.Start; i < r.End; i++ {
				got[i] = true
			}
			place := slices.IndexFunc(starts, func(i int64) bool { return r.Start <= i && i < r.End })
			if place <= last {
				t.Fatalf("%v: order of the request not kept", ranges)
			}
			last = place
		}
		if !slices.Equal(got, want) {
			t.Fatalf("got %v, want %v", got, want)
		}
	})
}

func TestRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Range{Start: rapid.Int64Range(0, maxInt-2).Draw(t, "start")}
		r.End = rapid.Int64Range(r.Start+1, maxInt-1).Draw(t, "end")
		size := rapid.OneOf(rapid.Just[int64](-1), rapid.Int64Range(r.End, maxInt-1)).Draw(t, "size")

		got, gotSize, err := ParseContentRange(ContentRange(r, size))
		if err != nil || got != r || gotSize != size {
			t.Fatalf("Content-Range: got %v, %d, %v", got, gotSize, err)
		}
		specs, err := Parse(Header(r))
		if err != nil || len(specs) != 1 {
			t.Fatalf("Range: got %v, %v", specs, err)
		}
		if got, ok := specs[0].Resolve(r.End); !ok || got != r {
			t.Fatalf("Range: got %v, %v", got, ok)
		}
	})
}

// TestAllocs holds what the inlined wrappers are for.
func TestAllocs(t *testing.T) {
	if n := testing.AllocsPerRun(100, parseAndResolve); n != 0 {
		t.Errorf("%v allocations for a single range", n)
	}
}

func BenchmarkRange(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		parseAndResolve()
	}
}

func BenchmarkContentRange(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		s := ContentRange(Range{1 << 20, 2 << 20}, 5<<20)
		if _, _, err := ParseContentRange(s); err != nil {
			b.Fatal(err)
		}
	}
}

func parseAndResolve() {
	specs, err := Parse("bytes=1048576-2097151")
	if err != nil {
		panic(err)
	}
	ranges, err := Resolve(specs, 5<<20)
	if err != nil || ranges[0].Len() != 1<<20 {
		panic(fmt.Sprint(ranges[0], err))
	}
}

// checkRanges holds what Resolve promises of every result.
func checkRanges(t interface{ Fatalf(string, ...any) }, ranges []Range, size int64) {
	for i, r := range ranges {
		if r.Start < 0 || r.End > size || r.Len() <= 0 {
			t.Fatalf("%v is not within %d bytes", r, size)
		}
		for _, x := range ranges[:i] {
			if x.Start <= r.End && r.Start <= x.End {
				t.Fatalf("%v and %v are not coalesced", x, r)
			}
		}
	}
}

// drawSpec draws any form, often at the edge of the object.
func drawSpec(t *rapid.T, size int64) Spec {
	pos := rapid.OneOf(rapid.Int64Range(0, size+5), rapid.SampledFrom([]int64{0, max(0, size-1), size, maxInt}))
	switch rapid.IntRange(0, 2).Draw(t, "form") {
	case 0:
		return Spec{-1, pos.Draw(t, "suffix")}
	case 1:
		return Spec{pos.Draw(t, "first"), -1}
	}
	a, b := pos.Draw(t, "a"), pos.Draw(t, "b")
	return Spec{min(a, b), max(a, b)}
}

func format(s Spec) string {
	var first, last string
	if s.First >= 0 {
		first = strconv.FormatInt(s.First, 10)
	}
	if s.Last >= 0 {
		last = strconv.FormatInt(s.Last, 10)
	}
	return first + "-" + last
}

func list(n int) string { return strings.Repeat("0-1,", n) }

func TestAnswer(t *testing.T) {
	for _, c := range []struct {
		asked, contentRange string
		length              int64
		ok                  bool
	}{
		{"bytes=10-19", "bytes 10-19/100", 10, true},
		{"bytes=10-19", "bytes 10-19/100", -1, true},
		{"bytes=10-19", "bytes 10-14/100", 5, true}, // less is allowed
		{"bytes=10-", "bytes 10-99/100", 90, true},
		{"bytes=-5", "bytes 95-99/100", 5, true},
		{"bytes=10-19", "bytes 10-20/100", 11, false}, // more is not
		{"bytes=10-19", "bytes 9-19/100", 11, false},
		{"bytes=10-19", "bytes 11-19/100", 9, false},
		{"bytes=-5", "bytes 94-98/100", 5, false},
		{"bytes=10-19", "bytes 10-19/100", 9, false}, // another length
		{"bytes=10-19", "bytes 10-19/*", 10, false},  // of what?
		{"bytes=10-19", "bytes */100", 0, false},
		{"bytes=10-19", "", 10, false},
		{"", "bytes 10-19/100", 10, false},
		{"bytes=10-19,30-39", "bytes 10-19/100", 10, false},
		{"bytes=200-", "bytes 10-19/100", 10, false},
	} {
		if r, size, ok := Answer(c.asked, c.contentRange, c.length); ok != c.ok || ok && (r.Start < 0 || size != 100) {
			t.Errorf("%q, %q, %d: got %v, %d, %t", c.asked, c.contentRange, c.length, r, size, ok)
		}
	}
}
