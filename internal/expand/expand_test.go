package expand

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

func TestExpand(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	lines := write("lines", "first\nhunter2\n\n")
	empty := write("empty", "\n")
	missing := filepath.Join(dir, "missing")
	t.Setenv("VOYO_TEST_SET", "hunter2")
	t.Setenv("VOYO_TEST_NESTED", "{env.VOYO_TEST_SET}")
	t.Setenv("VOYO_TEST_EMPTY", "")

	type function func(*caddy.Replacer, string, string) (string, error)
	for _, tc := range []struct {
		name   string
		expand function
		value  string
		want   string
		errs   string
	}{
		{"literal", Value, "plain", "plain", ""},
		{"nothing", Value, "", "", ""},
		{"variable", Value, "Bearer {env.VOYO_TEST_SET}!", "Bearer hunter2!", ""},
		{"file without one newline", Value, "{file." + lines + "}", "first\nhunter2\n", ""},
		{"several", Value, "{env.VOYO_TEST_SET}{env.VOYO_TEST_SET}", "hunter2hunter2", ""},
		{"once", Value, "{env.VOYO_TEST_NESTED}", "{env.VOYO_TEST_SET}", ""},
		{"unclosed", Value, "a{b", "a{b", ""},
		{
			"unset variable", Value, "{env.VOYO_TEST_SET}{env.VOYO_TEST_UNSET}", "",
			"f: environment variable VOYO_TEST_UNSET is not set or empty",
		},
		{
			"empty variable", Value, "x{env.VOYO_TEST_EMPTY}", "",
			"f: environment variable VOYO_TEST_EMPTY is not set or empty",
		},
		{
			"default", Value, "{env.VOYO_TEST_UNSET:hunter2}", "",
			"f: {env.VOYO_TEST_UNSET:...} takes no default; the Caddyfile's {$VOYO_TEST_UNSET:...} does",
		},
		{"missing file", Value, "{file." + missing + "}", "", "f: file " + missing + " is missing or empty"},
		{"empty file", Value, "{file." + empty + "}", "", "f: file " + empty + " is missing or empty"},
		{"unknown", Value, "{http.request.host}", "", "f: unknown placeholder {http.request.host}"},
		{"other globals", Value, "{system.hostname}", "", "f: unknown placeholder {system.hostname}"},
		{"request", Value, "{http.voyo.id}", "", "f: unknown placeholder {http.voyo.id}"},

		{"template", Template, "{env.VOYO_TEST_SET}/{http.voyo.id}", "hunter2/{http.voyo.id}", ""},
		{"template, unknown", Template, "{http.request.host}", "", "f: unknown placeholder {http.request.host}"},
		{
			"template, unset", Template, "{http.voyo.id}{env.VOYO_TEST_UNSET}", "",
			"f: environment variable VOYO_TEST_UNSET is not set or empty",
		},

		{"secret variable", Secret, "{env.VOYO_TEST_SET}", "hunter2", ""},
		{"secret file", Secret, "{file." + lines + "}", "first\nhunter2\n", ""},
		{"secret, literal", Secret, "hunter2", "", "f: must be a placeholder such as {env.NAME} or {file./path}"},
		{"secret, nothing", Secret, "", "", "f: must be a placeholder such as {env.NAME} or {file./path}"},
		{
			"secret, partly literal", Secret, "hunter{env.VOYO_TEST_SET}", "",
			"f: must be a placeholder such as {env.NAME} or {file./path}",
		},
		{
			"secret, two", Secret, "{env.VOYO_TEST_SET}hunter2{env.VOYO_TEST_SET}", "",
			"f: must be a placeholder such as {env.NAME} or {file./path}",
		},
		{
			"secret, other", Secret, "{system.hostname}", "",
			"f: must be a placeholder such as {env.NAME} or {file./path}",
		},
		{
			"secret, unset", Secret, "{env.VOYO_TEST_UNSET}", "",
			"f: environment variable VOYO_TEST_UNSET is not set or empty",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := tc.expand(caddy.NewReplacer(), "f", tc.value)
			var text string
			if err != nil {
				text = err.Error()
			}
			if got != tc.want || text != tc.errs {
				t.Errorf("got %q, %q; want %q, %q", got, text, tc.want, tc.errs)
			}
			if strings.Contains(text, "hunter2") {
				t.Errorf("error holds a value: %s", text)
			}
		})
	}
}

func TestHolds(t *testing.T) {
	for value, want := range map[string]bool{
		"Bearer {env.KEY}":  true,
		"{file./run/x}":     true,
		"plain":             false,
		"{http.voyo.id}":    false,
		"{system.hostname}": false,
		"":                  false,
	} {
		if got := Holds(value); got != want {
			t.Errorf("%q: got %t", value, got)
		}
	}
}
