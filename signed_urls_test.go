package voyo

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// An answer is fresh for as long as it would be without a signature, and never for longer
// than the link is good at the moment when it is sent.
func TestLinkBoundsFreshness(t *testing.T) {
	const stated = "public, max-age=3600"
	synctest.Test(t, func(t *testing.T) {
		now := time.Now().Unix()
		time.Sleep(300 * time.Millisecond) // the clock of a bubble: links are over between two seconds
		for _, c := range []struct {
			signed *link
			from   string
			want   string
		}{
			{nil, stated, stated},
			{nil, "no-store", "no-store"},
			{&link{expires: now + 7200}, stated, stated},
			{&link{expires: now + 3601}, stated, stated},
			{&link{expires: now + 3600}, stated, "public, max-age=3599"},
			{&link{expires: now + 1}, stated, "public, max-age=0"},
			{&link{expires: now - 5}, stated, "public, max-age=0"}, // it has waited for an upstream
			{&link{expires: lastExpiry}, stated, stated},
			{&link{expires: now + 7200, client: "192.0.2.1"}, stated, "private, max-age=3600"},
			{&link{expires: now + 100, client: "192.0.2.1"}, stated, "private, max-age=99"},
			{&link{expires: now + 100, client: "192.0.2.1"}, "no-store", "no-store"},
			{&link{expires: now + 100}, "", ""},
		} {
			header := http.Header{}
			if c.from != "" {
				header.Set("Cache-Control", c.from)
			}
			boundFreshness(header, time.Hour, c.signed)
			if got := header.Get("Cache-Control"); got != c.want {
				t.Errorf("%+v, %q: got %q, want %q", c.signed, c.from, got, c.want)
			}
		}
		header := http.Header{"Cache-Control": {"public, max-age=0"}}
		boundFreshness(header, 0, &link{expires: now + 100})
		if got := header.Get("Cache-Control"); got != "public, max-age=0" {
			t.Errorf("with max_age 0: %q", got)
		}
	})
}
