package voyo

import (
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// webOrigin is an origin as browsers send it (RFC 6454, section 6.2), and a little more.
var webOrigin = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*)://([A-Za-z0-9._~!$&()+;=-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]*))?$`)

// FuzzOrigins compares who is admitted with what the documentation of allowed_origins
// says.
func FuzzOrigins(f *testing.F) {
	for _, entry := range []string{
		"*", "https://voyo.example", "https://*.voyo.example", "http://*.voyo.example:8080", "capacitor://localhost", "http://[::1]:5173",
		"https://*.", "https://voyo.example:443", "HTTPS://*.Voyo.Example:443", "null", "https://*.[::1]", "https://voyo.example.:",
	} {
		for _, field := range []string{
			"https://voyo.example", "https://a.voyo.example", "https://evilvoyo.example", "https://.voyo.example", "https://voyo.example.evil.example",
			"http://A.B.voyo.example:8080", "null", "http://[::1]:5173", "https://voyo.example:0443", "https://a@voyo.example", "https://a%2evoyo.example",
		} {
			f.Add(entry, field, false)
		}
	}
	f.Add("*", "a", true)
	f.Fuzz(func(t *testing.T, entry, field string, twice bool) {
		list, err := parseOrigins([]string{entry})
		exact := strings.Replace(entry, "://*.", "://", 1)
		if entry != "*" && (err == nil) != webOrigin.MatchString(exact) && !strings.Contains(entry, "[") {
			t.Fatalf("%q: %v", entry, err)
		}
		if err != nil {
			return
		}
		header, request := make(http.Header), http.Header{"Origin": {field}}
		if twice {
			request.Add("Origin", field)
		}
		admitted, want := list.admit(header, request), !twice && isAllowed(entry, field)
		if admitted != want {
			t.Errorf("%q of %q, twice: %t: admitted: %t", field, entry, twice, admitted)
		}
		if allowed := header["Access-Control-Allow-Origin"]; admitted && (len(allowed) != 1 || allowed[0] != field) || !admitted && len(header) > 0 {
			t.Errorf("%q of %q: %q", field, entry, header)
		}
	})
}

// isAllowed is how a reader of the documentation would have it.
func isAllowed(entry, field string) bool {
	if entry == "*" {
		return true
	}
	wildcard := strings.Contains(entry, "://*.")
	allowed, asking := webOrigin.FindStringSubmatch(strings.Replace(entry, "://*.", "://", 1)), webOrigin.FindStringSubmatch(field)
	if allowed == nil || asking == nil || !strings.EqualFold(allowed[1], asking[1]) || portOf(allowed) != portOf(asking) {
		return false
	}
	if !wildcard {
		return strings.EqualFold(allowed[2], asking[2])
	}
	sub, ok := strings.CutSuffix(strings.ToLower(asking[2]), "."+strings.ToLower(allowed[2]))
	return ok && sub != ""
}

func portOf(origin []string) string {
	if origin[3] == "" {
		return defaultPorts[strings.ToLower(origin[1])]
	}
	return origin[3]
}
