package voyo_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// corsAnswer is what an answer says about who may read it.
func corsAnswer(a answer) string {
	var list []string
	for _, name := range []string{"Access-Control-Allow-Origin", "Timing-Allow-Origin", "Access-Control-Allow-Methods", "Access-Control-Allow-Credentials"} {
		if v := a.header.Get(name); v != "" {
			list = append(list, strings.TrimPrefix(name, "Access-Control-")+"="+v)
		}
	}
	return strings.Join(list, " ")
}

func TestCORSEverywhere(t *testing.T) {
	o := newLibrary(t, 1)
	const enforced = "enforce_origins"
	all := []string{"/cdn/stream/", "/cdn/art/", "/proxy?v=", "/thumbnail?id=", "/audio/", "/thumb/", "/exists/", "/stream?v=", "/prefetch?v="}
	for _, site := range []string{"", enforced} {
		e := startEdge(t, "voyo {\n"+template(o.URL)+"\nallowed_origins "+page+" https://*.player.test http://localhost:5173\n"+site+"\n}")
		for _, c := range []struct {
			name, origin string
			allowed      bool
		}{
			{"allowed", page, true},
			{"allowed, with a port", "http://localhost:5173", true},
			{"subdomain", "https://beta.player.test", true},
			{"deep subdomain", "https://a.b.player.test", true},
			{"the domain itself", "https://player.test", false},
			{"ends alike", "https://evilplayer.test", false},
			{"begins alike", page + ".evil.test", false},
			{"other port", page + ":8443", false},
			{"other scheme", "http://voyo.test", false},
			{"unlisted", other, false},
			{"sandboxed", "null", false},
			{"malformed", "https://voyo.test/", false},
			{"star", "*", false},
		} {
			for _, path := range all {
				path += sourceID(0)
				want := ""
				if c.allowed {
					want = "Allow-Origin=" + c.origin + " Timing-Allow-Origin=" + c.origin
				}
				a := e.do(t, http.MethodGet, path, with("Origin", c.origin))
				checkCORS(t, c.name+": "+path, a, want)
				refused := site == enforced && !c.allowed
				if (a.status == http.StatusForbidden) != refused || a.status > 299 && !refused {
					t.Errorf("%s %s: %s: %d", site, c.name, path, a.status)
				}
				checkPreflight(t, e, c.name+": "+path, path, c.origin, want, refused)
			}
			if a := e.do(t, http.MethodGet, "/health", with("Origin", c.origin)); a.status != http.StatusOK {
				t.Errorf("%s %s: /health: %d", site, c.name, a.status)
			}
		}
		for _, path := range all {
			a := e.get(t, path+sourceID(0))
			if checkCORS(t, "no origin: "+path, a, ""); a.status > 299 {
				t.Errorf("no origin: %s: %d", path, a.status)
			}
		}
	}
}

// checkCORS checks what an answer says about who may read it, and what of it.
func checkCORS(t *testing.T, name string, a answer, want string) {
	t.Helper()
	if got := corsAnswer(a); got != want {
		t.Errorf("%s: got %q, want %q", name, got, want)
	}
	if got := a.header.Values("Vary"); !slices.Equal(got, []string{"Origin"}) {
		t.Errorf("%s: Vary: %q", name, got)
	}
	var exposed []string
	if want != "" {
		exposed = []string{"Accept-Ranges", "Age", "Cache-Status", "Content-Length", "Content-Range", "ETag", "Server-Timing"}
	}
	var got []string
	if v := a.header.Get("Access-Control-Expose-Headers"); v != "" {
		got = strings.Split(v, ", ")
	}
	slices.Sort(got)
	if !slices.Equal(got, exposed) {
		t.Errorf("%s: exposed: %q, want %q", name, got, exposed)
	}
}

func checkPreflight(t *testing.T, e *edge, name, path, origin, want string, refused bool) {
	t.Helper()
	a := e.do(t, http.MethodOptions, path, with("Origin", origin,
		"Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "range"))
	if want != "" {
		want += " Allow-Methods=GET, HEAD, OPTIONS"
	}
	if got := corsAnswer(a); got != want {
		t.Errorf("%s: preflight: got %q, want %q", name, got, want)
	}
	if got := a.header.Get("Vary"); got != "Origin" {
		t.Errorf("%s: preflight: Vary: %s", name, got)
	}
	if got := a.header.Get("Access-Control-Allow-Headers"); strings.Contains(got, "Range") != (want != "") {
		t.Errorf("%s: preflight: allowed headers: %s", name, got)
	}
	if status := a.status; refused && status != http.StatusForbidden || !refused && status != http.StatusNoContent {
		t.Errorf("%s: preflight: %d", name, status)
	}
}

// What one page was allowed to read, another one is not shown as allowed, also
// when it is answered out of the cache.
func TestCORSOfCachedAnswers(t *testing.T) {
	o := newLibrary(t, 1)
	e := startEdge(t, "voyo {\n"+template(o.URL)+"\nallowed_origins "+page+" https://*.player.test\n}")
	path := "/cdn/art/" + sourceID(0)
	for _, c := range []struct{ origin, want string }{
		{page, page}, {"https://a.player.test", "https://a.player.test"}, {other, ""}, {page, page}, {"null", ""},
	} {
		a := e.do(t, http.MethodGet, path, with("Origin", c.origin))
		if got := a.header.Values("Access-Control-Allow-Origin"); strings.Join(got, ",") != c.want {
			t.Errorf("%s: got %q", c.origin, got)
		}
	}
	if n := len(o.asked("/art/")); n != 1 {
		t.Errorf("the upstream was asked %d times", n)
	}
}
