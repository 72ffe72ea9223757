package template

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/voyo-music/caddy-voyo/resolver"
	"github.com/voyo-music/caddy-voyo/resolver/internal/guest/guesttest"
)

func TestUnmarshalCaddyfile(t *testing.T) {
	for _, tc := range []struct{ name, segment, want, errs string }{
		{
			"all", "template {\n audio http://a/1 http://a/2\n video http://v\n art http://i\n}",
			`{"audio":["http://a/1","http://a/2"],"video":["http://v"],"art":["http://i"]}`, "",
		},
		{
			"unexpanded", "template {\n audio http://{env.H}/{http.voyo.id}\n}",
			`{"audio":["http://{env.H}/{http.voyo.id}"]}`, "",
		},
		{"no block", "template", "", "at least one of audio, video and art is needed, at Testfile:1"},
		{
			"surplus argument", "template x {\n audio http://a\n}", "",
			"wrong argument count or unexpected line ending after 'x', at Testfile:1",
		},
		{"unknown", "template {\n audio http://a\n sound http://a\n}", "", "unrecognized subdirective 'sound'; known are: art, audio, video, at Testfile:3"},
		{"repeated", "template {\n audio http://a\n audio http://b\n}", "", "audio is already given, at Testfile:3"},
		{
			"no argument", "template {\n art\n}", "",
			"wrong argument count or unexpected line ending after 'art', at Testfile:2",
		},
		{"empty argument", "template {\n video http://a \"\"\n}", "", "video has an empty argument, at Testfile:2"},
		{"block", "template {\n audio http://a {\n x\n }\n}", "", "unexpected block, at Testfile:2"},
	} {
		t.Run(tc.name, func(t *testing.T) { guesttest.CheckAdapt(t, tc.segment, tc.want, tc.errs) })
	}
}

func TestProvisionErrors(t *testing.T) {
	t.Setenv("VOYO_TEST_SECRET", "hunter2")
	t.Setenv("VOYO_TEST_BRACES", "x{hunter2}")
	for _, tc := range []struct{ name, segment, want string }{
		{"nothing", "template", "at least one of audio, video and art is needed"},
		{
			"scheme", "template {\n audio http://a ftp://a\n}",
			"audio, candidate 2: URL must begin with http:// or https://",
		},
		{
			"unset", "template {\n video http://a/{env.VOYO_TEST_UNSET}\n}",
			"video, candidate 1: environment variable VOYO_TEST_UNSET is not set or empty",
		},
		{
			"missing file", "template {\n art http://a/{file./nowhere/at/all}\n}",
			"art, candidate 1: file /nowhere/at/all is missing or empty",
		},
		{
			"unknown placeholder", "template {\n audio http://a/{http.request.uri}\n}",
			"audio, candidate 1: unknown placeholder {http.request.uri}",
		},
		{
			"other kind's", "template {\n art http://a/{http.voyo.bitrate}\n}",
			"art, candidate 1: placeholder {http.voyo.bitrate} is empty for kind art",
		},
		{
			"host", "template {\n audio http://{http.voyo.id}.a/\n}",
			"audio, candidate 1: placeholder {http.voyo.id} is not allowed before the path",
		},
		{
			"secret as user info", "template {\n audio http://u:{env.VOYO_TEST_SECRET}@a/\n}",
			"audio, candidate 1: user info is not allowed in the URL",
		},
		{
			"secret as port", "template {\n audio http://a:{env.VOYO_TEST_SECRET}/\n}",
			"audio, candidate 1: malformed URL",
		},
		{
			"secret with braces", "template {\n audio http://a/{env.VOYO_TEST_BRACES}\n}",
			"audio, candidate 1: unknown placeholder in an expanded value",
		},
	} {
		t.Run(tc.name, func(t *testing.T) { guesttest.CheckRefused(t, tc.segment, tc.want, "hunter2") })
	}
}

func TestResolve(t *testing.T) {
	t.Setenv("VOYO_TEST_HOST", "media.example.com:8080")
	prefix := filepath.Join(t.TempDir(), "prefix")
	if err := os.WriteFile(prefix, []byte("music\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := guesttest.MustLoad(t, `template {
		audio http://{env.VOYO_TEST_HOST}/{http.voyo.bitrate}/{http.voyo.id}.opus \
			https://b.example.com/{file.`+prefix+`}/{http.voyo.vyo_id}?q={http.voyo.quality}
		art https://i.example.com/vi/{http.voyo.id}/{http.voyo.image}.jpg
	}`)
	for _, tc := range []struct {
		name  string
		asset resolver.Asset
		want  []string
	}{
		{
			"high", guesttest.Audio,
			[]string{"http://media.example.com:8080/128/OSBan_sH_b8.opus", "https://b.example.com/music/vyo_T1NCYW5fc0hfYjg?q=high"},
		},
		{
			"low", guesttest.LowAudio,
			[]string{"http://media.example.com:8080/64/OSBan_sH_b8.opus", "https://b.example.com/music/vyo_T1NCYW5fc0hfYjg?q=low"},
		},
		{"art", guesttest.Art, []string{"https://i.example.com/vi/OSBan_sH_b8/maxresdefault.jpg"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			answer, err := r.Resolve(t.Context(), tc.asset)
			if err != nil {
				t.Fatal(err)
			}
			if got := guesttest.URLs(answer); !slices.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
			if !answer.Computed || !answer.Expires.IsZero() {
				t.Errorf("computed %t, expires %v", answer.Computed, answer.Expires)
			}
		})
	}
	if _, err := r.Resolve(t.Context(), guesttest.Video); !errors.Is(err, resolver.ErrNotFound) {
		t.Errorf("video: got %v, want not found", err)
	}
	want := []string{"media.example.com:8080", "b.example.com:443", "i.example.com:443"}
	if got := r.(resolver.HostLister).Hosts(); !slices.Equal(got, want) {
		t.Errorf("got hosts %v, want %v", got, want)
	}
}

func TestIdentity(t *testing.T) {
	identity := func(segment string) string {
		return guesttest.MustLoad(t, segment).(resolver.Identifier).Identity()
	}
	const segment = "template {\n audio http://a/{env.VOYO_TEST_PATH}/{http.voyo.id}?key={env.VOYO_TEST_KEY}\n}"
	t.Setenv("VOYO_TEST_PATH", "one")
	t.Setenv("VOYO_TEST_KEY", "hunter2")
	first := identity(segment)
	if strings.Contains(first, "hunter2") {
		t.Errorf("identity holds a secret: %s", first)
	}
	t.Setenv("VOYO_TEST_KEY", "rotated")
	if identity(segment) != first {
		t.Error("a rotated key changes the identity")
	}
	t.Setenv("VOYO_TEST_PATH", "two")
	if identity(segment) == first {
		t.Error("another path has the same identity")
	}
	if identity("template {\n audio http://a\n}") == identity("template {\n video http://a\n}") {
		t.Error("audio and video have the same identity")
	}
}

func BenchmarkResolve(b *testing.B) {
	t := &Template{Audio: []string{"https://a.example.com/{http.voyo.bitrate}/{http.voyo.id}?q={http.voyo.quality}"}}
	if err := t.Provision(caddy.Context{}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := t.Resolve(b.Context(), guesttest.Audio); err != nil {
			b.Fatal(err)
		}
	}
}
