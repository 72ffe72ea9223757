package api

import (
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/voyo-music/caddy-voyo/resolver"
	"github.com/voyo-music/caddy-voyo/resolver/internal/guest/guesttest"
)

func TestUnmarshalCaddyfile(t *testing.T) {
	for _, tc := range []struct{ name, segment, want, errs string }{
		{"short", "api https://a/stream", `{"url":"https://a/stream"}`, ""},
		{
			"all",
			"api https://a {\n format piped\n header authorization \"Bearer {env.K}\"\n header X-Tenant voyo\n timeout 1m\n}",
			`{"url":"https://a","format":"piped","headers":{"Authorization":"Bearer {env.K}","X-Tenant":"voyo"},"timeout":60000000000}`,
			"",
		},
		{"no URL", "api", "", "wrong argument count or unexpected line ending after 'api', at Testfile:1"},
		{
			"two URLs", "api https://a https://b", "",
			"wrong argument count or unexpected line ending after 'https://b', at Testfile:1",
		},
		{"unknown", "api https://a {\n retries 3\n}", "", "unrecognized subdirective 'retries'; known are: format, header, timeout, at Testfile:2"},
		{
			"unknown format", "api https://a {\n format xml\n}", "",
			"unknown format xml: must be voyo or piped, at Testfile:2",
		},
		{
			"no format", "api https://a {\n format\n}", "",
			"wrong argument count or unexpected line ending after 'format', at Testfile:2",
		},
		{
			"two formats", "api https://a {\n format voyo piped\n}", "",
			"wrong argument count or unexpected line ending after 'piped', at Testfile:2",
		},
		{
			"repeated format", "api https://a {\n format voyo\n format voyo\n}", "",
			"format is already given, at Testfile:3",
		},
		{
			"no value", "api https://a {\n header X-Tenant\n}", "",
			"wrong argument count or unexpected line ending after 'X-Tenant', at Testfile:2",
		},
		{
			"surplus value", "api https://a {\n header X-Tenant a b\n}", "",
			"wrong argument count or unexpected line ending after 'a', at Testfile:2",
		},
		{
			"repeated header", "api https://a {\n header X-Tenant a\n header x-tenant b\n}", "",
			"header X-Tenant is already given, at Testfile:3",
		},
		{
			"malformed timeout", "api https://a {\n timeout soon\n}", "",
			"invalid timeout soon: must be a positive duration, as in 8s, at Testfile:2",
		},
		{
			"no time", "api https://a {\n timeout 0s\n}", "",
			"invalid timeout 0s: must be a positive duration, as in 8s, at Testfile:2",
		},
		{
			"repeated timeout", "api https://a {\n timeout 1s\n timeout 2s\n}", "",
			"timeout is already given, at Testfile:3",
		},
	} {
		t.Run(tc.name, func(t *testing.T) { guesttest.CheckAdapt(t, tc.segment, tc.want, tc.errs) })
	}
}

func TestProvisionErrors(t *testing.T) {
	t.Setenv("VOYO_TEST_SECRET", "hunter2")
	t.Setenv("VOYO_TEST_LINES", "hunter2\nX-Other: a")
	const needsPlaceholder = ": must take its value from a placeholder such as {env.NAME}"
	for _, tc := range []struct{ name, segment, want string }{
		{"scheme", "api a.example.com", "url: URL must begin with http:// or https://"},
		{"user info", "api https://u:{env.VOYO_TEST_SECRET}@a", "url: user info is not allowed in the URL"},
		{
			"unset in URL", "api https://a/{env.VOYO_TEST_UNSET}",
			"url: environment variable VOYO_TEST_UNSET is not set or empty",
		},
		{
			"VOYO has no art", "api https://a/{http.voyo.image}",
			"url: placeholder {http.voyo.image} is empty for kind stream",
		},
		{
			"Piped has art", "api https://a/{http.voyo.type} {\n format piped\n}",
			"url: placeholder {http.voyo.type} is empty for kind art",
		},
		{
			"unset in header", "api https://a {\n header Authorization \"Bearer {env.VOYO_TEST_UNSET}\"\n}",
			"header Authorization: environment variable VOYO_TEST_UNSET is not set or empty",
		},
		{
			"request placeholder in header", "api https://a {\n header X-Track {http.voyo.id}\n}",
			"header X-Track: unknown placeholder {http.voyo.id}",
		},
		{
			"header injection", "api https://a {\n header Authorization {env.VOYO_TEST_LINES}\n}",
			"header Authorization: value has characters that a header can't have",
		},
		{"header name", "api https://a {\n header \"X Tenant\" a\n}", `invalid header name "X Tenant"`},
		{"reserved header", "api https://a {\n header host b\n}", "header Host: can't be set"},
		{
			"literal Authorization", "api https://a {\n header Authorization \"Bearer hunter2\"\n}",
			"header Authorization" + needsPlaceholder,
		},
		{"literal Cookie", "api https://a {\n header Cookie s=hunter2\n}", "header Cookie" + needsPlaceholder},
		{
			"literal Proxy-Authorization", "api https://a {\n header proxy-authorization hunter2\n}",
			"header Proxy-Authorization" + needsPlaceholder,
		},
		{"literal X-Api-Key", "api https://a {\n header X-Api-Key hunter2\n}", "header X-Api-Key" + needsPlaceholder},
		{
			"literal X-Access-Token", "api https://a {\n header x-access-token hunter2\n}",
			"header X-Access-Token" + needsPlaceholder,
		},
	} {
		t.Run(tc.name, func(t *testing.T) { guesttest.CheckRefused(t, tc.segment, tc.want, "hunter2") })
	}
}

// What a Caddyfile can't say can be said in JSON.
func TestJSONErrors(t *testing.T) {
	for _, tc := range []struct {
		name string
		api  API
		want string
	}{
		{"no URL", API{}, "url: URL must begin with http:// or https://"},
		{"format", API{URL: "https://a", Format: "xml"}, `unknown format "xml": must be voyo or piped`},
		{
			"repeated header", API{URL: "https://a", Headers: map[string]string{"X-A": "", "x-a": ""}},
			"header x-a: is already given",
		},
		{"negative timeout", API{URL: "https://a", Timeout: -1}, "timeout must not be negative"},
	} {
		err := tc.api.Provision(caddy.Context{})
		if err == nil {
			err = tc.api.Validate()
		}
		if err == nil || err.Error() != tc.want {
			t.Errorf("%s: got %v, want %s", tc.name, err, tc.want)
		}
	}
}

func TestDefaults(t *testing.T) {
	a := guesttest.MustLoad(t, "api https://api.example.com/stream").(*API)
	if a.Format != "voyo" || time.Duration(a.Timeout) != 8*time.Second {
		t.Errorf("got format %s, timeout %s", a.Format, time.Duration(a.Timeout))
	}
	if got := a.Hosts(); len(got) != 1 || got[0] != "api.example.com:443" {
		t.Errorf("got hosts %v", got)
	}
	_, err := a.Resolve(t.Context(), guesttest.Audio)
	if err == nil || err.Error() != "no transport to ask the service through" {
		t.Errorf("without a transport: got %v", err)
	}
}

func TestIdentity(t *testing.T) {
	identity := func(segment string) string {
		return guesttest.MustLoad(t, segment).(resolver.Identifier).Identity()
	}
	const segment = `api https://{env.VOYO_TEST_HOST}/stream?key={env.VOYO_TEST_KEY} {
		header Authorization {env.VOYO_TEST_KEY}
	}`
	t.Setenv("VOYO_TEST_HOST", "a")
	t.Setenv("VOYO_TEST_KEY", "hunter2")
	first := identity(segment)
	if strings.Contains(first, "hunter2") {
		t.Errorf("identity holds a secret: %s", first)
	}
	t.Setenv("VOYO_TEST_KEY", "rotated")
	if identity(segment) != first {
		t.Error("a rotated key changes the identity")
	}
	t.Setenv("VOYO_TEST_HOST", "b")
	if identity(segment) == first {
		t.Error("another host has the same identity")
	}
	if identity("api https://a") == identity("api https://a {\n format piped\n}") {
		t.Error("two formats have the same identity")
	}
	if identity("api https://a") == identity("api https://a {\n header X-Tenant a\n}") {
		t.Error("two tenants have the same identity")
	}
}
