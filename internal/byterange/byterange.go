// Package byterange reads and writes the Range and Content-Range fields of
// RFC 9110, section 14, for the bytes unit. It knows nothing of requests,
// methods or If-Range: whether a Range field applies is the caller's to decide.
package byterange

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// MaxRanges is how many ranges one request may ask for. Each part of a
// multipart answer costs far more than the few bytes that request it, so an
// unbounded set is an amplifier (RFC 9110, section 17.15). Players and download
// managers ask for one.
const MaxRanges = 16

var (
	// ErrSyntax means that a field is malformed. A Range field is then ignored,
	// which section 14.2 allows; a Content-Range is not to be trusted (14.4).
	ErrSyntax = errors.New("byterange: malformed range")

	// ErrUnit means that a field is not in bytes. A server must ignore such a
	// Range field (section 14.2).
	ErrUnit = errors.New("byterange: range unit is not bytes")

	// ErrTooMany means that a Range field asks for more than MaxRanges ranges.
	// It is ignored: the answer is the whole object.
	ErrTooMany = errors.New("byterange: too many ranges")

	// ErrUnsatisfiable means that no requested range overlaps the object: the
	// answer is 416 with the Content-Range that Unsatisfied returns.
	ErrUnsatisfiable = errors.New("byterange: no satisfiable range")

	// ErrUnsatisfied means that a Content-Range is that of a 416, "bytes */N".
	ErrUnsatisfied = errors.New("byterange: range was not satisfied")
)

// Range is the half-open interval [Start, End) of an object's bytes.
type Range struct {
	Start, End int64
}

// Len returns the number of bytes in r.
func (r Range) Len() int64 { return r.End - r.Start }

// Spec is one requested range as written, before the object's size is known
// (section 14.1.1). It has one of three forms:
//
//	first-last   First >= 0, Last >= First; both positions included
//	first-       First >= 0, Last == -1
//	-length      First == -1, Last is the length of the suffix
type Spec struct {
	First, Last int64
}

// Resolve returns the part of an object of the given size that s asks for, cut
// off at the object's end, and whether there is one (section 14.1.2).
//
// An empty object has none. Section 14.1.2 does call a suffix of it satisfiable,
// but no Content-Range can describe zero bytes, so a caller that knows the size
// to be 0 does best to ignore the Range field, as section 14.2 allows.
func (s Spec) Resolve(size int64) (Range, bool) {
	if s.First < 0 {
		n := min(s.Last, size)
		if n <= 0 {
			return Range{}, false
		}
		return Range{size - n, size}, true
	}
	end := size
	if s.Last >= 0 && s.Last < size {
		end = s.Last + 1
	}
	if s.First >= end {
		return Range{}, false
	}
	return Range{s.First, end}, true
}

// Parse reads the value of a Range field (section 14.2). It returns at least
// one Spec, in the order of the field, or else ErrSyntax, ErrUnit or
// ErrTooMany, all of which mean that the field is to be ignored.
//
// Optional whitespace around a range and empty list elements are tolerated
// (section 5.6.1), whitespace within a range is not. A number beyond int64 is
// valid; it stands for the largest int64, which no object reaches.
func Parse(header string) ([]Spec, error) {
	// This wrapper is inlined, so that the one element which most fields have
	// lives on the stack of a caller that does not keep it.
	return parse(make([]Spec, 0, 1), header)
}

func parse(specs []Spec, header string) ([]Spec, error) {
	unit, set, found := strings.Cut(header, "=")
	if !found {
		return nil, ErrSyntax
	}
	if !isBytes(unit) {
		return nil, ErrUnit
	}
	for more := true; more; {
		var elem string
		elem, set, more = strings.Cut(set, ",")
		elem = strings.Trim(elem, " \t")
		if elem == "" {
			continue
		}
		if len(specs) == MaxRanges {
			return nil, ErrTooMany
		}
		s, ok := parseSpec(elem)
		if !ok {
			return nil, ErrSyntax
		}
		specs = append(specs, s)
	}
	if len(specs) == 0 {
		return nil, ErrSyntax
	}
	return specs, nil
}

func parseSpec(elem string) (Spec, bool) {
	first, last, ok := strings.Cut(elem, "-")
	if !ok || first == "" && last == "" {
		return Spec{}, false
	}
	s := Spec{-1, -1}
	if first != "" {
		if s.First, ok = parseNumber(first); !ok {
			return Spec{}, false
		}
	}
	if last != "" {
		// A suffix passes the comparison too: its First is -1.
		if s.Last, ok = parseNumber(last); !ok || s.Last < s.First {
			return Spec{}, false
		}
	}
	return s, true
}

// Resolve returns the parts of an object of the given size that specs ask for,
// or ErrUnsatisfiable if there are none; Spec.Resolve says what an empty object
// does. Unsatisfiable specs are dropped (section 14.1.1).
//
// Ranges that overlap or adjoin are coalesced (section 15.3.7.2), so the result
// never adds up to more than size. Otherwise the order of the request is kept;
// a coalesced range takes the place of the first one in it.
func Resolve(specs []Spec, size int64) ([]Range, error) {
	return resolve(make([]Range, 0, 1), specs, size) // inlined, see Parse
}

func resolve(ranges []Range, specs []Spec, size int64) ([]Range, error) {
	for _, s := range specs {
		if r, ok := s.Resolve(size); ok {
			ranges = coalesce(ranges, r)
		}
	}
	if len(ranges) == 0 {
		return nil, ErrUnsatisfiable
	}
	return ranges, nil
}

// coalesce adds r to ranges, no two of which overlap or adjoin, and keeps it so.
// One pass is enough: what the growing r comes to touch, r touched at first, or
// else two of the ranges would have touched each other.
func coalesce(ranges []Range, r Range) []Range {
	at, n := -1, 0
	for _, x := range ranges {
		if x.Start > r.End || r.Start > x.End {
			ranges[n] = x
			n++
			continue
		}
		r = Range{min(r.Start, x.Start), max(r.End, x.End)}
		if at < 0 {
			at = n
			n++
		}
	}
	if at < 0 {
		return append(ranges, r)
	}
	ranges[at] = r
	return ranges[:n]
}

// Header returns the value of a Range field that asks for r, which must not be
// empty. An End that is negative or math.MaxInt64 leaves the range open:
// "bytes=100-".
func Header(r Range) string {
	b := make([]byte, 0, 48)
	b = append(b, "bytes="...)
	b = strconv.AppendInt(b, r.Start, 10)
	b = append(b, '-')
	if r.End >= 0 && r.End < math.MaxInt64 {
		b = strconv.AppendInt(b, r.End-1, 10)
	}
	return string(b)
}

// ContentRange returns the value of the Content-Range field for r, which must
// not be empty, out of an object of the given size (section 14.4). A negative
// size is an unknown one: "bytes 0-99/*".
func ContentRange(r Range, size int64) string {
	b := make([]byte, 0, 72)
	b = append(b, "bytes "...)
	b = strconv.AppendInt(b, r.Start, 10)
	b = append(b, '-')
	b = strconv.AppendInt(b, r.End-1, 10)
	b = append(b, '/')
	if size < 0 {
		b = append(b, '*')
	} else {
		b = strconv.AppendInt(b, size, 10)
	}
	return string(b)
}

// Unsatisfied returns the value of the Content-Range field of a 416 answer for
// an object of the given size (section 15.5.17), which must be known.
func Unsatisfied(size int64) string {
	return "bytes */" + strconv.FormatInt(size, 10)
}

// ParseContentRange reads the value of a Content-Range field (section 14.4).
// The size is -1 where the field has "*". For "bytes */N" it returns the size N
// and ErrUnsatisfied; with any other error the size is -1.
//
// It is strict, since what follows is stored under the positions read here: no
// whitespace beyond the one space, a last position inside the object, and no
// number beyond int64.
func ParseContentRange(header string) (r Range, size int64, err error) {
	unit, resp, found := strings.Cut(header, " ")
	if !found {
		return Range{}, -1, ErrSyntax
	}
	if !isBytes(unit) {
		return Range{}, -1, ErrUnit
	}
	incl, complete, ok := strings.Cut(resp, "/")
	if !ok {
		return Range{}, -1, ErrSyntax
	}
	size = -1
	if complete != "*" {
		if size, ok = parseNumber(complete); !ok || size == math.MaxInt64 {
			return Range{}, -1, ErrSyntax
		}
	}
	if incl == "*" {
		if size < 0 {
			return Range{}, -1, ErrSyntax
		}
		return Range{}, size, ErrUnsatisfied
	}
	s, ok := parseSpec(incl)
	if !ok || s.First < 0 || s.Last < 0 || s.Last == math.MaxInt64 || size >= 0 && s.Last >= size {
		return Range{}, -1, ErrSyntax
	}
	return Range{s.First, s.Last + 1}, size, nil
}

// Answer reads the Content-Range of a 206 whose body has the given length, -1 if
// that is unknown, and reports whether it is what the Range field asked for: one
// range, of an object whose size it says. It must begin where it was asked to, or
// else there would be no telling a shifted body from a right one; it may end early
// (section 15.3.7).
func Answer(asked, contentRange string, length int64) (r Range, size int64, ok bool) {
	specs, err := Parse(asked)
	if err != nil || len(specs) != 1 {
		return Range{}, -1, false
	}
	r, size, err = ParseContentRange(contentRange)
	if err != nil || (length >= 0 && length != r.Len()) {
		return Range{}, -1, false
	}
	want, ok := specs[0].Resolve(size) // not ok if the size is unknown
	return r, size, ok && r.Start == want.Start && r.End <= want.End
}

// isBytes reports whether unit is bytes, in any case (section 14.1). The length
// keeps out what is equal under Unicode folding only, such as a long s.
func isBytes(unit string) bool {
	return len(unit) == len("bytes") && strings.EqualFold(unit, "bytes")
}

// parseNumber reads 1*DIGIT; a number beyond int64 yields the largest int64.
// strconv would take a sign, and stops at the overflow instead of at the end.
func parseNumber(s string) (n int64, ok bool) {
	for i := range len(s) {
		d := int64(s[i]) - '0'
		switch {
		case d < 0 || d > 9:
			return 0, false
		case n > (math.MaxInt64-d)/10:
			n = math.MaxInt64
		default:
			n = n*10 + d
		}
	}
	return n, s != ""
}
