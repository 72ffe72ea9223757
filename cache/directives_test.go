package cache

import (
	"net/http"
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
		{"upper case, blanks", "Max-Age = 60", "", freshness{60 * time.Second, minute, hour}, true},
		{"first one counts", "max-age=60, max-age=30", "", freshness{60 * time.Second, minute, hour}, true},
		{"quoted", `max-age="60"`, "", freshness{60 * time.Second, minute, hour}, true},
		{"comma in a quoted string", `x="a, max-age=1, b", max-age=60`, "", freshness{60 * time.Second, minute, hour}, true},
		{"escape in a quoted string", `x="a\", max-age=1, b", max-age=60`, "", freshness{60 * time.Second, minute, hour}, true},
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
			if got := p.freshness(200, h, time.Now()); got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
			if got := p.mayStore(h); got != tt.stored {
				t.Errorf("may be stored: %t", got)
			}
			p.OverrideTTL = time.Second
			if got := p.freshness(200, h, time.Now()); got != (freshness{time.Second, minute, hour}) || !p.mayStore(h) {
				t.Errorf("the operator does not have the last word: %+v", got)
			}
		})
	}
}

// TestExpiresDoesNotCountBesidesTargeted has both (RFC 9213, section 2.2).
func TestExpiresDoesNotCountBesidesTargeted(t *testing.T) {
	h := http.Header{"Expires": {"0"}}
	if got := policy().freshness(200, h, time.Now()).lifetime; got != 0 {
		t.Error(got)
	}
	h.Set("CDN-Cache-Control", "x")
	if got := policy().freshness(200, h, time.Now()).lifetime; got != day {
		t.Error(got)
	}
}

func FuzzDirectives(f *testing.F) {
	for _, s := range []string{"", "max-age=1", `a="b, c", d`, `"`, `\`, `a="\`, ",,=,", "max-age=1;a=?1, b=(c d)"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for name := range parseCacheControl([]string{s}) {
			if name == "" {
				t.Error("empty name")
			}
		}
		h := http.Header{"Cache-Control": {s}, "Cdn-Cache-Control": {s}}
		if l := stalePolicy().freshness(200, h, time.Now()); l.lifetime > longest || l.whileRevalidate < 0 || l.ifError < 0 {
			t.Errorf("%+v", l)
		}
	})
}
