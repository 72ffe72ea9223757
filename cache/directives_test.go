package cache

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dunglas/httpsfv"
)

func TestFreshness(t *testing.T) {
	tests := []struct {
		name, cacheControl, cdn string
		want                    freshness
		stored                  bool
	}{
		{"nothing", "", "", freshness{day, minute, hour}, true},
		{"max-age", "max-age=60", "", freshness{60 * time.Second, minute, hour}, true},
		{"s-maxage, which must be confirmed", "max-age=60, s-maxage=30", "", freshness{lifetime: 30 * time.Second}, true},
		{"upper case", "Max-Age=60", "", freshness{60 * time.Second, minute, hour}, true},
		{"blanks around the list's elements", " ,\tmax-age=60 , x", "", freshness{60 * time.Second, minute, hour}, true},
		{"blank before the equals sign", "max-age =60", "", freshness{0, minute, hour}, true},
		{"blank after the equals sign", "max-age= 60", "", freshness{0, minute, hour}, true},
		{"blank before the equals sign of a list of fields", `private ="a"`, "", freshness{day, minute, hour}, false},
		{"first one counts", "max-age=60, max-age=30", "", freshness{60 * time.Second, minute, hour}, true},
		{"quoted", `max-age="60"`, "", freshness{60 * time.Second, minute, hour}, true},
		{"comma in a quoted string", `x="a, max-age=1, b", max-age=60`, "", freshness{60 * time.Second, minute, hour}, true},
		{"escape in a quoted string", `x="a\", max-age=1, b", max-age=60`, "", freshness{60 * time.Second, minute, hour}, true},
		{"single quotes", "max-age='60'", "", freshness{0, minute, hour}, true},
		{"more after a quoted string", `max-age="60"0`, "", freshness{0, minute, hour}, true},
		{"escape in a quoted number", `max-age="6\0"`, "", freshness{60 * time.Second, minute, hour}, true},
		{"quote that is not closed", `max-age=60, x="a, private`, "", freshness{60 * time.Second, minute, hour}, false},
		{"leading zeros", "max-age=0060", "", freshness{60 * time.Second, minute, hour}, true},
		{"letter before", "max-age=a60", "", freshness{0, minute, hour}, true},
		{"letter after", "max-age=60a", "", freshness{0, minute, hour}, true},
		{"sign", "max-age=+60", "", freshness{0, minute, hour}, true},
		{"no value", "max-age", "", freshness{0, minute, hour}, true},
		{"no zeros, but a point", "max-age=60.0", "", freshness{0, minute, hour}, true},
		{"invalid, and another", "max-age=a, max-age=60", "", freshness{0, minute, hour}, true},
		{"the longest", "max-age=2147483648", "", freshness{longest, minute, hour}, true},
		{"longer", "max-age=2147483649", "", freshness{longest, minute, hour}, true},
		{"huge and invalid", "max-age=99999999999999999999a", "", freshness{0, minute, hour}, true},
		{"invalid", "max-age=1.5", "", freshness{0, minute, hour}, true},
		{"negative", "max-age=-1", "", freshness{0, minute, hour}, true},
		{"huge", "max-age=99999999999999999999", "", freshness{longest, minute, hour}, true},
		{"no-cache", "max-age=60, no-cache", "", freshness{}, true},
		{"no-cache with fields", `max-age=60, no-cache="etag"`, "", freshness{}, true},
		{"no-store", "max-age=60, no-store", "", freshness{60 * time.Second, minute, hour}, false},
		{"private with fields", `max-age=60, private="etag"`, "", freshness{60 * time.Second, minute, hour}, false},
		{"must-revalidate", "max-age=60, must-revalidate", "", freshness{lifetime: 60 * time.Second}, true},
		{"proxy-revalidate", "max-age=60, proxy-revalidate", "", freshness{lifetime: 60 * time.Second}, true},
		{"stated", "max-age=60, stale-while-revalidate=1, stale-if-error=2", "", freshness{60 * time.Second, time.Second, 2 * time.Second}, true},
		{"forbidden", "max-age=60, stale-while-revalidate=0, stale-if-error=0", "", freshness{lifetime: 60 * time.Second}, true},

		{"targeted", "no-store", "max-age=60", freshness{60 * time.Second, minute, hour}, true},
		{"targeted no-store", "max-age=60", "no-store", freshness{day, minute, hour}, false},
		{"targeted without freshness", "max-age=60", "must-revalidate", freshness{lifetime: day}, true},
		{"targeted, invalid", "max-age=60", "max-age=30, &", freshness{60 * time.Second, minute, hour}, true},
		{"targeted, upper case is invalid", "max-age=60", "Max-Age=30", freshness{60 * time.Second, minute, hour}, true},
		{"targeted, empty", "max-age=60", "", freshness{60 * time.Second, minute, hour}, true},
		{"targeted, last one counts", "", "max-age=60, max-age=30", freshness{30 * time.Second, minute, hour}, true},
		{"targeted, wrong type", "", "max-age=1.5", freshness{0, minute, hour}, true},
		{"targeted, a list where a flag is meant", "", "max-age=60, no-store=(a b)", freshness{60 * time.Second, minute, hour}, false},
		{"targeted, negative", "", "max-age=-1", freshness{0, minute, hour}, true},
		{"targeted, parameter", "", "max-age=60;x=1", freshness{60 * time.Second, minute, hour}, true},
		{"targeted, false", "", "max-age=60, no-store=?0", freshness{60 * time.Second, minute, hour}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := http.Header{}
			for name, v := range map[string]string{"Cache-Control": tt.cacheControl, "CDN-Cache-Control": tt.cdn} {
				if v != "" {
					h.Set(name, v)
				}
			}
			p := stalePolicy()
			if got := p.freshness(http.StatusOK, h, time.Now()); got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
			if got := p.mayStore(nil, http.StatusOK, h, time.Now()); got != tt.stored {
				t.Errorf("may be stored: %t", got)
			}
			p.OverrideTTL = time.Second
			if got := p.freshness(http.StatusOK, h, time.Now()); got != (freshness{time.Second, minute, hour}) || !p.mayStore(nil, http.StatusOK, h, time.Now()) {
				t.Errorf("the operator does not have the last word: %+v", got)
			}
		})
	}
}

// TestExpiresDoesNotCountBesidesTargeted has both (RFC 9213, section 2.2).
func TestExpiresDoesNotCountBesidesTargeted(t *testing.T) {
	h := http.Header{"Expires": {"0"}}
	if got := policy().freshness(http.StatusOK, h, time.Now()).lifetime; got != 0 {
		t.Error(got)
	}
	h.Set("CDN-Cache-Control", "x")
	if got := policy().freshness(http.StatusOK, h, time.Now()).lifetime; got != day {
		t.Error(got)
	}
}

func TestQualifiedDirectives(t *testing.T) {
	tests := []struct {
		name             string
		cacheControl     []string
		noCache, private []string
		whole            []string // the directives that are about the whole answer
	}{
		{"none", nil, nil, nil, nil},
		{"without fields", []string{"no-cache, private"}, nil, nil, []string{"no-cache", "private"}},
		{"one field", []string{`no-cache="a"`}, []string{"A"}, nil, nil},
		{"several, with blanks and nothing among them", []string{`private=" set-cookie ,, b"`}, nil, []string{"Set-Cookie", "B"}, nil},
		{"a token", []string{"private=a"}, nil, []string{"A"}, nil},
		{"empty", []string{`no-cache="", private=`}, nil, nil, []string{"no-cache", "private"}},
		{"no names of fields", []string{`no-cache="a b", private="a, (b)"`}, nil, nil, []string{"no-cache", "private"}},
		{"twice", []string{`no-cache="a"`, `No-Cache="b"`}, []string{"A", "B"}, nil, nil},
		{"then about the whole", []string{`no-cache="a", no-cache`}, nil, nil, []string{"no-cache"}},
		{"first about the whole", []string{`no-cache, no-cache="a"`}, nil, nil, []string{"no-cache"}},
		{"blank after the equals sign", []string{`no-cache= a`}, nil, nil, []string{"no-cache"}},
		{"not one that has fields", []string{`no-store="a"`}, nil, nil, []string{"no-store"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := parseCacheControl(tt.cacheControl)
			if got := d.fields("no-cache"); !slices.Equal(got, tt.noCache) {
				t.Errorf("no-cache is about %q", got)
			}
			if got := d.fields("private"); !slices.Equal(got, tt.private) {
				t.Errorf("private is about %q", got)
			}
			for _, name := range []string{"no-cache", "private", "no-store"} {
				if got := d.has(name); got != slices.Contains(tt.whole, name) {
					t.Errorf("%s is there: %t", name, got)
				}
			}
		})
	}
}

// listOfDirectives is a line of Cache-Control as the grammar has it (RFC 9111, section
// 5.2, and RFC 9110, section 5.6), and directive is what it is a list of.
var (
	directive        = regexp.MustCompile(directiveSyntax)
	listOfDirectives = regexp.MustCompile(`^(?:` + directiveSyntax + `)?(?:[ \t]*,[ \t]*(?:` + directiveSyntax + `)?)*[ \t]*$`)
)

const directiveSyntax = "([!#$%&'*+.^_`|~0-9A-Za-z-]+)(?:=(?:([!#$%&'*+.^_`|~0-9A-Za-z-]+)|\"((?:[^\"\\\\[:cntrl:]]|\\\\[^[:cntrl:]])*)\"))?"

// checkGrammar compares what is read of a line that follows the grammar with what the
// grammar says.
func checkGrammar(t *testing.T, line string) {
	t.Helper()
	if !listOfDirectives.MatchString(line) {
		return
	}
	got, seen := parseCacheControl([]string{line}), make(map[string]bool)
	for _, m := range directive.FindAllStringSubmatch(line, -1) {
		name, want := strings.ToLower(m[1]), m[2]
		if m[3] != "" {
			want = regexp.MustCompile(`(?s)\\(.)`).ReplaceAllString(m[3], "$1")
		}
		// of those that can be about some fields, all count
		if !seen[name] && got[name] != want && !slices.Contains(qualifiable, name) {
			t.Errorf("%q: %s is %q, want %q", line, name, got[name], want)
		}
		seen[name] = true
	}
	if len(got) != len(seen) {
		t.Errorf("%q is read as %q", line, got)
	}
}

func FuzzDirectives(f *testing.F) {
	for _, s := range []string{"", "max-age=1", `a="b, c", d`, `"`, `\`, `a="\`, ",,=,", "max-age=1;a=?1, b=(c d)", `private="a", private=b, no-cache ="c`} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, s, more string) {
		checkGrammar(t, s)
		d := parseCacheControl([]string{s, more})
		for name := range d {
			if name == "" || strings.Trim(name, " \t") != name || name != strings.ToLower(name) {
				t.Errorf("name %q", name)
			}
			if v, ok := d.seconds(name); !ok || v < 0 || v > longest {
				t.Errorf("%s is %v", name, v)
			}
			if d.has(name) == (len(d.fields(name)) > 0) {
				t.Errorf("%s is about the whole and not, or neither", name)
			}
		}
		for name := range parseCacheControl([]string{s}) {
			if !d.has(name) && len(d.fields(name)) == 0 {
				t.Errorf("%s is lost for what follows", name)
			}
		}
		h := http.Header{"Cache-Control": {s}, "Cdn-Cache-Control": {more}}
		for _, p := range []*Policy{stalePolicy(), gatewayPolicy()} {
			l := p.freshness(http.StatusOK, h, time.Now())
			if l.lifetime > longest || min(l.whileRevalidate, l.ifError) < 0 || max(l.whileRevalidate, l.ifError) > longest {
				t.Errorf("%+v", l)
			}
		}
	})
}

// FuzzTargeted holds the cache to RFC 9213, section 2.2: a targeted field that is valid
// counts in the place of Cache-Control and Expires, and one that is not is not there.
func FuzzTargeted(f *testing.F) {
	for _, s := range []string{
		"", "max-age=60", "max-age=60;a=?1, b=(c d)", "no-store=?0", "Max-Age=1", "max-age=1.5", `private="set-cookie"`, "max-age=1,",
		"s-maxage=10, stale-if-error=20", "max-age=-1", "max-age=999999999999999", "max-age=1000000000000000", "no-cache;x", "a=@1", `a=%"b"`,
	} {
		f.Add(s, "", "max-age=1, private", "0", uint16(200))
		f.Add("max-age=7", s, s, "Thu, 18 Aug 2050 02:01:18 GMT", uint16(404))
	}
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, targeted, more, general, expires string, status uint16) {
		h := http.Header{"Cdn-Cache-Control": {targeted}, "Cache-Control": {general}, "Expires": {expires}}
		if more != "" {
			h.Add("CDN-Cache-Control", more)
		}
		said, err := httpsfv.UnmarshalDictionary(h.Values("CDN-Cache-Control"))
		counts := h.Clone()
		if err != nil || len(said.Names()) == 0 {
			counts.Del("CDN-Cache-Control")
		} else {
			counts.Del("Cache-Control")
			counts.Del("Expires")
		}
		for _, p := range []*Policy{stalePolicy(), gatewayPolicy()} {
			got, want := p.freshness(int(status), h, now), p.freshness(int(status), counts, now)
			if got != want {
				t.Errorf("%q: %+v, want %+v", h, got, want)
			}
			if got, want := p.mayStore(nil, int(status), h, now), p.mayStore(nil, int(status), counts, now); got != want {
				t.Errorf("%q: may be stored: %t, want %t", h, got, want)
			}
			if seconds, ok := soleMaxAge(said); err == nil && ok && got.lifetime != min(seconds, longest) {
				t.Errorf("%q: fresh for %s, want %s", h, got.lifetime, seconds)
			}
		}
	})
}

// soleMaxAge returns the time that is stated, where nothing else that is known is.
func soleMaxAge(d *httpsfv.Dictionary) (time.Duration, bool) {
	if d == nil {
		return 0, false
	}
	for _, name := range []string{"s-maxage", "no-cache"} {
		if _, there := d.Get(name); there {
			return 0, false
		}
	}
	member, _ := d.Get("max-age")
	item, _ := member.(httpsfv.Item)
	seconds, ok := item.Value.(int64)
	return time.Duration(min(max(seconds, 0), int64(longest/time.Second))) * time.Second, ok
}
