package resolver

import (
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func newGuard(tb testing.TB, trusted, allowed []string) *Guard {
	tb.Helper()
	g, err := NewGuard(trusted, allowed)
	if err != nil {
		tb.Fatal(err)
	}
	return g
}

// The lists that most tests share.
var (
	testTrusted = []string{"origin.internal:9000", "127.0.0.1:9001", "[::1]:9002", "MinIO_1.:80"}
	testAllowed = []string{
		"cdn.example.com", "alt.example.com:8443", "*.example.net", "*.ports.example.org:8080",
		"93.184.215.14", "[2606:2800:21f:cb07::1]:8443", "192.168.1.1", "10.0.0.0/8", "fd00:1::/32",
	}
)

func TestGuardCheck(t *testing.T) {
	g := newGuard(t, testTrusted, testAllowed)
	const (
		listed  = "host is not on the list"
		private = "address is not public"
		numeric = "host ends in a number but is not an IP address"
		label   = "host has an empty or overlong label"
		chars   = "host has characters that no name has"
		port    = "port is not a number from 1 to 65535"
		scheme  = "scheme is neither http nor https"
		user    = "URL has user information"
		noURL   = "net/url refuses it"
	)
	for _, tt := range []struct {
		url     string
		trusted bool
		why     string // empty: allowed
	}{
		// The configuration's own, on their port only.
		{"http://origin.internal:9000/x", true, ""},
		{"https://origin.internal:9000/x", true, ""},
		{"http://ORIGIN.internal.:9000/x", true, ""},
		{"http://127.0.0.1:9001/", true, ""},
		{"http://[::ffff:127.0.0.1]:9001/", true, ""},
		{"http://[::1]:9002/", true, ""},
		{"http://[0:0:0:0:0:0:0:1]:9002/", true, ""},
		{"http://minio_1/", true, ""},
		{"http://minio_1:80/", true, ""},
		{"https://minio_1/", false, listed},
		{"http://origin.internal/", false, listed},
		{"http://origin.internal:9001/", false, listed},
		{"http://127.0.0.1:9000/", false, listed},
		{"http://127.0.0.1/", false, listed},

		// Exact names and ports.
		{"https://cdn.example.com/x?y=z", false, ""},
		{"http://cdn.example.com/x", false, ""},
		{"https://cdn.example.com:443/", false, ""},
		{"http://cdn.example.com:80/", false, ""},
		{"https://CDN.Example.COM./", false, ""},
		{"http://cdn.example.com:443/", false, listed},
		{"https://cdn.example.com:80/", false, listed},
		{"https://cdn.example.com:8443/", false, listed},
		{"http://cdn.example.com:6379/", false, listed},
		{"https://alt.example.com:8443/", false, ""},
		{"https://alt.example.com/", false, listed},
		{"https://example.com/", false, listed},
		{"https://x.cdn.example.com/", false, listed},
		{"https://cdn.example.com.evil.test/", false, listed},

		// Suffixes, on the boundary of a label.
		{"https://a.example.net/", false, ""},
		{"https://a.b.c.example.net/", false, ""},
		{"https://A.EXAMPLE.NET./", false, ""},
		{"https://example.net/", false, listed},
		{"https://evil-example.net/", false, listed},
		{"https://evilexample.net/", false, listed},
		{"https://example.net.evil.test/", false, listed},
		{"https://a.example.net:8443/", false, listed},
		{"https://.example.net/", false, label},
		{"https://a..example.net/", false, label},
		{"https://a.example.net../", false, label},
		{"https://a.ports.example.org:8080/", false, ""},
		{"https://a.ports.example.org/", false, listed},

		// Addresses.
		{"https://93.184.215.14/", false, ""},
		{"https://93.184.215.14:8443/", false, listed},
		{"https://93.184.215.15/", false, listed},
		{"https://[2606:2800:21f:cb07::1]:8443/", false, ""},
		{"https://[2606:2800:021f:cb07:0::1]:8443/", false, ""},
		{"https://[2606:2800:21f:cb07::1]/", false, listed},
		{"https://192.168.1.1/", false, private},
		{"http://10.1.2.3:6379/", false, ""},
		{"http://[::ffff:10.1.2.3]:9000/", false, ""},
		{"http://[fd00:1::5]:9000/", false, ""},
		{"http://[fd00:2::5]:9000/", false, listed},
		{"http://11.1.2.3/", false, listed},

		// IPv4 in the forms that inet_aton reads.
		{"http://2130706433/", false, numeric},
		{"http://0x7f000001/", false, numeric},
		{"http://0x7F.1/", false, numeric},
		{"http://127.1/", false, numeric},
		{"http://0177.0.0.1/", false, numeric},
		{"http://10.0.0.01/", false, numeric},
		{"http://10.0.0.0x1/", false, numeric},
		{"http://10.0.0.1./", false, numeric},
		{"http://1.example.net/", false, ""},

		// What is no web address at all.
		{"ftp://cdn.example.com/", false, scheme},
		{"file:///etc/passwd", false, scheme},
		{"//cdn.example.com/", false, scheme},
		{"/x", false, scheme},
		{"HTTPS://cdn.example.com/", false, ""},
		{"https:cdn.example.com", false, "URL is opaque"},
		{"https:///x", false, "host is empty"},
		{"https://:443/x", false, "host is empty"},
		{"https://./x", false, "host is empty"},
		{"https://user@cdn.example.com/", false, user},
		{"https://user:pass@cdn.example.com/", false, user},
		{"https://@cdn.example.com/", false, user},
		{"http://u:p@origin.internal:9000/", false, user},
		{"https://cdn.example.com@evil.test/", false, user},
		{"https://cdn.example.com:0/", false, port},
		{"https://cdn.example.com:65536/", false, port},
		{"https://cdn.example.com:65979/", false, port}, // 443 in 16 bits
		{"https://cdn.example.com:/", false, port},
		{"https://cdn.example.com%2eevil.test/", false, noURL},
		{"https://[fe80::1%25eth0]/", false, "host is an address with a zone"},
		{"https://a_b.example.net/", false, ""},
		{"https://cdn.exämple.com/", false, chars},
		{"https://cdn。example.com/", false, chars},
		{"https://ｃdn.example.com/", false, chars},
		{"https://xn--exmple-cua.example.net/", false, ""},
		{"https://cdn.example.com%00/", false, noURL},
		{"https://*.example.net/", false, chars},
		{"https://a;b.example.net/", false, chars},
		{"https://" + strings.Repeat("a", 64) + ".example.net/", false, label},
		{"https://" + strings.Repeat("a.", 122) + "example.net/", false, label},
	} {
		u, err := url.Parse(tt.url)
		if (err != nil) != (tt.why == noURL) {
			t.Errorf("%s: parsed with error %v", tt.url, err)
		}
		if err != nil {
			continue
		}
		trusted, err := g.Check(u)
		switch {
		case tt.why == "" && err != nil:
			t.Errorf("%s: refused: %v", tt.url, err)
		case tt.why != "" && !errors.Is(err, ErrForbidden):
			t.Errorf("%s: allowed, error %v", tt.url, err)
		case tt.why != "" && err.Error() != ErrForbidden.Error()+": "+tt.why:
			t.Errorf("%s: refused for another reason: %v", tt.url, err)
		case trusted != tt.trusted:
			t.Errorf("%s: trusted is %v", tt.url, trusted)
		}
	}
}

// A URL need not come from url.Parse.
func TestGuardCheckMadeURLs(t *testing.T) {
	g := newGuard(t, testTrusted, testAllowed)
	for _, u := range []*url.URL{
		nil,
		{},
		{Scheme: "https", Host: "cdn.example.com:443:443"},
		{Scheme: "https", Host: "user@cdn.example.com"},
		{Scheme: "https", Host: "evil.test/cdn.example.com"},
		{Scheme: "https", Host: "cdn.example.com\n"},
		{Scheme: "https", Host: "cdn.example.com\x00.evil.test"},
		{Scheme: "https", Host: "cdn.example.com:+443"},
		{Scheme: "https", Host: "[cdn.example.com]"},
		{Scheme: "http", Host: "[10.0.0.1]"},
		{Scheme: "http", Host: "[::1:9002"},
		{Scheme: "http", Host: "::1:9002"},
		{Scheme: "http", Host: "[::1]9002"},
		{Scheme: "http", Host: "[[::1]]:9002"},
		{Scheme: "http", Host: "[::1]:9002]:9002"},
		{Scheme: "https", Host: "cdn.example.com", Opaque: "//evil.test/"},
		{Scheme: "unix", Host: "cdn.example.com"},
	} {
		if _, err := g.Check(u); !errors.Is(err, ErrForbidden) {
			t.Errorf("%#v: allowed, error %v", u, err)
		}
	}
}

func TestNewGuardErrors(t *testing.T) {
	for _, entry := range []string{
		"", " ", "*", "*.", "*.*.example.com", "a.*.example.com", "*example.com", "**.example.com", "*.10.0.0.1",
		"*.[::1]", "example.com:", "example.com:0", "example.com:65536", "example.com:http", "example.com:80:80",
		"example.com:*", ":443", "https://example.com", "example.com/path", "user@example.com", "exa mple.com",
		"exämple.com", "a..example.com", ".example.com", "-/8", "10.0.0.0/33", "10.0.0.1/8", "10.0.0.0/", "/8",
		"10.0.0.0/8:80", "*.10.0.0.0/8", "::ffff:10.0.0.0/104", "fd00::1/8", "[fd00::]/8", "fe80::%eth0/10",
		"::1", "[::1", "::1]", "[10.0.0.1]", "[fe80::1%eth0]", "[example.com]", "127.1", "2130706433", "0x7f.1",
		"10.0.0.256", "10.0.0.01", "example.com,example.org",
	} {
		if _, err := NewGuard(nil, []string{"cdn.example.com", entry}); err == nil {
			t.Errorf("%q is accepted", entry)
		} else if want := "allowed upstream " + quote(entry); !strings.Contains(err.Error(), want) {
			t.Errorf("%q: the error doesn't name the entry: %v", entry, err)
		}
	}
	for _, entry := range []string{"*", "a.*.example.com", "*example.com"} {
		if _, err := NewGuard(nil, []string{entry}); !strings.Contains(err.Error(), `as in "*.example.com"`) {
			t.Errorf("%q: the error does not say how to write it: %v", entry, err)
		}
	}
	for _, pair := range []string{
		"", "example.com", "example.com:", "example.com:0", ":80", "::1:80", "[::1]", "*.example.com:80",
		"10.0.0.0/8", "http://example.com:80", "127.1:80",
	} {
		if _, err := NewGuard([]string{pair}, nil); err == nil {
			t.Errorf("trusted %q is accepted", pair)
		} else if want := "trusted upstream " + quote(pair); !strings.Contains(err.Error(), want) {
			t.Errorf("%q: the error doesn't name the entry: %v", pair, err)
		}
	}
}

func quote(s string) string { return `"` + s + `"` }

func FuzzNewGuard(f *testing.F) {
	odd := []string{"", "*", "[::1", "10.0.0.0/33", "a..b", "127.1", "*.[::1]:1"}
	for _, entry := range slices.Concat(testAllowed, odd) {
		f.Add(entry, "https://cdn.example.com/")
	}
	f.Add("*.example.com", "https://evil-example.com/")
	f.Fuzz(func(t *testing.T, entry, raw string) {
		g, err := NewGuard(nil, []string{entry})
		if err != nil {
			if !strings.HasPrefix(err.Error(), "allowed upstream ") {
				t.Fatalf("unclear error: %v", err)
			}
			return
		}
		if !strings.ContainsAny(entry, "/[") {
			// A list of one entry allows nothing but names that end as the entry does.
			u, err := url.Parse(raw)
			if err != nil {
				return
			}
			if trusted, err := g.Check(u); err == nil {
				name, _, _ := strings.Cut(strings.TrimPrefix(strings.ToLower(entry), "*"), ":")
				got := strings.TrimSuffix(strings.ToLower(u.Hostname()), ".")
				if addr, err := netip.ParseAddr(got); err == nil {
					got = addr.Unmap().String()
				}
				if trusted || !strings.HasSuffix(got, strings.TrimSuffix(name, ".")) {
					t.Fatalf("%q allows %q", entry, raw)
				}
			}
		}
	})
}

func FuzzGuardCheck(f *testing.F) {
	for _, raw := range []string{
		"https://cdn.example.com/", "http://10.1.2.3:6379/", "https://a.example.net./", "http://[::ffff:10.0.0.1]/",
		"http://2130706433/", "http://0x7f.1/", "https://user@cdn.example.com/", "https://evil-example.net/",
		"https://cdn.example.com:65979/", "http://[fe80::1%25eth0]/", "https://cdn。example.com/", "http:x",
	} {
		f.Add(raw)
	}
	g := newGuard(f, []string{"origin.internal:9000"}, []string{"cdn.example.com", "*.example.net", "10.0.0.0/8"})
	f.Fuzz(func(t *testing.T, raw string) {
		u, err := url.Parse(raw)
		if err != nil {
			return
		}
		trusted, err := g.Check(u)
		if err != nil {
			if !errors.Is(err, ErrForbidden) {
				t.Fatalf("%q: %v", raw, err)
			}
			return
		}
		// Hostname and Port are what net/http dials.
		name, port := strings.TrimSuffix(strings.ToLower(u.Hostname()), "."), u.Port()
		if trusted {
			if name != "origin.internal" || port != "9000" {
				t.Fatalf("trusts %q", raw)
			}
			return
		}
		if addr, err := netip.ParseAddr(name); err == nil {
			if addr.Zone() != "" || addr.Unmap().As4()[0] != 10 {
				t.Fatalf("allows %q", raw)
			}
			return
		}
		if u.User != nil || name != "cdn.example.com" && !strings.HasSuffix(name, ".example.net") {
			t.Fatalf("allows %q", raw)
		}
		want := map[string]string{"http": "80", "https": "443"}[u.Scheme]
		if want == "" || strings.TrimLeft(port, "0") != want && port != "" {
			t.Fatalf("allows %q", raw)
		}
	})
}
