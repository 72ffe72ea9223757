package voyo_test

import (
	"fmt"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Upstreams whose clocks are far off, or whose figures are out of all bounds, are
// believed as far as HTTP's rules say: what they make of a page is right, and neither
// kept for ever nor called fresh when it is not.
func TestMachineClockOfUpstream(t *testing.T) {
	const week = 7 * 24 * 3600 // seconds
	now := time.Now()
	date := func(years int) string { return now.AddDate(years, 0, 0).UTC().Format(http.TimeFormat) }
	cases := []struct {
		name   string
		header http.Header
		ttl    [2]int64 // the least and the most that is left of a hit; none if it is no hit
		age    int64    // at least, of what is asked for again
	}{
		{"ahead", with("Date", date(10), "Cache-Control", "max-age=60"), [2]int64{50, 60}, 0},
		{"behind", with("Date", date(-10), "Cache-Control", "max-age=60"), [2]int64{}, 0},
		{"ahead, expires by its clock", with("Date", date(10), "Expires", now.AddDate(10, 0, 1).UTC().Format(http.TimeFormat)), [2]int64{86_000, 86_400}, 0},
		{"behind, expires by its clock", with("Date", date(-10), "Expires", date(-9)), [2]int64{}, 0},
		{"expires before it was made", with("Date", date(0), "Expires", date(-10)), [2]int64{}, 0},
		{"expires in the last year there is", with("Expires", "Fri, 31 Dec 9999 23:59:59 GMT"), [2]int64{week, 1 << 32}, 0},
		{"expires before years were counted", with("Expires", "Sat, 01 Jan 0000 00:00:00 GMT"), [2]int64{}, 0},
		{"older than numbers go", with("Age", "99999999999999999999", "Cache-Control", "max-age=60"), [2]int64{}, 0},
		{"old, but for longer", with("Age", "1000", "Cache-Control", "max-age=2000"), [2]int64{990, 1000}, 1000},
		{"younger than new", with("Age", "-1000", "Cache-Control", "max-age=60"), [2]int64{50, 60}, 0},
		{"fresh for longer than numbers go", with("Cache-Control", "max-age=99999999999999999999"), [2]int64{week, 1 << 32}, 0},
		{"changed in the future", with("Last-Modified", date(10)), [2]int64{}, 0},
		{"changed before all", with("Last-Modified", "Sat, 01 Jan 0000 00:00:00 GMT"), [2]int64{week - 10, week}, 0},
		{"both ends of time", with("Date", "Fri, 31 Dec 9999 23:59:59 GMT", "Last-Modified", "Sat, 01 Jan 0000 00:00:00 GMT"), [2]int64{week - 10, week}, 0},
	}
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		i, _ := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/page"))
		maps.Copy(w.Header(), cases[i].header)
		fmt.Fprintf(w, "page %d", i)
	})
	c := startChild(t, fmt.Sprintf("voyo {\n%s\norigin %s\n}", template("http://127.0.0.1:9"), o.URL))
	for i, want := range cases {
		path := fmt.Sprintf("/page%d", i)
		for again := range 2 {
			a := c.get(t, path)
			if a.status != http.StatusOK || string(a.body) != fmt.Sprintf("page %d", i) {
				t.Errorf("%s: %s", want.name, a)
			}
			if again == 0 {
				continue
			}
			status := a.header.Get("Cache-Status")
			rest, hit := strings.CutPrefix(status, "voyo; hit; ttl=")
			ttl, _ := strconv.ParseInt(rest, 10, 64)
			if hit != (want.ttl[1] > 0) || ttl < want.ttl[0] || ttl > want.ttl[1] {
				t.Errorf("%s: %s, want a ttl of %v", want.name, status, want.ttl)
			}
			if age, err := strconv.ParseInt(a.header.Get("Age"), 10, 64); hit && (err != nil || age < want.age || age > want.age+60) {
				t.Errorf("%s: Age is %s, want %d", want.name, a.header.Get("Age"), want.age)
			}
		}
	}
}
