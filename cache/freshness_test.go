package cache

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestGatewayFreshness says for how long a gateway uses what it keeps (RFC 9111,
// section 4.2).
func TestGatewayFreshness(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) string { return now.Add(-d).Format(http.TimeFormat) }
	operator := func(p *Policy) {
		p.TTL, p.NegativeTTL, p.StaleWhileRevalidate, p.StaleIfError = hour, minute, 2*time.Second, 3*time.Second
	}
	tests := []struct {
		name   string
		status int
		header http.Header
		change func(*Policy)
		want   freshness
	}{
		{"nothing", 200, answerHeader(), nil, freshness{}},
		{"s-maxage before max-age before Expires", 200, answerHeader("Cache-Control: max-age=60, s-maxage=30", "Expires: "+ago(-day)), operator, freshness{lifetime: 30 * time.Second}},
		{"max-age before Expires", 200, answerHeader("Cache-Control: max-age=60", "Expires: "+ago(-day)), operator, freshness{minute, 2 * time.Second, 3 * time.Second}},
		{"Expires before the operator's", 200, answerHeader("Expires: " + ago(-day)), operator, freshness{day, 2 * time.Second, 3 * time.Second}},
		{"the operator's before a guess", 200, answerHeader("Last-Modified: " + ago(day)), operator, freshness{hour, 2 * time.Second, 3 * time.Second}},
		{"the operator's, of what is old", 200, answerHeader("Age: 60"), operator, freshness{hour - minute, 2 * time.Second, 3 * time.Second}},
		{"stale from the beginning", 200, answerHeader("Cache-Control: max-age=0"), operator, freshness{}},
		{"stale from the beginning, for good use", 200, answerHeader("Cache-Control: max-age=0, stale-while-revalidate=9"), operator, freshness{whileRevalidate: 9 * time.Second}},
		{"no-cache", 200, answerHeader("Cache-Control: max-age=60, no-cache, stale-if-error=9"), operator, freshness{}},
		{"no-cache of a field", 200, answerHeader(`Cache-Control: max-age=60, no-cache="a"`), nil, freshness{lifetime: minute}},

		{"guessed", 200, answerHeader("Last-Modified: " + ago(10*minute)), nil, freshness{lifetime: minute}},
		{"guessed as of Date", 200, answerHeader("Date: "+ago(-10*minute), "Last-Modified: "+ago(0)), nil, freshness{lifetime: minute}},
		{"guessed of what is old", 200, answerHeader("Last-Modified: "+ago(10*minute), "Age: 20"), nil, freshness{lifetime: 40 * time.Second}},
		{"guessed of what is ancient", 200, answerHeader("Last-Modified: Mon, 01 Jan 1500 00:00:00 GMT"), nil, freshness{lifetime: 7 * day}},
		{"guessed of the future", 200, answerHeader("Last-Modified: " + ago(-day)), nil, freshness{}},
		{"guessed besides a targeted field", 200, answerHeader("CDN-Cache-Control: x", "Expires: 0", "Last-Modified: "+ago(10*minute)), nil, freshness{lifetime: minute}},
		{"not guessed", 200, answerHeader("Expires: 0", "Last-Modified: "+ago(day)), nil, freshness{}},
		{"not guessed of a status", 302, answerHeader("Last-Modified: " + ago(day)), operator, freshness{}},
		{"guessed of a public one", 302, answerHeader("Cache-Control: public", "Last-Modified: "+ago(10*minute)), nil, freshness{lifetime: minute}},

		{"redirect", 308, answerHeader(), operator, freshness{hour, 2 * time.Second, 3 * time.Second}},
		{"gone", 410, answerHeader("Last-Modified: " + ago(day)), operator, freshness{minute, 2 * time.Second, 3 * time.Second}},
		{"gone, stated", 410, answerHeader("Cache-Control: max-age=1"), operator, freshness{time.Second, 2 * time.Second, 3 * time.Second}},
		{"gone, guessed", 410, answerHeader("Last-Modified: " + ago(10*minute)), nil, freshness{lifetime: minute}},
		{"not implemented", 501, answerHeader(), operator, freshness{}},
		{"unavailable", 503, answerHeader(), operator, freshness{}},
		{"overridden", 301, answerHeader("Cache-Control: no-cache"), func(p *Policy) { p.OverrideTTL = hour }, freshness{lifetime: hour}},
		{"not overridden: not found", 404, answerHeader("Cache-Control: no-cache"), func(p *Policy) { p.OverrideTTL = hour }, freshness{}},
		{"not overridden", 503, answerHeader("Cache-Control: max-age=60"), func(p *Policy) { p.OverrideTTL = hour }, freshness{lifetime: minute}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := gatewayPolicy()
			if tt.change != nil {
				tt.change(p)
			}
			if got := p.freshness(tt.status, tt.header, now); got != tt.want {
				t.Errorf("%+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestExpires(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	tests := []struct {
		name   string
		header http.Header
		want   time.Duration
	}{
		{"as of its arrival", answerHeader("Expires: Mon, 23 Nov 2026 13:00:00 GMT"), hour},
		{"as of Date", answerHeader("Expires: Mon, 23 Nov 2026 14:00:00 GMT", "Date: Mon, 23 Nov 2026 13:00:00 GMT"), hour},
		{"as of Date, and old", answerHeader("Expires: Mon, 23 Nov 2026 12:00:00 GMT", "Date: Mon, 23 Nov 2026 11:00:00 GMT"), 0},
		{"as of an invalid Date", answerHeader("Expires: Mon, 23 Nov 2026 13:00:00 GMT", "Date: Mon, 23 Nov 2026 11:00:00 UTC"), hour},
		{"Age counts", answerHeader("Expires: Mon, 23 Nov 2026 13:00:00 GMT", "Age: 60"), hour - minute},
		{"present", answerHeader("Expires: Mon, 23 Nov 2026 12:00:00 GMT"), 0},
		{"past", answerHeader("Expires: Mon, 23 Nov 2026 11:00:00 GMT"), 0},
		{"far", answerHeader("Expires: Fri, 31 Dec 9999 23:59:59 GMT"), longest},
		{"zero", answerHeader("Expires: 0"), 0},
		{"empty", answerHeader("Expires: "), 0},
		{"twice", answerHeader("Expires: Mon, 23 Nov 2026 13:00:00 GMT", "Expires: Mon, 23 Nov 2026 13:00:00 GMT"), 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, p := range []*Policy{gatewayPolicy(), policy()} {
				if got := p.freshness(200, tt.header, now).lifetime; got != tt.want {
					t.Errorf("%v, want %v", got, tt.want)
				}
			}
		})
	}
}

func TestInitialAge(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	tests := []struct {
		header http.Header
		want   time.Duration
	}{
		{answerHeader(), 0},
		{answerHeader("Age: 60"), minute},
		{answerHeader("Age: 60, 30"), minute},
		{answerHeader("Age: 0,60"), 0},
		{answerHeader("Age: 60", "Age: 0"), minute},
		{answerHeader("Age: , 60"), minute},
		{answerHeader("Age: -60"), 0},
		{answerHeader("Age: 60.0"), 0},
		{answerHeader("Age: 60;a=b"), 0},
		{answerHeader("Age: abc, 60"), 0},
		{answerHeader("Age: 99999999999999999999"), longest},
		{answerHeader("Age: 30", "Date: Mon, 23 Nov 2026 11:59:00 GMT"), minute},
		{answerHeader("Age: 90", "Date: Mon, 23 Nov 2026 11:59:00 GMT"), 90 * time.Second},
		{answerHeader("Date: Mon, 23 Nov 2026 12:59:00 GMT"), 0},
		{answerHeader("Date: yesterday"), 0},
	}
	for _, tt := range tests {
		if got := initialAge(tt.header, now); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.header, got, tt.want)
		}
	}
}

func TestHTTPDate(t *testing.T) {
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	august := time.Date(2050, 8, 18, 2, 1, 18, 0, time.UTC)
	tests := []struct {
		date string
		want time.Time // zero: it is none
	}{
		{"Thu, 18 Aug 2050 02:01:18 GMT", august},
		{"Thursday, 18-Aug-50 02:01:18 GMT", august},
		{"Thu Aug 18 02:01:18 2050", august},
		{"Mon Aug  8 02:01:18 2050", august.AddDate(0, 0, -10)},
		{"Mon Aug 08 02:01:18 2050", august.AddDate(0, 0, -10)},
		{"tHU, 18 aUG 2050 02:01:18 gMT", august},
		{"Mon, 18 Aug 2050 02:01:18 GMT", august},

		{"Sunday, 06-Nov-94 08:49:37 GMT", time.Date(1994, 11, 6, 8, 49, 37, 0, time.UTC)},
		{"Monday, 23-Nov-76 12:00:00 GMT", now.AddDate(50, 0, 0)},
		{"Tuesday, 23-Nov-76 12:00:01 GMT", time.Date(1976, 11, 23, 12, 0, 1, 0, time.UTC)},
		{"Tuesday, 29-Feb-00 00:00:00 GMT", time.Date(2000, 2, 29, 0, 0, 0, 0, time.UTC)},

		{"", time.Time{}},
		{"0", time.Time{}},
		{"Thu, 18 Aug 2050 02:01:18 UTC", time.Time{}},
		{"Thu, 18 Aug 2050 02:01:18 AEST", time.Time{}},
		{"Thu, 18 Aug 2050 02:01:18", time.Time{}},
		{"Thursday, 18-Aug-50 02:01:18 PST", time.Time{}},
		{"Thu, 18 Aug 50 02:01:18 GMT", time.Time{}},
		{"Thu 18 Aug 2050 02:01:18 GMT", time.Time{}},
		{"Thu, 18  Aug  2050 02:01:18 GMT", time.Time{}},
		{"Thu,  18 Aug 2050 02:01:18 GMT", time.Time{}},
		{"Thu, 18-Aug-2050 02:01:18 GMT", time.Time{}},
		{"Thu, 18 Aug 2050 02.01.18 GMT", time.Time{}},
		{"Thu, 18 Aug 2050 2:01:18 GMT", time.Time{}},
		{"Thu, 18 Aug 2050 02:01:18.5 GMT", time.Time{}},
		{"Thu, 8 Aug 2050 02:01:18 GMT", time.Time{}},
		{"Thu, 31 Feb 2050 02:01:18 GMT", time.Time{}},
		{"Thu, 18 Aug 2050 02:01:18 GMT ", time.Time{}},
		{"Thu Aug 8 02:01:18 2050", time.Time{}},
	}
	for _, tt := range tests {
		got, err := httpDate(tt.date, now)
		if !got.Equal(tt.want) || (err == nil) == tt.want.IsZero() {
			t.Errorf("%q: %v, %v", tt.date, got, err)
		}
	}
}

// TestYearsOfTwoDigitsLateInACentury asks when the next one is nearer than the last.
func TestYearsOfTwoDigitsLateInACentury(t *testing.T) {
	now := time.Date(2080, 1, 1, 0, 0, 0, 0, time.UTC)
	for date, want := range map[string]int{
		"Sunday, 06-Nov-10 08:49:37 GMT": 2110, "Sunday, 06-Nov-79 08:49:37 GMT": 2079, "Sunday, 06-Nov-31 08:49:37 GMT": 2031,
	} {
		if got, err := httpDate(date, now); err != nil || got.Year() != want {
			t.Errorf("%s: %v, %v", date, got, err)
		}
	}
}

// checkDate compares a date with net/http's reading of it, which is more lenient, and
// knows of no time by which years of two digits could be told.
func checkDate(t *testing.T, s string, now time.Time) {
	t.Helper()
	got, err := httpDate(s, now)
	theirs, theirErr := http.ParseTime(strings.ToUpper(s))
	century := got.Year()%100 == theirs.Year()%100 && got.Format("0102150405") == theirs.UTC().Format("0102150405")
	switch {
	case err == nil && (theirErr != nil || !century):
		t.Errorf("%q: %v, but %v, %v", s, got, theirs, theirErr)
	case err == nil && !got.Equal(theirs) && got.After(now.AddDate(50, 0, 0)):
		t.Errorf("%q: %v", s, got)
	case err != nil && theirErr == nil && s == theirs.UTC().Format(http.TimeFormat):
		t.Errorf("%q: %v", s, err)
	}
}

func FuzzDates(f *testing.F) {
	for _, s := range []string{"", "0", "Thu, 18 Aug 2050 02:01:18 GMT", "Thursday, 18-Aug-50 02:01:18 GMT", "Thu Aug  8 02:01:18 2050"} {
		f.Add(s, s, s, "60, 30")
	}
	now := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, expires, made, modified, age string) {
		checkDate(t, expires, now)
		if d, err := httpDate(expires, now); err == nil {
			if again, err := httpDate(d.Format(http.TimeFormat), now); err != nil || !again.Equal(d) {
				t.Errorf("%v is read as %v, %v", d, again, err)
			}
		}
		h := http.Header{"Expires": {expires}, "Date": {made}, "Last-Modified": {modified}, "Age": {age}}
		if a := initialAge(h, now); a < 0 || a > longest {
			t.Errorf("age %v", a)
		}
		if l := gatewayPolicy().freshness(200, h, now).lifetime; l > longest || l < -longest {
			t.Errorf("lifetime %v", l)
		}
		h.Del("Expires")
		if l := gatewayPolicy().freshness(200, h, now).lifetime; l > maxHeuristic || l < -longest {
			t.Errorf("assumed lifetime %v", l)
		}
	})
}
