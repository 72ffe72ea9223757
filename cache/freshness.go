package cache

import (
	"errors"
	"net/http"
	"strings"
	"time"
)

// freshness says for how long an answer may be used, counted from its arrival.
type freshness struct {
	lifetime time.Duration // zero or less: it is stale from the beginning

	// For so long after that it may be used while it is being confirmed, or if it
	// can't be (RFC 5861).
	whileRevalidate, ifError time.Duration
}

// freshness returns that of an answer that arrived at the time given (RFC 9111,
// section 4.2).
func (p *Policy) freshness(status int, h http.Header, arrived time.Time) freshness {
	if p.overrides(status) {
		return freshness{p.OverrideTTL, p.StaleWhileRevalidate, p.StaleIfError}
	}
	d, targeted := responseDirectives(h)
	if p.mustConfirm(d) {
		return freshness{}
	}
	f := freshness{lifetime: p.lifetime(status, d, targeted, h, arrived)}
	if d.has(mustRevalidate...) {
		return f
	}
	// An answer that was never fresh is not one that has become stale: a gateway does
	// not use it again unless the upstream says so.
	if f.lifetime > 0 || !p.Gateway {
		f.whileRevalidate, f.ifError = p.StaleWhileRevalidate, p.StaleIfError
	}
	if stated, ok := d.seconds("stale-while-revalidate"); ok {
		f.whileRevalidate = stated
	}
	if stated, ok := d.seconds("stale-if-error"); ok {
		f.ifError = stated
	}
	return f
}

// mustRevalidate are the directives that rule out what is stale; s-maxage, too, says that
// it must be confirmed (RFC 9111, section 4.2.4).
var mustRevalidate = []string{"must-revalidate", "proxy-revalidate", "s-maxage"}

// mustConfirm reports whether an answer must not be used without being confirmed. One
// that is about some fields alone says that of them, and a gateway does not keep those;
// of media, it is about the answer.
func (p *Policy) mustConfirm(d directives) bool {
	_, there := d["no-cache"]
	return d.has("no-cache") || there && !p.Gateway
}

// lifetime returns how long an answer with the directives is fresh.
func (p *Policy) lifetime(status int, d directives, targeted bool, h http.Header, arrived time.Time) time.Duration {
	stated, ok := d.seconds("s-maxage")
	if !ok {
		stated, ok = d.seconds("max-age")
	}
	if expires := h.Values("Expires"); !ok && !targeted && len(expires) > 0 {
		stated, ok = untilExpired(expires, date(h, arrived), arrived), true
	}
	switch {
	case ok:
	case !p.Gateway:
		return p.TTL
	default:
		stated = p.assumed(status, d, h, arrived)
	}
	return stated - initialAge(h, arrived)
}

// untilExpired returns how long after it was made an answer with the lines of an
// Expires field is fresh. One that is invalid, such as "0", has expired (RFC 9111,
// section 5.3), and so has one of several (section 4.2.1).
func untilExpired(lines []string, made, now time.Time) time.Duration {
	expires, err := httpDate(lines[0], now)
	if err != nil || len(lines) > 1 {
		return 0
	}
	return min(max(expires.Sub(made), 0), longest)
}

// maxHeuristic bounds how long an answer is fresh that neither the upstream nor the
// operator says anything of.
const maxHeuristic = 7 * 24 * time.Hour

// assumed returns how long an answer is fresh that does not state it: what the operator
// says, or a tenth of the time for which it had not changed (RFC 9111, section 4.2.2).
func (p *Policy) assumed(status int, d directives, h http.Header, arrived time.Time) time.Duration {
	switch gone := status == http.StatusNotFound || status == http.StatusGone; {
	case gone && p.NegativeTTL > 0:
		return p.NegativeTTL
	case p.TTL > 0 && status < 400 && byDefault(status):
		return p.TTL
	case !byDefault(status) && !d.has("public"):
		return 0
	}
	modified, err := httpDate(h.Get("Last-Modified"), arrived)
	if err != nil {
		return 0
	}
	return min(max(date(h, arrived).Sub(modified), 0)/10, maxHeuristic)
}

// initialAge is how old an answer already was when it arrived (RFC 9111,
// section 4.2.3, without the response delay, which is below its unit). Of a list-based
// Age the first member counts, and what is invalid is ignored (section 5.1).
func initialAge(h http.Header, arrived time.Time) time.Duration {
	age := min(max(0, arrived.Sub(date(h, arrived))), longest)
	for stated := range members(h.Values("Age")...) {
		return max(age, deltaSeconds(stated))
	}
	return age
}

// date returns the time at which the origin made the answer; the time of its
// arrival if it doesn't say.
func date(h http.Header, arrived time.Time) time.Time {
	if d, err := httpDate(h.Get("Date"), arrived); err == nil {
		return d
	}
	return arrived
}

// dateLayouts are the forms of a date (RFC 9110, section 5.6.7): the one in use, and
// the two obsolete ones, of which the second has its day in two digits or in one.
var dateLayouts = []string{http.TimeFormat, rfc850Format, time.ANSIC, "Mon Jan 02 15:04:05 2006"}

const rfc850Format = "Monday, 02-Jan-06 15:04:05 GMT"

var errNoDate = errors.New("not an HTTP date")

// httpDate parses a date. Unlike http.ParseTime it takes no other zone than GMT, no
// fractions of seconds and no spaces or digits that are too many or too few. Case does
// not matter, nor whether it was that day of the week.
func httpDate(s string, now time.Time) (time.Time, error) {
	s = strings.ToUpper(s)
	_, rest, _ := strings.Cut(s, " ")
	for _, layout := range dateLayouts {
		t, err := time.Parse(layout, s)
		if err != nil {
			continue
		}
		if _, same, _ := strings.Cut(t.Format(layout), " "); !strings.EqualFold(rest, same) {
			continue
		}
		if layout == rfc850Format {
			t = nearYear(t, now)
		}
		return t, nil
	}
	return time.Time{}, errNoDate
}

// nearYear returns the time with its year of two digits understood as the last one
// that is not more than 50 years in the future (RFC 9110, section 5.6.7).
func nearYear(t, now time.Time) time.Time {
	limit := now.AddDate(50, 0, 0)
	year := limit.Year()/100*100 + t.Year()%100
	in := func(year int) time.Time {
		return time.Date(year, t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), 0, time.UTC)
	}
	if near := in(year); !near.After(limit) {
		return near
	}
	return in(year - 100)
}
