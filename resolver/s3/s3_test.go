package s3

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/voyo-music/caddy-voyo/resolver"
	"github.com/voyo-music/caddy-voyo/resolver/internal/guest/guesttest"
)

// segment returns an s3 resolver's Caddyfile segment whose lines differ from, or
// come on top of, those of one that is right.
func segment(lines ...string) string {
	all := map[string]string{
		"endpoint":   "http://127.0.0.1:9000",
		"bucket":     "music",
		"audio":      "{http.voyo.bitrate}/{http.voyo.id}.opus",
		"access_key": "{env.VOYO_TEST_ACCESS}",
		"secret_key": "{env.VOYO_TEST_SECRET}",
	}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, " ")
		all[name] = value
	}
	var sb strings.Builder
	sb.WriteString("s3 {\n")
	for _, name := range []string{"endpoint", "bucket", "region", "audio", "video", "art", "access_key", "secret_key"} {
		if all[name] != "" {
			sb.WriteString(name + " " + all[name] + "\n")
		}
	}
	return sb.String() + "}"
}

func TestUnmarshalCaddyfile(t *testing.T) {
	for _, tc := range []struct{ name, segment, want, errs string }{
		{
			"all", segment("region eu", "audio a b", "video v", "art i"),
			`{"endpoint":"http://127.0.0.1:9000","bucket":"music","region":"eu",` +
				`"audio":["a","b"],"video":["v"],"art":["i"],` +
				`"access_key":"{env.VOYO_TEST_ACCESS}","secret_key":"{env.VOYO_TEST_SECRET}"}`,
			"",
		},
		{"surplus argument", "s3 x", "", "wrong argument count or unexpected line ending after 'x', at Testfile:1"},
		{"unknown", "s3 {\n acl private\n}", "", "unrecognized subdirective 'acl'; known are: access_key, art, audio, bucket, endpoint, region, secret_key, video, at Testfile:2"},
		{"repeated value", "s3 {\n bucket a\n bucket b\n}", "", "bucket is already given, at Testfile:3"},
		{"repeated list", "s3 {\n art a\n art b\n}", "", "art is already given, at Testfile:3"},
		{
			"no value", "s3 {\n secret_key\n}", "",
			"wrong argument count or unexpected line ending after 'secret_key', at Testfile:2",
		},
		{
			"two values", "s3 {\n endpoint a b\n}", "",
			"wrong argument count or unexpected line ending after 'b', at Testfile:2",
		},
		{"empty value", "s3 {\n region \"\"\n}", "", "region has an empty argument, at Testfile:2"},
	} {
		t.Run(tc.name, func(t *testing.T) { guesttest.CheckAdapt(t, tc.segment, tc.want, tc.errs) })
	}
}

func TestProvisionErrors(t *testing.T) {
	t.Setenv("VOYO_TEST_ACCESS", "access")
	t.Setenv("VOYO_TEST_SECRET", "hunter2")
	const placeholder = ": must be a placeholder such as {env.NAME} or {file./path}"
	const name = ": must be a name of letters, digits, '-', '.' and '_'"
	for _, tc := range []struct{ name, line, want string }{
		{"no endpoint", "endpoint", "endpoint: URL must begin with http:// or https://"},
		{"endpoint with path", "endpoint http://s3/x", "endpoint: only scheme, host and port are allowed"},
		{"endpoint with query", "endpoint http://s3?", "endpoint: only scheme, host and port are allowed"},
		{
			"endpoint with user", "endpoint http://u:{env.VOYO_TEST_SECRET}@s3",
			"endpoint: user info is not allowed in the URL",
		},
		{
			"request placeholder in endpoint", "endpoint http://{http.voyo.id}",
			"endpoint: unknown placeholder {http.voyo.id}",
		},
		{"no bucket", "bucket", "bucket" + name},
		{"bucket with path", "bucket a/b", "bucket" + name},
		{"bucket above", "bucket ..", "bucket" + name},
		{
			"unset bucket", "bucket {env.VOYO_TEST_UNSET}",
			"bucket: environment variable VOYO_TEST_UNSET is not set or empty",
		},
		{"region", "region a/b", "region" + name},
		{"no keys", "audio", "at least one of audio, video and art is needed"},
		{"absolute key", "audio ok /x", "audio, candidate 2: key must not have empty, . or .. segments"},
		{"key above", "video a/../b", "video, candidate 1: key must not have empty, . or .. segments"},
		{
			"key's placeholder", "art {http.voyo.bitrate}",
			"art, candidate 1: placeholder {http.voyo.bitrate} is empty for kind art",
		},
		{"no access key", "access_key", "access_key" + placeholder},
		{"literal access key", "access_key hunter2", "access_key" + placeholder},
		{"literal secret key", "secret_key hunter2", "secret_key" + placeholder},
		{"partly literal secret key", "secret_key hunter2{env.VOYO_TEST_SECRET}", "secret_key" + placeholder},
		{
			"unset secret key", "secret_key {env.VOYO_TEST_UNSET}",
			"secret_key: environment variable VOYO_TEST_UNSET is not set or empty",
		},
	} {
		t.Run(tc.name, func(t *testing.T) { guesttest.CheckRefused(t, segment(tc.line), tc.want, "hunter2") })
	}
}

func TestResolve(t *testing.T) {
	t.Setenv("VOYO_TEST_ACCESS", "access")
	t.Setenv("VOYO_TEST_SECRET", "hunter2")
	r := guesttest.MustLoad(t, segment(
		"endpoint https://S3.example.com:443/",
		"audio {http.voyo.bitrate}/{http.voyo.id}.opus old/{http.voyo.id}",
	)).(*S3)
	now := time.Date(2026, 11, 23, 10, 30, 0, 999, time.UTC)
	r.now = func() time.Time { return now }

	answer, err := r.Resolve(t.Context(), guesttest.Audio)
	if err != nil {
		t.Fatal(err)
	}
	if want := now.Truncate(time.Second).Add(6 * time.Hour); answer.Computed || !answer.Expires.Equal(want) {
		t.Errorf("computed %t, expires %v", answer.Computed, answer.Expires)
	}
	var paths []string
	for _, target := range answer.Targets {
		u, query := target.URL, target.URL.Query()
		paths = append(paths, u.Scheme+"://"+u.Host+u.Path)
		for name, want := range map[string]string{
			"X-Amz-Credential":    "access/20261123/auto/s3/aws4_request",
			"X-Amz-Date":          "20261123T103000Z",
			"X-Amz-Expires":       "21600",
			"X-Amz-SignedHeaders": "host",
		} {
			if query.Get(name) != want {
				t.Errorf("got %s=%s, want %s", name, query.Get(name), want)
			}
		}
		if len(query.Get("X-Amz-Signature")) != 64 || strings.Contains(u.String(), "hunter2") || target.Header != nil {
			t.Errorf("got %s with %v", u, target.Header)
		}
	}
	const bucket = "https://s3.example.com/music/"
	want := []string{bucket + "128/OSBan_sH_b8.opus", bucket + "old/OSBan_sH_b8"}
	if !slices.Equal(paths, want) {
		t.Errorf("got %v, want %v", paths, want)
	}
	for _, asset := range []resolver.Asset{guesttest.Video, guesttest.Art} {
		if _, err := r.Resolve(t.Context(), asset); !errors.Is(err, resolver.ErrNotFound) {
			t.Errorf("%s: got %v, want not found", asset.Key(), err)
		}
	}
	if got := r.Hosts(); !slices.Equal(got, []string{"s3.example.com:443"}) {
		t.Errorf("got hosts %v", got)
	}
}

func TestIdentity(t *testing.T) {
	identity := func(lines ...string) string {
		return guesttest.MustLoad(t, segment(lines...)).(resolver.Identifier).Identity()
	}
	t.Setenv("VOYO_TEST_ACCESS", "access")
	t.Setenv("VOYO_TEST_SECRET", "hunter2")
	first := identity()
	t.Setenv("VOYO_TEST_SECRET", "rotated")
	if identity() != first || identity("region auto") != first {
		t.Error("a rotated key, or the default written out, changes the identity")
	}
	t.Setenv("VOYO_TEST_PREFIX", "a")
	prefixed := identity("audio {env.VOYO_TEST_PREFIX}/{http.voyo.id}")
	t.Setenv("VOYO_TEST_PREFIX", "b")
	for name, other := range map[string]string{
		"endpoint": identity("endpoint http://127.0.0.1:9001"),
		"bucket":   identity("bucket other"),
		"region":   identity("region eu"),
		"key":      identity("audio {http.voyo.id}.opus"),
		"kind":     identity("audio", "video {http.voyo.bitrate}/{http.voyo.id}.opus"),
	} {
		if other == first {
			t.Errorf("another %s has the same identity", name)
		}
	}
	if identity("audio {env.VOYO_TEST_PREFIX}/{http.voyo.id}") == prefixed {
		t.Error("another expanded key has the same identity")
	}
}
