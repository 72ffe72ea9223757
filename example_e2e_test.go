package voyo_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// demoMedia are URLs of the demo's, with %s for a track's ID, and the files of
// which they must answer the bytes.
var demoMedia = []struct{ path, id, file, contentType string }{
	{"/cdn/stream/%s", songID, "128/OSBan_sH_b8.opus", "audio/ogg"},
	{"/cdn/stream/%s?quality=high", songID, "128/OSBan_sH_b8.opus", "audio/ogg"},
	{"/cdn/stream/%s?quality=medium", songID, "128/OSBan_sH_b8.opus", "audio/ogg"},
	{"/cdn/stream/%s?quality=low&type=audio", songID, "64/OSBan_sH_b8.opus", "audio/ogg"},
	{"/cdn/stream/%s?quality=ultra", songID, "128/OSBan_sH_b8.opus", "audio/ogg"},
	{"/cdn/stream/%s?type=scent&quality=", songID, "128/OSBan_sH_b8.opus", "audio/ogg"},
	{"/cdn/stream/%s?type=video", "dQw4w9WgXcQ", "video/dQw4w9WgXcQ.mp4", "video/mp4"},
	{"/cdn/stream/%s?type=video&quality=low", "dQw4w9WgXcQ", "video/dQw4w9WgXcQ.mp4", "video/mp4"},
	{"/cdn/stream/%s?quality=low", "voyo-demo_3", "128/voyo-demo_3.opus", "audio/ogg"}, // there is no other
	{"/proxy?v=%s", songID, "128/OSBan_sH_b8.opus", "audio/ogg"},
	{"/proxy?v=%s&type=audio&quality=low", songID, "64/OSBan_sH_b8.opus", "audio/ogg"},
	{"/proxy?v=%s&type=video", "dQw4w9WgXcQ", "video/dQw4w9WgXcQ.mp4", "video/mp4"},
	{"/audio/%s", "voyo-demo_4", "128/voyo-demo_4.opus", "audio/ogg"},
	{"/audio/%s?q=high", "voyo-demo_4", "128/voyo-demo_4.opus", "audio/ogg"},
	{"/audio/%s?q=low", "voyo-demo_4", "64/voyo-demo_4.opus", "audio/ogg"},
	{"/audio/%s?q=loud", "voyo-demo_4", "128/voyo-demo_4.opus", "audio/ogg"},

	{"/cdn/art/%s", songID, "art/OSBan_sH_b8/hqdefault.jpg", "image/jpeg"},
	{"/cdn/art/%s?quality=max", songID, "art/OSBan_sH_b8/maxresdefault.jpg", "image/jpeg"},
	{"/cdn/art/%s?quality=high", songID, "art/OSBan_sH_b8/hqdefault.jpg", "image/jpeg"},
	{"/cdn/art/%s?quality=medium", songID, "art/OSBan_sH_b8/mqdefault.jpg", "image/jpeg"},
	{"/cdn/art/%s?quality=default", songID, "art/OSBan_sH_b8/default.jpg", "image/jpeg"},
	{"/cdn/art/%s?quality=huge", songID, "art/OSBan_sH_b8/hqdefault.jpg", "image/jpeg"},
	{"/cdn/art/%s?quality=max", "voyo-demo_4", "art/voyo-demo_4/hqdefault.jpg", "image/jpeg"}, // the next smaller one
	{"/thumbnail?id=%s", songID, "art/OSBan_sH_b8/hqdefault.jpg", "image/jpeg"},
	{"/thumbnail?id=%s&quality=medium", songID, "art/OSBan_sH_b8/mqdefault.jpg", "image/jpeg"},
	{"/thumb/%s", songID, "art/OSBan_sH_b8/hqdefault.jpg", "image/jpeg"},
	{"/thumb/%s?q=maxresdefault", songID, "art/OSBan_sH_b8/maxresdefault.jpg", "image/jpeg"},
	{"/thumb/%s?q=mqdefault", songID, "art/OSBan_sH_b8/mqdefault.jpg", "image/jpeg"},
	{"/thumb/%s?q=default", songID, "art/OSBan_sH_b8/default.jpg", "image/jpeg"},
	{"/thumb/%s?q=tiny", songID, "art/OSBan_sH_b8/hqdefault.jpg", "image/jpeg"},
}

// voyoIDs are the VOYO IDs of the demo's tracks.
var voyoIDs = map[string]string{
	songID:        songVOYO,
	"dQw4w9WgXcQ": "vyo_ZFF3NHc5V2dYY1E",
	"voyo-demo_3": "vyo_dm95by1kZW1vXzM",
	"voyo-demo_4": "vyo_dm95by1kZW1vXzQ",
}

func TestExample(t *testing.T) {
	d := startDemo(t, false)

	t.Run("the first 100 bytes", func(t *testing.T) {
		a := d.do(t, http.MethodGet, "/cdn/stream/"+songVOYO, with("Range", "bytes=0-99"))
		want := readRepository(t, "testdata/demo/128/OSBan_sH_b8.opus")
		if a.status != http.StatusPartialContent || string(a.body) != want[:100] {
			t.Errorf("got %s", a)
		}
		if got := a.header.Get("Content-Range"); got != fmt.Sprintf("bytes 0-99/%d", len(want)) {
			t.Errorf("Content-Range: %s", got)
		}
	})
	for _, c := range demoMedia {
		for _, id := range []string{c.id, voyoIDs[c.id]} {
			path := fmt.Sprintf(c.path, id)
			t.Run(path, func(t *testing.T) { checkMedia(t, d.node, path, c.file, c.contentType) })
		}
	}
	t.Run("IDs are of one entry", func(t *testing.T) {
		d.get(t, "/cdn/art/voyo-demo_3?quality=medium")
		a := d.get(t, "/thumb/"+voyoIDs["voyo-demo_3"]+"?q=mqdefault")
		if got := a.header.Get("Cache-Status"); !strings.HasPrefix(got, "voyo; hit; ttl=") {
			t.Errorf("Cache-Status: %s", got)
		}
	})
	t.Run("not VOYO's", func(t *testing.T) {
		if a := d.get(t, "/elsewhere"); a.status != http.StatusNotFound {
			t.Errorf("got %s", a)
		}
		index := readRepository(t, "testdata/page/index.html")
		for _, status := range []string{"voyo; fwd=miss; stored", "voyo; hit; ttl="} {
			a := d.get(t, "/")
			if string(a.body) != index {
				t.Errorf("got %s", a)
			}
			if got := a.header.Get("Cache-Status"); !strings.HasPrefix(got, status) {
				t.Errorf("Cache-Status: %s, want %s", got, status)
			}
			if got := a.header.Get("Content-Security-Policy"); !strings.HasPrefix(got, "default-src 'self';") {
				t.Errorf("Content-Security-Policy: %s", got)
			}
		}
	})
	t.Run("the admin API but for a question", func(t *testing.T) {
		for _, c := range []struct {
			method, path string
			status       int
		}{
			{http.MethodGet, "/demo/explain?url=/cdn/stream/" + songVOYO, http.StatusOK},
			{http.MethodPost, "/demo/explain?url=/cdn/stream/" + songVOYO, http.StatusNotFound},
			{http.MethodGet, "/demo/explain/../../config/", http.StatusNotFound},
			{http.MethodGet, "/voyo/status", http.StatusNotFound},
		} {
			if a := d.do(t, c.method, c.path, nil); a.status != c.status {
				t.Errorf("%s %s: got %s", c.method, c.path, a)
			}
		}
	})
}

// checkMedia checks every method on a URL that answers a file.
func checkMedia(t *testing.T, n node, path, file, contentType string) {
	t.Helper()
	want := readRepository(t, "testdata/demo/"+file)
	got := n.get(t, path)
	if got.status != http.StatusOK || string(got.body) != want {
		t.Fatalf("got %d and %d bytes, want %s of %d bytes", got.status, len(got.body), file, len(want))
	}
	wantHeader := map[string]string{
		"Content-Type":                 contentType,
		"Content-Length":               strconv.Itoa(len(want)),
		"Accept-Ranges":                "bytes",
		"Cache-Control":                "public, max-age=3600",
		"Vary":                         "Origin",
		"Cross-Origin-Resource-Policy": "cross-origin",
		"X-Content-Type-Options":       "nosniff",
	}
	etag := got.header.Get("Etag")
	if etag == "" || strings.HasPrefix(etag, "W/") {
		t.Errorf("ETag: %s", etag)
	}
	wantHeader["Etag"] = etag
	head := n.do(t, http.MethodHead, path, nil)
	if head.status != http.StatusOK || len(head.body) != 0 {
		t.Errorf("HEAD: got %s", head)
	}
	for name, value := range wantHeader {
		if got := got.header.Get(name); got != value {
			t.Errorf("%s: %q, want %q", name, got, value)
		}
		if got := head.header.Get(name); got != value {
			t.Errorf("HEAD: %s: %q, want %q", name, got, value)
		}
	}
	if got.header.Get("Cache-Status") == "" {
		t.Error("no Cache-Status")
	}
	checkOtherMethods(t, n, path)
}

// checkOtherMethods checks the methods that all of VOYO's URLs answer alike.
func checkOtherMethods(t *testing.T, n node, path string) {
	t.Helper()
	if a := n.do(t, http.MethodOptions, path, nil); a.status != http.StatusNoContent || len(a.body) != 0 {
		t.Errorf("OPTIONS: got %s", a)
	}
	for _, method := range []string{http.MethodPost, http.MethodPut, http.MethodDelete, http.MethodPatch, "PURGE"} {
		a := n.do(t, method, path, nil)
		if a.status != http.StatusMethodNotAllowed || a.header.Get("Allow") != "GET, HEAD, OPTIONS" {
			t.Errorf("%s: got %s", method, a)
		}
	}
}

func TestExampleRanges(t *testing.T) {
	d := startDemo(t, false)
	for path, file := range map[string]string{
		"/cdn/stream/" + songVOYO: "testdata/demo/128/OSBan_sH_b8.opus",
		"/cdn/art/" + songVOYO:    "testdata/demo/art/OSBan_sH_b8/hqdefault.jpg",
	} {
		want := readRepository(t, file)
		size := len(want)
		etag := d.get(t, path).header.Get("Etag")
		for _, c := range []struct {
			name         string
			header       http.Header
			status       int
			body         string
			contentRange string
		}{
			{"Safari's probe", with("Range", "bytes=0-1"), 206, want[:2], fmt.Sprintf("bytes 0-1/%d", size)},
			{"from the beginning", with("Range", "bytes=0-"), 206, want, fmt.Sprintf("bytes 0-%d/%d", size-1, size)},
			{"to the end", with("Range", "bytes=10000-"), 206, want[10000:], fmt.Sprintf("bytes 10000-%d/%d", size-1, size)},
			{"in the middle", with("Range", "bytes=500-999"), 206, want[500:1000], fmt.Sprintf("bytes 500-999/%d", size)},
			{"beyond the end", with("Range", "bytes=100-99999999"), 206, want[100:], fmt.Sprintf("bytes 100-%d/%d", size-1, size)},
			{"the last ones", with("Range", "bytes=-7"), 206, want[size-7:], fmt.Sprintf("bytes %d-%d/%d", size-7, size-1, size)},
			{"nothing", with("Range", "bytes=99999999-"), 416, "", fmt.Sprintf("bytes */%d", size)},
			{"malformed", with("Range", "bytes=9-0"), 200, want, ""},
			{"other unit", with("Range", "seconds=0-1"), 200, want, ""},
			{"same version", with("Range", "bytes=0-9", "If-Range", etag), 206, want[:10], fmt.Sprintf("bytes 0-9/%d", size)},
			{"other version", with("Range", "bytes=0-9", "If-Range", `"other"`), 200, want, ""},
			{"known version", with("If-None-Match", etag), 304, "", ""},
			{"unknown version", with("If-None-Match", `"other"`), 200, want, ""},
		} {
			t.Run(path+" "+c.name, func(t *testing.T) {
				a := d.do(t, http.MethodGet, path, c.header)
				if a.status != c.status || string(a.body) != c.body || a.header.Get("Content-Range") != c.contentRange {
					t.Errorf("got %d, %d bytes, Content-Range %q", a.status, len(a.body), a.header.Get("Content-Range"))
				}
			})
		}
	}
}

func TestExampleJSON(t *testing.T) {
	d := startDemo(t, false)
	const location = `{"url":"%[1]s/cdn/stream/vyo_dm95by1kZW1vXzM?type=%[3]s&quality=%[4]s",` +
		`"audioUrl":"%[1]s/cdn/stream/vyo_dm95by1kZW1vXzM?type=audio&quality=%[4]s",` +
		`"videoId":"%[2]s","type":"%[3]s","quality":"%[4]s","cached":false,"boosting":%[5]t,"source":"origin"}`
	const id, vyo = "voyo-demo_3", "vyo_dm95by1kZW1vXzM"
	for _, c := range []struct {
		path   string
		status int
		want   string
	}{
		{"/exists/" + id, 200, `{"exists":true,"high":true,"low":false,"size":405036,"source":"origin"}`},
		{"/exists/" + vyo, 200, `{"exists":true,"high":true,"low":false,"size":405036,"source":"origin"}`},
		{"/exists/" + songID, 200, `{"exists":true,"high":true,"low":true,"size":2986845,"source":"origin"}`},
		{"/exists/AAAAAAAAAAA", 200, `{"exists":false,"high":false,"low":false,"size":0,"source":"origin"}`},
		{"/stream?v=" + id, 200, fmt.Sprintf(location, d.url, id, "audio", "high", true)},
		{"/stream?v=" + vyo + "&quality=low&type=video", 200, fmt.Sprintf(location, d.url, vyo, "video", "low", true)},
		{"/prefetch?v=" + songID + "&type=audio&quality=high", 202,
			`{"status":"warming","videoId":"` + songID + `","message":"Track is being prepared"}`},
		{"/prefetch?v=" + songVOYO, 202,
			`{"status":"warming","videoId":"` + songVOYO + `","message":"Track is already prepared or being prepared"}`},
	} {
		t.Run(c.path, func(t *testing.T) {
			a := d.get(t, c.path)
			if a.status != c.status || strings.TrimSpace(string(a.body)) != c.want {
				t.Errorf("got %s, want %s", a, c.want)
			}
			checkJSONAnswer(t, d.node, c.path, c.status, a)
		})
	}
	t.Run("what was boosted", func(t *testing.T) {
		want := strings.NewReplacer(`"cached":false`, `"cached":true`, `"origin"`, `"edge"`).Replace(fmt.Sprintf(location, d.url, id, "audio", "medium", false))
		eventually(t, "the track is cached", func() bool {
			return strings.TrimSpace(string(d.get(t, "/stream?v="+id+"&quality=medium").body)) == want
		})
	})
	t.Run("what was prefetched", func(t *testing.T) {
		eventually(t, "two covers are cached", func() bool { return d.health(t).Cache.ThumbnailCacheSize == 2 })
		d.mustGet(t, "/cdn/art/"+songID, readRepository(t, "testdata/demo/art/OSBan_sH_b8/hqdefault.jpg"))
		if got := d.health(t).Cache; got.Stats.ThumbnailHits != 1 || got.PrefetchCacheSize != 2 {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("the locations", func(t *testing.T) {
		var l struct{ URL, AudioURL string }
		if err := json.Unmarshal(d.get(t, "/stream?v="+id).body, &l); err != nil {
			t.Fatal(err)
		}
		for _, u := range []string{l.URL, l.AudioURL} {
			d.mustGet(t, strings.TrimPrefix(u, d.url), readRepository(t, "testdata/demo/128/voyo-demo_3.opus"))
		}
	})
}

// checkJSONAnswer checks what all answers in JSON have in common.
func checkJSONAnswer(t *testing.T, n node, path string, status int, a answer) {
	t.Helper()
	if a.header.Get("Content-Type") != "application/json" || a.header.Get("Cache-Control") != "no-store" || a.header.Get("Vary") != "Origin" {
		t.Errorf("header: %v", a.header)
	}
	head := n.do(t, http.MethodHead, path, nil)
	if head.status != status || len(head.body) != 0 || head.header.Get("Content-Type") != "application/json" {
		t.Errorf("HEAD: got %s", head)
	}
	checkOtherMethods(t, n, path)
}

func TestExampleHealth(t *testing.T) {
	d := startDemo(t, false)
	a := d.get(t, "/health")
	checkJSONAnswer(t, d.node, "/health", http.StatusOK, a)
	var got any
	if err := json.Unmarshal(a.body, &got); err != nil {
		t.Fatal(err)
	}
	const want = "{cache:{prefetchCacheSize:number stats:{activeStreams:number prefetchRequests:number startTime:number " +
		"streamHits:number streamMisses:number thumbnailHits:number thumbnailMisses:number} " +
		"streamCacheSize:number streamHitRate:string thumbnailCacheSize:number} " +
		"memory:{heapTotal:string heapUsed:string rss:string} rateLimit:{activeIPs:number perIPLimit:number} " +
		"service:string status:string timestamp:string uptime:number uptimeFormatted:string}"
	if s := typesOf(got); s != want {
		t.Errorf("got  %s\nwant %s", s, want)
	}
	if h := d.health(t); h.Status != "healthy" {
		t.Errorf("got %+v", h)
	}
}

// typesOf writes a JSON value with types in the place of values.
func typesOf(v any) string {
	switch v := v.(type) {
	case map[string]any:
		var fields []string
		for _, name := range slices.Sorted(maps.Keys(v)) {
			fields = append(fields, name+":"+typesOf(v[name]))
		}
		return "{" + strings.Join(fields, " ") + "}"
	case float64:
		return "number"
	default:
		return fmt.Sprintf("%T", v)
	}
}

// The same configuration in JSON answers the same.
func TestExampleAsJSON(t *testing.T) {
	d := startDemo(t, true)
	for _, c := range demoMedia {
		path := fmt.Sprintf(c.path, c.id)
		t.Run(path, func(t *testing.T) { checkMedia(t, d.node, path, c.file, c.contentType) })
	}
	header := d.do(t, http.MethodGet, "/health", with("Origin", "http://localhost:3000")).header
	if got := header.Get("Access-Control-Allow-Origin"); got != "http://localhost:3000" {
		t.Errorf("Access-Control-Allow-Origin: %s", got)
	}
}
