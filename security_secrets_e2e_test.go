package voyo_test

import (
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// secrets are the values that no output may have. All are in the environment, or come
// from upstreams.
var secrets = map[string]string{
	"VOYO_TEST_ACCESS":    "acc3ss-key-id",
	"VOYO_TEST_SECRET":    "s3cret-access-key",
	"VOYO_TEST_KEY":       "k3y-in-a-query",
	"VOYO_TEST_TOKEN":     "t0ken-in-a-header",
	"VOYO_TEST_SIGNATURE": "sign3d-by-hand",
}

// queried is the query of the URLs that the service answers with.
const queried = "signature=giv3n-by-the-service"

// sayAll is an upstream that fails for IDs that begin with "fails", says all that it was
// asked with, and knows one track.
func sayAll(t *testing.T, id string) *origin {
	t.Helper()
	track := fakeTrack(10_000)
	return newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		said := r.URL.String() + " " + fmt.Sprint(r.Header)
		w.Header().Set("X-Asked", said)
		w.Header().Set("Etag", `"v1"`)
		w.Header().Set("Cache-Tag", "song")
		switch {
		case strings.Contains(r.URL.Path, "fails"):
			http.Error(w, said, http.StatusInternalServerError)
		case !strings.Contains(r.URL.Path, id):
			http.Error(w, said, http.StatusNotFound)
		case strings.Contains(r.URL.Path, "/art/"):
			_, _ = w.Write([]byte(fakeCover("cover", 1000)))
		default:
			w.Header().Set("Content-Type", "audio/ogg")
			_, _ = w.Write([]byte(track))
		}
	})
}

// All secrets are used, in what goes well and in what fails, and then looked for in all
// that the edge gives away: answers, the log at its most talkative, metrics, the admin
// API, the configuration as it shows it, and the files of its cache.
func TestSecretsStayInside(t *testing.T) {
	for name, value := range secrets {
		t.Setenv(name, value)
	}
	store, media, signed := sayAll(t, sourceID(1)), sayAll(t, sourceID(2)), sayAll(t, sourceID(3))
	service := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		switch id := r.URL.Query().Get("v"); id {
		case sourceID(2), "fails_media":
			fmt.Fprintf(w, `{"url":"%s/%s?%s"}`, media.URL, id, queried)
		case "fails_guard":
			fmt.Fprintf(w, `{"url":"http://10.0.0.1/%s?%s"}`, id, queried)
		case "fails_wrong":
			fmt.Fprintf(w, `{"url":"%s"`, queried)
		case "fails_away_":
			http.Redirect(w, r, "http://elsewhere.test/?"+r.URL.RawQuery+"&"+queried, http.StatusFound)
		default:
			http.Error(w, r.URL.String()+fmt.Sprint(r.Header), http.StatusNotFound)
		}
	})
	dir := t.TempDir()
	e := startAdminEdge(t, fmt.Sprintf(`voyo {
		resolver s3 {
			endpoint %s
			bucket music
			audio {http.voyo.id}
			access_key {env.VOYO_TEST_ACCESS}
			secret_key {env.VOYO_TEST_SECRET}
		}
		resolver api %s/stream?key={env.VOYO_TEST_KEY}&v={http.voyo.id} {
			header Authorization "Bearer {env.VOYO_TEST_TOKEN}"
		}
		resolver template {
			audio %s/{http.voyo.id}?signature={env.VOYO_TEST_SIGNATURE}
			art %[3]s/art/{http.voyo.id}/{http.voyo.image}?signature={env.VOYO_TEST_SIGNATURE}
		}
		allowed_upstreams %s 127.0.0.0/8
		stream {
			disk %s 64MiB
		}
		art {
			disk %[5]s 64MiB
		}
	}`, store.URL, service.URL, signed.URL, media.host(), dir))

	var seen strings.Builder
	ids := []string{sourceID(1), sourceID(2), sourceID(3), "missing____", "fails______", "fails_media", "fails_guard", "fails_wrong", "fails_away_", "nonsense"}
	for _, id := range ids {
		for _, path := range []string{"/cdn/stream/%s", "/cdn/stream/%s", "/cdn/art/%s", "/exists/%s", "/stream?v=%s", "/prefetch?v=%s&quality=low"} {
			fmt.Fprintln(&seen, e.get(t, fmt.Sprintf(path, id)))
		}
		fmt.Fprintln(&seen, e.administer(t, "GET", "/voyo/explain?url="+url.QueryEscape("/cdn/stream/"+id), "", nil))
		fmt.Fprintln(&seen, e.administer(t, "POST", "/voyo/prefetch?wait", `{"ids": ["`+id+`"]}`, nil))
	}
	for i := 1; i <= 3; i++ {
		if !strings.Contains(e.get(t, "/cdn/stream/"+sourceID(i)).header.Get("Cache-Status"), "; hit") {
			t.Errorf("track %d is not cached", i)
		}
	}
	eventually(t, "all is on disk", func() bool { return e.status(t).Caches["stream"].Disk.Objects >= 3 })
	for _, path := range []string{"/voyo/status", "/metrics", "/config/"} {
		fmt.Fprintln(&seen, e.administer(t, "GET", path, "", nil))
	}
	fmt.Fprintln(&seen, e.get(t, "/health"))
	fmt.Fprintln(&seen, e.administer(t, "POST", "/voyo/purge", `{"tags": ["song"]}`, nil))
	fmt.Fprintln(&seen, e.logged(t))
	files := 0
	must(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		files++
		b, err := os.ReadFile(path)
		fmt.Fprintf(&seen, "%s\n%s\n", path, b)
		return err
	}))
	if files < 2 {
		t.Errorf("only %d files are in the cache", files)
	}
	if !strings.Contains(seen.String(), "{env.VOYO_TEST_SECRET}") || !strings.Contains(seen.String(), "could not fetch") {
		t.Error("the configuration was not shown, or nothing was logged")
	}
	mustHide(t, seen.String(), store, media, signed, service)
}

// mustHide checks that no secret is in a text, and that the upstreams were told all but
// the one with which requests are signed.
func mustHide(t *testing.T, text string, upstreams ...*origin) {
	t.Helper()
	hidden := []string{queried, "X-Amz-"}
	for _, value := range secrets {
		hidden = append(hidden, value)
	}
	var told strings.Builder
	for _, o := range upstreams {
		for _, r := range o.asked("") {
			fmt.Fprintln(&told, r.URL, r.Header)
			if signature := r.URL.Query().Get("X-Amz-Signature"); signature != "" {
				hidden = append(hidden, signature)
			}
		}
	}
	slices.Sort(hidden)
	for _, s := range slices.Compact(hidden) {
		if at := strings.Index(text, s); at >= 0 {
			t.Errorf("%s is given away: %q", s, text[max(0, at-200):min(len(text), at+100)])
		}
		if s != secrets["VOYO_TEST_SECRET"] && !strings.Contains(told.String(), s) {
			t.Errorf("%s was not used", s)
		}
	}
}

// The password of a forward proxy is seen nowhere, be the proxy well or not.
func TestProxyPasswordStaysInside(t *testing.T) {
	const password = "pr0xy-password"
	track := fakeTrack(1000)
	proxy := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		if user, pass, _ := (&http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}).BasicAuth(); user != "edge" || pass != password {
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		w.Header().Set("Content-Type", "audio/ogg")
		_, _ = w.Write([]byte(track))
	})
	for host, status := range map[string]int{proxy.host(): http.StatusOK, refusingHost(t): http.StatusBadGateway} {
		t.Setenv("VOYO_TEST_PROXY", "http://edge:"+password+"@"+host)
		e := startAdminEdge(t, "voyo {\n"+template("http://media.test")+"\ntransport http {\nnetwork_proxy url {env.VOYO_TEST_PROXY}\n}\n}")
		a := e.get(t, "/cdn/stream/"+songID)
		if a.status != status {
			t.Errorf("got %s", a)
		}
		text := fmt.Sprint(a, e.administer(t, "GET", "/config/", "", nil), e.administer(t, "GET", "/voyo/status", "", nil),
			e.administer(t, "GET", "/voyo/explain?url=/cdn/stream/"+songID, "", nil), e.get(t, "/health"), e.logged(t))
		if at := strings.Index(text, password); at >= 0 {
			t.Errorf("the password is given away: %q", text[max(0, at-200):min(len(text), at+100)])
		}
	}
}
