package voyo

import (
	"net/http"
	"strings"
	"testing"
)

func TestParseOrigins(t *testing.T) {
	for value, valid := range map[string]bool{
		"*":                             true,
		"https://voyo.example":          true,
		"HTTPS://Voyo.Example:443":      true,
		"http://localhost:5173":         true,
		"http://[::1]:8080":             true,
		"https://*.voyo.example":        true,
		"https://*.voyo.example:8443":   true,
		"capacitor://localhost":         true,
		"":                              false,
		"null":                          false,
		"voyo.example":                  false,
		"voyo.example:443":              false,
		"//voyo.example":                false,
		"https://":                      false,
		"https://voyo.example/":         false,
		"https://voyo.example/player":   false,
		"https://voyo.example?":         false,
		"https://voyo.example#":         false,
		"https://user@voyo.example":     false,
		"https://voyo.example:port":     false,
		"https://*":                     false,
		"https://*.":                    false,
		"https://*voyo.example":         false,
		"https://a.*.voyo.example":      false,
		"https://*.*.voyo.example":      false,
		"*.voyo.example":                false,
		"https://v\u00f6yo.example":     false,
		"https://voyo.example, https:x": false,
	} {
		if _, err := parseOrigins([]string{value}); (err == nil) != valid {
			t.Errorf("%q: got %v, want valid: %t", value, err, valid)
		}
	}
}

func TestOrigins(t *testing.T) {
	list := []string{"https://voyo.example", "http://localhost:5173", "https://*.voyo.app", "http://*.voyo.dev:8080", "capacitor://localhost"}
	for _, c := range []struct {
		list   []string
		origin string
		want   bool
	}{
		{list, "https://voyo.example", true},
		{list, "HTTPS://VOYO.EXAMPLE", true},
		{list, "https://voyo.example:443", true},
		{list, "https://voyo.example:8443", false},
		{list, "http://voyo.example", false},
		{list, "https://www.voyo.example", false},
		{list, "https://voyo.example.evil.example", false},
		{list, "https://voyo.example/", false},
		{list, "https://evil.example", false},
		{list, "http://localhost:5173", true},
		{list, "http://localhost", false},
		{list, "https://m.voyo.app", true},
		{list, "https://a.b.voyo.app", true},
		{list, "https://M.Voyo.App:443", true},
		{list, "https://voyo.app", false},
		{list, "https://.voyo.app", false},
		{list, "https://evilvoyo.app", false},
		{list, "https://m.voyo.app.evil.example", false},
		{list, "http://m.voyo.app", false},
		{list, "https://m.voyo.app:8080", false},
		{list, "http://m.voyo.dev:8080", true},
		{list, "http://m.voyo.dev", false},
		{list, "capacitor://localhost", true},
		{list, "null", false},
		{list, "", false},
		{list, "*", false},
		{list, "https://*.voyo.app", false},
		{list, "https://voyo.example https://evil.example", false},
		{nil, "https://voyo.example", false},
		{[]string{"*"}, "https://anything.example", true},
		{[]string{"*"}, "null", true},
		{[]string{"https://voyo.example", "*"}, "https://anything.example", true},
	} {
		origins, err := parseOrigins(c.list)
		if err != nil {
			t.Fatal(err)
		}
		if got := origins.has(c.origin); got != c.want {
			t.Errorf("%q of %q: got %t", c.origin, c.list, got)
		}
	}
}

func TestCORS(t *testing.T) {
	h := newTestHandler(t, found(nil))
	h.origins = mustOrigins(t, "https://voyo.example")
	for _, c := range []struct {
		name    string
		method  string
		target  string
		origins []string
		enforce bool
		status  int
		allowed string
	}{
		{"listed", "GET", "/health", []string{"https://voyo.example"}, false, 200, "https://voyo.example"},
		{"listed, enforced", "GET", "/health", []string{"https://voyo.example"}, true, 200, "https://voyo.example"},
		{"as it was written", "GET", "/health", []string{"https://VOYO.example"}, true, 200, "https://VOYO.example"},
		{"none", "GET", "/stream?v=" + testID, nil, true, 200, ""},
		{"another", "GET", "/stream?v=" + testID, []string{"https://evil.example"}, false, 200, ""},
		{"another, enforced", "GET", "/stream?v=" + testID, []string{"https://evil.example"}, true, 403, ""},
		{"two, enforced", "GET", "/stream?v=" + testID, []string{"https://voyo.example", "https://evil.example"}, true, 403, ""},
		{"null, enforced", "GET", "/stream?v=" + testID, []string{"null"}, true, 403, ""},
		{"health is for everyone", "GET", "/health", []string{"https://evil.example"}, true, 200, ""},
		{"error", "GET", "/cdn/art/x", []string{"https://voyo.example"}, true, 400, "https://voyo.example"},
		{"error for another", "GET", "/cdn/art/x", []string{"https://evil.example"}, false, 400, ""},
		{"method", "POST", "/health", []string{"https://voyo.example"}, false, 405, "https://voyo.example"},
		{"preflight", "OPTIONS", "/cdn/stream/" + testID, []string{"https://voyo.example"}, true, 204, "https://voyo.example"},
		{"preflight for no track", "OPTIONS", "/cdn/stream/x", []string{"https://voyo.example"}, true, 204, "https://voyo.example"},
		{"preflight from another", "OPTIONS", "/health", []string{"https://evil.example"}, false, 204, ""},
		{"preflight from another, enforced", "OPTIONS", "/proxy", []string{"https://evil.example"}, true, 403, ""},
		{"no preflight", "OPTIONS", "/prefetch", nil, true, 204, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			h.EnforceOrigins = c.enforce
			w := serve(t, h, c.method, c.target, http.Header{"Origin": c.origins})
			header := w.Header()
			if w.Code != c.status {
				t.Errorf("got status %d, want %d", w.Code, c.status)
			}
			for _, name := range []string{"Access-Control-Allow-Origin", "Timing-Allow-Origin"} {
				if got := header.Get(name); got != c.allowed {
					t.Errorf("got %s %q, want %q", name, got, c.allowed)
				}
			}
			if got := header.Values("Vary"); len(got) != 1 || got[0] != "Origin" {
				t.Errorf("got Vary %q", got)
			}
			preflight := c.method == "OPTIONS" && c.allowed != ""
			if got := strings.Contains(header.Get("Access-Control-Allow-Headers"), "Range"); got != preflight {
				t.Errorf("got Access-Control-Allow-Headers %q", header.Get("Access-Control-Allow-Headers"))
			}
			exposed := strings.Contains(header.Get("Access-Control-Expose-Headers"), "Content-Range")
			if want := c.allowed != "" && !preflight; exposed != want {
				t.Errorf("got Access-Control-Expose-Headers %q", header.Get("Access-Control-Expose-Headers"))
			}
			if header.Get("X-Content-Type-Options") != "nosniff" || header.Get("Cross-Origin-Resource-Policy") != "cross-origin" {
				t.Errorf("common fields are missing: %v", header)
			}
		})
	}
}

func mustOrigins(t *testing.T, values ...string) originList {
	t.Helper()
	list, err := parseOrigins(values)
	if err != nil {
		t.Fatal(err)
	}
	return list
}
