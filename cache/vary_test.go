package cache

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestVaryFields(t *testing.T) {
	var most []string
	for i := range maxVary {
		most = append(most, fmt.Sprintf("A-%02d", i))
	}
	tests := []struct {
		vary, names []string
		ok          bool
	}{
		{nil, nil, true},
		{[]string{""}, nil, true},
		{[]string{"accept"}, []string{"Accept"}, true},
		{[]string{"foo ,, bar", "BAR,\tbaz"}, []string{"Bar", "Baz", "Foo"}, true},
		{[]string{"*"}, nil, false},
		{[]string{"*, *"}, nil, false},
		{[]string{", *"}, nil, false},
		{[]string{"", "*"}, nil, false},
		{[]string{"foo, *"}, nil, false},
		{[]string{"*, foo"}, nil, false},
		{[]string{"foo", "*"}, nil, false},
		{[]string{"accept encoding"}, nil, false},
		{[]string{strings.Join(most, ","), most[0]}, most, true},
		{[]string{strings.Join(most, ","), "b"}, nil, false},
	}
	for _, tt := range tests {
		if names, ok := varyFields(http.Header{"Vary": tt.vary}); ok != tt.ok || !slices.Equal(names, tt.names) {
			t.Errorf("%q: %q, %t", tt.vary, names, ok)
		}
	}
}

func TestVariantKey(t *testing.T) {
	tests := []struct {
		name string
		a, b http.Header
		same bool
	}{
		{"nothing", answerHeader(), answerHeader(), true},
		{"other fields", answerHeader("Other: 1"), answerHeader("Other: 2"), true},
		{"the same", answerHeader("Foo: 1"), answerHeader("Foo: 1"), true},
		{"another", answerHeader("Foo: 1"), answerHeader("Foo: 2"), false},
		{"case", answerHeader("Foo: a"), answerHeader("Foo: A"), false},
		{"absent", answerHeader("Foo: 1"), answerHeader(), false},
		{"absent, not empty", answerHeader("Foo: "), answerHeader(), false},
		{"absent, not a list of nothing", answerHeader("Accept: "), answerHeader(), false},
		{"another field", answerHeader("Foo: 1"), answerHeader("Bar: 1"), false},
		{"lines", answerHeader("Foo: 1, 2"), answerHeader("Foo: 1", "Foo: 2"), true},
		{"blanks", answerHeader("Foo: 1,2"), answerHeader("Foo:  1, 2\t"), true},
		{"blanks within", answerHeader("Foo: 1 2"), answerHeader("Foo: 12"), false},
		{"order", answerHeader("Foo: 1, 2"), answerHeader("Foo: 2, 1"), false},
		{"empty members", answerHeader("Foo: 1,,2"), answerHeader("Foo: 1,2"), false},
		{"blanks in a quoted string", answerHeader(`Foo: "1,2"`), answerHeader(`Foo: "1, 2"`), false},
		{"blanks in a comment", answerHeader("User-Agent: x (a,b)"), answerHeader("User-Agent: x (a, b)"), false},
		{"no list", answerHeader("Cookie: a=1,b=2"), answerHeader("Cookie: a=1", "Cookie: b=2"), false},
		{"values that look like another field's", answerHeader("Foo: 1-3:Bar1=1:2"), answerHeader("Foo: 1", "Bar: 2"), false},

		{"preferences in another order", answerHeader("Accept-Language: en, de"), answerHeader("Accept-Language: de, en"), true},
		{"preferences in another case", answerHeader("Accept-Language: en, de"), answerHeader("Accept-Language: eN, De"), true},
		{"preferences with blanks", answerHeader("Accept-Language: en, de"), answerHeader("Accept-Language:  en ,   de"), true},
		{"preferences on lines, and empty ones", answerHeader("Accept-Encoding: gzip,, br"), answerHeader("Accept-Encoding: br", "Accept-Encoding: gzip"), true},
		{"full weight", answerHeader("Accept-Encoding: gzip;q=1.000, br"), answerHeader("Accept-Encoding: gzip, br ; Q=1"), true},
		{"weights", answerHeader("Accept-Encoding: gzip;q=0.500, br;q=0.0"), answerHeader("Accept-Encoding: gzip; q=0.5, br;q=0"), true},
		{"another weight", answerHeader("Accept-Encoding: gzip;q=0.5"), answerHeader("Accept-Encoding: gzip;q=0.05"), false},
		{"no weight at all", answerHeader("Accept-Encoding: gzip"), answerHeader("Accept-Encoding: gzip;q=0"), false},
		{"not a weight", answerHeader("Accept-Encoding: gzip"), answerHeader("Accept-Encoding: gzip;q=1.5"), false},
		{"too exact a weight", answerHeader("Accept-Encoding: gzip;q=0.1"), answerHeader("Accept-Encoding: gzip;q=0.1000"), false},
		{"other parameters", answerHeader("Accept: Text/HTML; level=1"), answerHeader("Accept: text/html;level=1;q=1"), true},
		{"other parameters' case", answerHeader("Accept: a/b;c=d"), answerHeader("Accept: a/b;c=D"), false},
		{"another preference", answerHeader("Accept-Language: en, de"), answerHeader("Accept-Language: fr;q=0.5, de"), false},

		{"long", answerHeader("Foo: " + strings.Repeat("a", 9000)), answerHeader("Foo: " + strings.Repeat("a", 9000)), true},
		{"long and longer", answerHeader("Foo: " + strings.Repeat("a", 9000)), answerHeader("Foo: " + strings.Repeat("a", 9001)), false},
	}
	names := []string{"Accept", "Accept-Encoding", "Accept-Language", "Bar", "Cookie", "Foo", "User-Agent"}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a, b := variantKey(names, tt.a), variantKey(names, tt.b)
			if (a == b) != tt.same {
				t.Errorf("%q, %q", a, b)
			}
			if max(len(a), len(b)) > maxVariantKey {
				t.Errorf("keys of %d and %d bytes", len(a), len(b))
			}
		})
	}
}

// FuzzVariantKey compares requests in fields of which one is not normalised, one is a
// list, and one has weights.
func FuzzVariantKey(f *testing.F) {
	f.Add("a", "1, 2", "en;q=0.5", "a", "1,2", "EN;q=0.50", false)
	f.Add("a=1", `"x, y"`, ",", "a=1", `"x,y"`, "", true)
	names := []string{"Accept-Language", "Cookie", "Foo"}
	f.Fuzz(func(t *testing.T, cookie1, list1, lang1, cookie2, list2, lang2 string, twice bool) {
		a := http.Header{"Cookie": {cookie1}, "Foo": {list1}, "Accept-Language": {lang1}}
		b := http.Header{"Cookie": {cookie2}, "Foo": {list2}, "Accept-Language": {lang2}}
		if twice {
			b["Cookie"] = append(b["Cookie"], cookie2)
		}
		keyA, keyB := variantKey(names, a), variantKey(names, b)
		if keyA != variantKey(names, a.Clone()) || len(keyA) > maxVariantKey {
			t.Errorf("%q", keyA)
		}
		same := slices.Equal(a["Cookie"], b["Cookie"]) && loose(list1) == loose(list2) && bag(lang1) == bag(lang2)
		if keyA == keyB && !same {
			t.Errorf("%v and %v are one: %q", a, b, keyA)
		}
		if exact := cookie1 == cookie2 && list1 == list2 && lang1 == lang2 && !twice; exact && keyA != keyB {
			t.Errorf("%v is %q and %q", a, keyA, keyB)
		}
		delete(b, "Foo")
		if variantKey(names, a) == variantKey(names, b) {
			t.Errorf("%v is one with a request without it", a)
		}
	})
}

// loose returns a value without the blanks.
func loose(s string) string { return strings.NewReplacer(" ", "", "\t", "").Replace(s) }

// bag returns which letters there are in a value, without what its weights may lack.
func bag(s string) string {
	letters := []rune(strings.ToLower(strings.NewReplacer(" ", "", "\t", "", ",", "", ";", "", "q", "", "Q", "", "=", "", ".", "", "0", "", "1", "").Replace(s)))
	slices.Sort(letters)
	return string(letters)
}
