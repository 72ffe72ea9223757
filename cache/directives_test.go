package cache

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
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

func FuzzDirectives(f *testing.F) {
	for _, s := range []string{"", "max-age=1", `a="b, c", d`, `"`, `\`, `a="\`, ",,=,", "max-age=1;a=?1, b=(c d)", `private="a", private=b, no-cache ="c`} {
		f.Add(s, s)
	}
	f.Fuzz(func(t *testing.T, s, more string) {
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
