package pattern

import (
	"net/url"
	"strings"
	"testing"

	"github.com/voyo-music/caddy-voyo/resolver"
)

var (
	audio = resolver.Asset{ID: "OSBan_sH_b8", Kind: resolver.Stream, Type: resolver.Audio, Bitrate: resolver.LowBitrate}
	art   = resolver.Asset{ID: "OSBan_sH_b8", Kind: resolver.Art, Image: "mqdefault"}
)

func TestExpand(t *testing.T) {
	const all = "{http.voyo.kind}/{http.voyo.id}/{http.voyo.vyo_id}/{http.voyo.quality}"
	for _, tc := range []struct {
		text  string
		asset resolver.Asset
		want  string
	}{
		{"", audio, ""},
		{"plain", audio, "plain"},
		{"{http.voyo.bitrate}{http.voyo.bitrate}", audio, "6464"},
		{all + "/{http.voyo.type}/{http.voyo.bitrate}", audio, "stream/OSBan_sH_b8/vyo_T1NCYW5fc0hfYjg/low/audio/64"},
		{all + "/{http.voyo.image}.jpg", art, "art/OSBan_sH_b8/vyo_T1NCYW5fc0hfYjg/medium/mqdefault.jpg"},
	} {
		p, err := Compile(tc.text, tc.asset.Kind)
		if err != nil {
			t.Errorf("%s: %v", tc.text, err)
			continue
		}
		if got := p.Expand(tc.asset); got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.text, got, tc.want)
		}
	}
}

func TestCompileErrors(t *testing.T) {
	for _, tc := range []struct {
		text string
		kind resolver.Kind
		want string
	}{
		{"{http.voyo.cache}", resolver.Stream, "unknown placeholder {http.voyo.cache}"},
		{"{http.voyo.}", resolver.Stream, "unknown placeholder {http.voyo.}"},
		{"{hunter2}", resolver.Stream, "unknown placeholder in an expanded value"},
		{"{}", resolver.Stream, "unknown placeholder in an expanded value"},
		{"a{http.voyo.id", resolver.Stream, "unclosed placeholder"},
		{"a}b", resolver.Stream, "closing brace without an opening one"},
		{"{http.voyo.id}}", resolver.Stream, "closing brace without an opening one"},
		{"{http.voyo.image}", resolver.Stream, "placeholder {http.voyo.image} is empty for kind stream"},
		{"{http.voyo.type}", resolver.Art, "placeholder {http.voyo.type} is empty for kind art"},
		{"{http.voyo.bitrate}", resolver.Art, "placeholder {http.voyo.bitrate} is empty for kind art"},
	} {
		if _, err := Compile(tc.text, tc.kind); err == nil || err.Error() != tc.want {
			t.Errorf("%s: got %v, want %s", tc.text, err, tc.want)
		}
	}
}

func TestURL(t *testing.T) {
	for _, tc := range []struct{ text, want, hostPort string }{
		{"https://cdn.example.com", "https://cdn.example.com", "cdn.example.com:443"},
		{"http://cdn.example.com/{http.voyo.id}.opus", "http://cdn.example.com/OSBan_sH_b8.opus", "cdn.example.com:80"},
		{"HTTPS://CDN.Example.com:443/a", "https://cdn.example.com/a", "cdn.example.com:443"},
		{"http://h:80?v={http.voyo.id}", "http://h?v=OSBan_sH_b8", "h:80"},
		{"http://h:443/", "http://h:443/", "h:443"},
		{"http://h:/", "http://h/", "h:80"},
		{"http://[2001:DB8::1]:80/", "http://[2001:db8::1]/", "[2001:db8::1]:80"},
		{
			"http://127.0.0.1:9000/a%2Fb/{http.voyo.id}%20c?x=%7E{http.voyo.type}",
			"http://127.0.0.1:9000/a%2Fb/OSBan_sH_b8%20c?x=%7Eaudio", "127.0.0.1:9000",
		},
		{"http://h/ü b/{http.voyo.id}", "http://h/%C3%BC%20b/OSBan_sH_b8", "h:80"},
	} {
		u, err := CompileURL(tc.text, resolver.Stream)
		if err != nil {
			t.Errorf("%s: %v", tc.text, err)
			continue
		}
		if got := u.Expand(audio).String(); got != tc.want {
			t.Errorf("%s: got %s, want %s", tc.text, got, tc.want)
		}
		if got := u.HostPort(); got != tc.hostPort {
			t.Errorf("%s: got host %s, want %s", tc.text, got, tc.hostPort)
		}
	}
}

func TestURLErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                         "URL must begin with http:// or https://",
		"/relative":                "URL must begin with http:// or https://",
		"example.com/a":            "URL must begin with http:// or https://",
		"ftp://h/a":                "URL must begin with http:// or https://",
		"file:///etc/passwd":       "URL must begin with http:// or https://",
		"http:opaque":              "URL has no host",
		"http:///a":                "URL has no host",
		"http://:80/a":             "URL has no host",
		"http://u:p@h/a":           "user info is not allowed in the URL",
		"http://h:0/":              "URL has an invalid port",
		"http://h:65536/":          "URL has an invalid port",
		"http://h:x/":              "malformed URL",
		"http://h/%zz":             "malformed URL",
		"http://h/\n":              "malformed URL",
		"http://h/a#":              "fragment is not allowed in the URL",
		"http://h#{http.voyo.id}":  "fragment is not allowed in the URL",
		"http://h/?a b":            "query is not percent-encoded",
		"http://h/?ü":              "query is not percent-encoded",
		"http://{http.voyo.id}/":   "placeholder {http.voyo.id} is not allowed before the path",
		"http://h:{http.voyo.id}?": "placeholder {http.voyo.id} is not allowed before the path",
		"{http.voyo.kind}://h/":    "placeholder {http.voyo.kind} is not allowed before the path",
		"http://h/{http.voyo.x}":   "unknown placeholder {http.voyo.x}",
	} {
		if _, err := CompileURL(text, resolver.Stream); err == nil || err.Error() != want {
			t.Errorf("%q: got %v, want %s", text, err, want)
		}
	}
}

// A URL that compiles keeps its host, and is the same when it is parsed again.
func FuzzCompileURL(f *testing.F) {
	for _, seed := range []string{
		"http://h/{http.voyo.id}", "https://h:443/a%2F{http.voyo.type}?q={http.voyo.id}",
		"http://[::1]/%7Bhttp.voyo.id%7D", "http://h?{http.voyo.vyo_id}", "http://h\\{x\\}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		compiled, err := CompileURL(text, resolver.Stream)
		if err != nil {
			return
		}
		u := compiled.Expand(audio)
		again, err := url.Parse(u.String())
		if err != nil {
			t.Fatalf("%q expands to a malformed URL: %v", text, err)
		}
		if HostPort(again) != compiled.HostPort() || again.Path != u.Path && u.Path != "" {
			t.Fatalf("%q: %s is parsed as %s", text, u, again)
		}
		if strings.ContainsAny(u.Host, "{}@/?#") {
			t.Fatalf("%q: host %q", text, u.Host)
		}
	})
}
