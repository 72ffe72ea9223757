package api

import (
	"errors"
	"fmt"
	"net/url"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/voyo-music/caddy-voyo/resolver"
	"github.com/voyo-music/caddy-voyo/resolver/internal/guest/guesttest"
)

const piped = `{
	"title": "A song", "duration": 212,
	"audioStreams": [
		{"url": "https://p/249", "mimeType": "audio/webm", "codec": "opus", "bitrate": 51200, "quality": "50 kbps"},
		{"url": "https://p/139", "mimeType": "audio/mp4", "bitrate": 30000.5, "quality": "30 kbps"},
		{"url": "https://p/dub", "mimeType": "audio/mp4", "bitrate": 128000, "audioTrackType": "DUBBED"},
		{"url": "https://p/251", "mimeType": "audio/webm", "bitrate": 151000, "audioTrackType": "ORIGINAL"},
		{"url": "https://p/140", "mimeType": "audio/mp4", "bitrate": null, "quality": "129 kbps"},
		{"url": "https://p/hls", "mimeType": "application/x-mpegURL", "bitrate": 128000}
	],
	"videoStreams": [
		{"url": "https://p/137", "quality": "1080p", "height": 1080, "videoOnly": true},
		{"url": "https://p/136", "quality": "720p", "height": 720, "videoOnly": true},
		{"url": "https://p/18", "quality": "360p", "videoOnly": false},
		{"url": "https://p/22", "quality": "720p60", "videoOnly": false}
	],
	"thumbnailUrl": "https://p/vi/a.webp"
}`

func TestAnswers(t *testing.T) {
	long := strings.Repeat("a", maxLocation-len("https://m/"))
	for _, tc := range []struct {
		name, format, body string
		asset              resolver.Asset
		want               string // the URLs; empty if not found
	}{
		{"url", "voyo", `{"url":"https://m/a","audioUrl":"https://m/b"}`, guesttest.Audio, "https://m/a https://m/b"},
		{"url of a video", "voyo", `{"url":"https://m/a","audioUrl":"https://m/b"}`, guesttest.Video, "https://m/a"},
		{"both the same", "voyo", `{"url":"https://m/a","audioUrl":"https://m/a"}`, guesttest.Audio, "https://m/a"},
		{"audioUrl", "voyo", `{"audioUrl":"https://m/b"}`, guesttest.Audio, "https://m/b"},
		{"no audioUrl for a video", "voyo", `{"audioUrl":"https://m/b"}`, guesttest.Video, ""},
		{"url of no use", "voyo", `{"url":"blob:x","audioUrl":"https://m/b"}`, guesttest.Audio, "https://m/b"},
		{"null", "voyo", `null`, guesttest.Audio, ""},
		{"null url", "voyo", `{"url":null}`, guesttest.Audio, ""},
		{
			"relative", "voyo", `{"url":"/cdn/stream/x?type=audio"}`, guesttest.Audio,
			"https://api.example.com/cdn/stream/x?type=audio",
		},
		{"no scheme", "voyo", `{"url":"//m:8080/a"}`, guesttest.Audio, "https://m:8080/a"},
		{"fragment", "voyo", `{"url":"https://m/a#t=1"}`, guesttest.Audio, "https://m/a"},
		{"user info", "voyo", `{"url":"https://u:p@m/a"}`, guesttest.Audio, ""},
		{"file", "voyo", `{"url":"file:///etc/passwd"}`, guesttest.Audio, ""},
		{"as long as can be", "voyo", `{"url":"https://m/` + long + `"}`, guesttest.Audio, "https://m/" + long},
		{"too long", "voyo", `{"url":"https://m/a` + long + `","audioUrl":"https://m/b"}`, guesttest.Audio, "https://m/b"},
		{"no host", "voyo", `{"url":"https:///a"}`, guesttest.Audio, ""},
		{"malformed url", "voyo", `{"url":"https://m/%zz"}`, guesttest.Audio, ""},
		{"art", "voyo", `{"url":"https://m/a"}`, guesttest.Art, ""},

		{
			"high audio", "piped", piped, guesttest.Audio,
			"https://p/140 https://p/251 https://p/dub https://p/249 https://p/139",
		},
		{
			"low audio", "piped", piped, guesttest.LowAudio,
			"https://p/249 https://p/140 https://p/251 https://p/139 https://p/dub",
		},
		{"high video", "piped", piped, guesttest.Video, "https://p/22 https://p/18 https://p/136 https://p/137"},
		{"low video", "piped", piped, guesttest.LowVideo, "https://p/18 https://p/22 https://p/136 https://p/137"},
		{"thumbnail", "piped", piped, guesttest.Art, "https://p/vi/a.webp"},
		{"nothing", "piped", `{}`, guesttest.Audio, ""},
		{"no thumbnail", "piped", `{"audioStreams":[]}`, guesttest.Art, ""},
		{"relative to nothing", "piped", `{"thumbnailUrl":"/a"}`, guesttest.Art, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a := guesttest.MustLoad(t, "api https://api.example.com/stream {\n format "+tc.format+"\n}").(*API)
			if !slices.Contains(a.format.kinds, tc.asset.Kind) {
				a.UseTransport(roundTripper{errors.New("asked")})
				if _, err := a.Resolve(t.Context(), tc.asset); !errors.Is(err, resolver.ErrNotFound) {
					t.Errorf("got %v, want not found", err)
				}
				return
			}
			answer, err := a.format.read([]byte(tc.body), a.url.Expand(tc.asset), tc.asset)
			if tc.want == "" {
				if !errors.Is(err, resolver.ErrNotFound) {
					t.Errorf("got %+v, %v; want not found", answer, err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(guesttest.URLs(answer), " "); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
		})
	}
}

func TestMaxTargets(t *testing.T) {
	streams := strings.Repeat(`{"url":"https://p/a"},`, maxTargets) + `{"url":"https://p/a"}`
	answer, err := formats["piped"].read([]byte(`{"audioStreams":[`+streams+`]}`), nil, guesttest.Audio)
	if err != nil || len(answer.Targets) != maxTargets {
		t.Errorf("got %+v, %v", answer, err)
	}
}

// What an answer takes in memory is no multiple of what it is in JSON.
func TestAnswersTakeLittleMemory(t *testing.T) {
	streams := "[" + strings.Repeat("{},", maxBody/3-100) + `{"url":"https://p/late"}]`
	for name, body := range map[string]string{
		"many streams":    `{"audioStreams":` + streams + `}`,
		"nested":          strings.Repeat(`{"audioStreams":[`, maxBody/17),
		"nested, skipped": `{"a":` + strings.Repeat("[", maxBody-5),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		answer, err := formats["piped"].read([]byte(body), nil, guesttest.Audio)
		runtime.ReadMemStats(&after)
		if err == nil {
			t.Errorf("%s: got %+v", name, answer)
		}
		if took := after.TotalAlloc - before.TotalAlloc; took > 4*maxBody {
			t.Errorf("%s: took %d bytes for one of %d", name, took, len(body))
		}
	}
}

func TestExpires(t *testing.T) {
	for _, tc := range []struct {
		name, first, second string
		want                int64
	}{
		{"none", "", "", 0},
		{"one", "?a=b&expire=1900000000", "", 1900000000},
		{"the earlier", "?expire=1900000000", "?expire=1800000000", 1800000000},
		{"no number", "?expire=soon", "", 0},
		{"negative", "?expire=-1", "", 0},
		{"absurd", "?expire=9223372036854775807", "", 0},
		{"malformed query", "?expire=1900000000;a=%zz", "", 0},
	} {
		body := fmt.Sprintf(`{"url":"https://m/a%s","audioUrl":"https://m/b%s"}`, tc.first, tc.second)
		answer, err := formats["voyo"].read([]byte(body), &url.URL{}, guesttest.Audio)
		if err != nil {
			t.Fatal(err)
		}
		want := time.Time{}
		if tc.want != 0 {
			want = time.Unix(tc.want, 0)
		}
		if !answer.Expires.Equal(want) {
			t.Errorf("%s: got %v, want %v", tc.name, answer.Expires, want)
		}
	}
}

// Whatever a service answers, there are targets that can be asked, or an error.
func FuzzAnswer(f *testing.F) {
	f.Add(`{"url":"/a?expire=1","audioUrl":"https://m/b"}`)
	f.Add(piped)
	f.Add(`{"audioStreams":[null,{"bitrate":1e308,"quality":"kbps"}],"videoStreams":null}`)
	f.Add(`{"url":"//[::1]:x/"}`)
	from := &url.URL{Scheme: "https", Host: "api.example.com", Path: "/stream"}
	f.Fuzz(func(t *testing.T, body string) {
		for name, format := range formats {
			for _, asset := range []resolver.Asset{guesttest.Audio, guesttest.LowVideo, guesttest.Art} {
				answer, err := format.read([]byte(body), from, asset)
				if err != nil {
					if answer != nil {
						t.Fatalf("%s: answer along with %v", name, err)
					}
					continue
				}
				if n := len(answer.Targets); n == 0 || n > maxTargets {
					t.Fatalf("%s: %d targets", name, n)
				}
				for _, target := range answer.Targets {
					u := target.URL
					usable := (u.Scheme == "http" || u.Scheme == "https") && u.Hostname() != ""
					if !usable || u.User != nil || u.Fragment != "" {
						t.Fatalf("%s: %s", name, u)
					}
				}
			}
		}
	})
}
