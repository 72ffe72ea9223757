package cache

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"
)

// tagList is a list of entity tags as the grammar has it (RFC 9110, sections 8.8.3 and
// 13.1.1).
var (
	tagList   = regexp.MustCompile(`^(?:\*|[ \t]*` + tagSyntax + `(?:[ \t]*,[ \t]*` + tagSyntax + `)*[ \t]*)$`)
	entityTag = regexp.MustCompile(`^` + tagSyntax + `$`)
)

const tagSyntax = `(?:W/)?"[\x21\x23-\x7e]*"`

// FuzzPreconditions compares what conditions make of a request with what they make of it
// where net/http serves the same.
func FuzzPreconditions(f *testing.F) {
	const date = "Sun, 06 Nov 1994 08:49:37 GMT"
	f.Add(`"a"`, uint32(784111777), `"a"`, "", "", "", "")
	f.Add(`W/"a"`, uint32(784111777), "", `"b", W/"a"`, date, "", `"a"`)
	f.Add(`"a"`, uint32(784111778), "", "", date, date, date)
	f.Add("", uint32(784111777), "*", "*", "", date, date)
	f.Add(`"a"`, uint32(784111776), `"b" , "a"`, `W/"b"`, date, date, `"a"`)
	f.Fuzz(func(t *testing.T, etag string, modified uint32, match, noneMatch, since, unmodified, ifRange string) {
		if etag != "" && !entityTag.MatchString(etag) || match != "" && !tagList.MatchString(match) || noneMatch != "" && !tagList.MatchString(noneMatch) {
			return
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		for name, v := range map[string]string{
			"If-Match": match, "If-None-Match": noneMatch, "If-Modified-Since": since, "If-Unmodified-Since": unmodified,
		} {
			if v != "" {
				r.Header.Set(name, v)
			}
		}
		made := time.Unix(int64(modified)+1, 0).UTC() // to net/http, 0 is no time
		h := http.Header{"Last-Modified": {made.Format(http.TimeFormat)}, "Date": {made.Add(time.Hour).Format(http.TimeFormat)}}
		if etag != "" {
			h.Set("Etag", etag)
		}
		status := map[verdict]int{proceed: http.StatusOK, notModified: http.StatusNotModified, failed: http.StatusPreconditionFailed}
		if got, want := status[precondition(r, h)], servedStatus(r, h, made); got != want {
			t.Errorf("%q of what has %q: %d, want %d", r.Header, h, got, want)
		}
		// net/http takes a date that another version can have, and a tag with more behind it.
		r.Header = http.Header{"Range": {"bytes=0-0"}, "If-Range": {ifRange}}
		if got := servedStatus(r, h, made); ifRangeHolds(r, h) && got != http.StatusPartialContent {
			t.Errorf("%q of what has %q holds, but not to net/http: %d", r.Header, h, got)
		}
		if ifRange != "" && ifRange == etag && ifRangeHolds(r, h) == strings.HasPrefix(etag, "W/") {
			t.Errorf("the tag itself, %s, holds: %t", etag, ifRangeHolds(r, h))
		}
	})
}

func servedStatus(r *http.Request, h http.Header, modified time.Time) int {
	w := httptest.NewRecorder()
	if etag := h.Get("Etag"); etag != "" {
		w.Header().Set("Etag", etag)
	}
	http.ServeContent(w, r, "", modified, strings.NewReader("content"))
	return w.Code
}
