package voyo_test

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// forged are fields that some server behind a cache may heed and few caches have in
// their keys.
const forged = `X-Forwarded-Host: evil.test
X-Forwarded-Proto: https
X-Forwarded-Port: 8443
X-Forwarded-Prefix: /evil
X-Forwarded-Server: evil.test
X_Forwarded_Host: evil.test
x-forwarded_proto: https
Forwarded: host=evil.test;proto=https
`

// What a client says in fields that the key does not have shows in no page that others
// get.
func TestPoisonedPages(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		for name, values := range r.Header { // as a program that is handed fields by CGI has them
			name = strings.ToLower(strings.ReplaceAll(name, "_", "-"))
			if strings.HasPrefix(name, "x-forwarded-") && name != "x-forwarded-for" || name == "forwarded" {
				fmt.Fprintf(w, "%s: %s\n", name, values)
			}
		}
	})
	e := startGateway(t, o.URL, "")
	const clean = "x-forwarded-host: [www.test]\nx-forwarded-proto: [http]\n"
	for _, fields := range []string{forged, "", "Connection: X-Forwarded-Host, X-Forwarded-Proto\n"} {
		for _, uri := range []string{"/shared", "/own?" + fmt.Sprint(len(fields))} {
			_, from := e.raw(t, "GET "+uri+" HTTP/1.1\nHost: www.test\n"+fields+"\n")
			body, err := io.ReadAll(readRaw(t, from, "GET").Body)
			must(t, err)
			lines := slices.Sorted(strings.Lines(string(body)))
			if got := strings.Join(lines, ""); got != clean {
				t.Errorf("%s after %q: got\n%s", uri, fields, got)
			}
		}
	}
	if n := len(o.asked("/shared")); n != 1 {
		t.Errorf("the origin was asked %d times for one page", n)
	}
}

// Of a track everybody gets the same, whoever asked for it first and how. No field of
// that request gets to the upstream but a range.
func TestPoisonedTracks(t *testing.T) {
	track := fakeTrack(10_000)
	o := fileOrigin(t, map[string]string{"/128/" + songID + ".opus": track})
	site := "voyo {\n" + template(o.URL) + "\nallowed_origins " + page + "\n}"
	var want answer
	for i, first := range []string{
		"", forged, "Origin: " + page + "\n", "Origin: " + other + "\n", "Range: bytes=5-9\n", "Range: bytes=-5, 0-\n", "If-None-Match: \"v1\"\n", "If-Match: \"v2\"\n",
		"If-Range: \"v2\"\nRange: bytes=5-9\n", "Accept: text/html\nAccept-Encoding: gzip\nAccept-Language: xx\n", "Cookie: a=b\nAuthorization: Bearer x\n",
		"X-HTTP-Method-Override: DELETE\nX-Original-URL: /evil\nX-Rewrite-URL: /evil\n", "Cache-Control: no-store\nPragma: no-cache\n", "Transfer-Encoding: chunked\n",
	} {
		e := startEdge(t, site)
		body := ""
		if strings.Contains(first, "chunked") {
			body = "0\n\n"
		}
		_, from := e.raw(t, "GET /cdn/stream/"+songID+"?x=evil HTTP/1.1\nHost: evil.test\n"+first+"\n"+body)
		_, err := io.Copy(io.Discard, readRaw(t, from, "GET").Body)
		must(t, err)
		got := e.get(t, "/cdn/stream/"+songVOYO)
		for _, name := range []string{"Date", "Age", "Cache-Status", "Server-Timing", "Last-Modified"} { // which tell of time
			delete(got.header, name)
		}
		if i == 0 {
			want = got
		}
		if got.String() != want.String() || got.status != http.StatusOK || string(got.body) != track {
			t.Errorf("after %q: got %s, want %s", first, got, want)
		}
		e.stop(t)
	}
	known := []string{"Accept", "Accept-Encoding", "Cdn-Loop", "If-Range", "Range", "User-Agent", "Via"}
	for _, r := range o.asked("") {
		for name := range r.Header {
			if !slices.Contains(known, name) {
				t.Errorf("the upstream was sent %s", name)
			}
		}
		if got := r.Header.Get("Accept-Encoding") + r.Header.Get("Accept"); got != "identityaudio/*" {
			t.Errorf("the upstream was sent %s", got)
		}
	}
}

// No two URLs of pages have one entry because this edge reads them in the same way: the
// origin may not. Where a client hides something of the path, it gets that page, and no
// other client does.
func TestKeysOfPages(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		fmt.Fprint(w, r.RequestURI)
	})
	e := startGateway(t, o.URL, "")
	uris := []string{
		"/a/b", "/a%2fb", "/a%2Fb", "/a%252fb", "/a/%62", "/a/./b", "/a/../a/b", "/a/%2e%2e/a/b", "/a//b", "//a/b", "/a/b/", "/a\\b", "/a%5cb",
		"/a/b?", "/a/b?x=1", "/a/b?x=1&x=2", "/a/b?x=2&x=1", "/a/b?x=1;x=2", "/a/b?X=1", "/a/b?x=%31", "/a/b?x=1&", "/a/b;x=1", "/a/b%3fx=1", "/a/b%3Fx=1",
		"/A/b", "/a/b%00", "/a/b%0d%0a", "/a/b%20", "/a/b+", "/a/b%23c", "/a/b%", "/a/b~", "/a/b%7e", "/a/b%7E", "/cdn%2fstream%2f" + songID, "/a/b?http://evil.test/",
	}
	for range 2 {
		for _, uri := range uris {
			_, from := e.raw(t, "GET "+uri+" HTTP/1.1\nHost: www.test\n\n")
			resp := readRaw(t, from, "GET")
			body, err := io.ReadAll(resp.Body)
			must(t, err)
			want := strings.ReplaceAll(uri, "\\", "%5C") // which is none of a URL's characters
			if string(body) != want && resp.StatusCode != http.StatusBadRequest {
				t.Errorf("%s: got %d and the page of %q", uri, resp.StatusCode, body)
			}
		}
	}
	seen := make(map[string]bool)
	for _, r := range o.asked("") {
		if seen[r.RequestURI] {
			t.Errorf("%s was asked for twice", r.RequestURI)
		}
		seen[r.RequestURI] = true
	}
	if len(seen) < len(uris)-1 { // "%" alone is no path of Go's
		t.Errorf("the origin was asked for %d of %d pages", len(seen), len(uris))
	}
}

// All the ways to ask for a track lead to one entry, so that no client can have it
// fetched more than once, or have a purge miss it; and nothing else leads there.
func TestKeysOfTracks(t *testing.T) {
	track := fakeTrack(10_000)
	o := fileOrigin(t, map[string]string{"/128/" + songID + ".opus": track})
	e := startEdge(t, "voyo {\n"+template(o.URL)+"\n}")
	e.mustGet(t, "/cdn/stream/"+songID, track)
	for _, uri := range []string{
		"/cdn/stream/" + songVOYO, "/cdn/stream/" + songID + "?", "/cdn/stream/" + songID + "?x=1", "/cdn/stream/" + songID + "?quality=high",
		"/cdn/stream/" + songID + "?quality=medium", "/cdn/stream/" + songID + "?quality=LOW", "/cdn/stream/" + songID + "?quality=high&quality=low",
		"/cdn/stream/" + songID + "?quality=low;x=1", "/cdn/stream/" + songID + "?type=audio&type=video", "/cdn/stream/" + songID + "?Type=video",
		"/cdn/stream/" + songID + "?q=low", "/audio/" + songID, "/audio/" + songID + "?quality=low", "/proxy?v=" + songVOYO, "/proxy?v=" + songID + "&v=x",
		"/proxy?x=%zz&v=" + songID, "/proxy?v=OSBan%5FsH_b8",
	} {
		if !e.mustGet(t, uri, track) {
			t.Errorf("%s is no hit", uri)
		}
	}
	for _, host := range []string{"one.test", "two.test:8080"} {
		_, from := e.raw(t, "GET http://"+host+"/cdn/stream/"+songID+" HTTP/1.1\nHost: x\n\n")
		if resp := readRaw(t, from, "GET"); !strings.Contains(resp.Header.Get("Cache-Status"), "; hit") {
			t.Errorf("at %s: got %v", host, resp.Header)
		}
	}
	for _, id := range []string{
		strings.ToLower(songID), songID + "%20", songID + "%00", songID + "%2f", songID + "%252f", songID + "/", songID + ";x", "./" + songID, "x/../" + songID,
		strings.ToLower(songVOYO), songVOYO + "=", "vyo_T1NCYW5fc0hfYjh", "OSBan%5FsH_b8",
	} {
		_, from := e.raw(t, "GET /cdn/stream/"+id+" HTTP/1.1\nHost: x\n\n")
		if resp := readRaw(t, from, "GET"); resp.StatusCode != http.StatusBadRequest && resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s: got %s", id, resp.Status)
		}
	}
	if n := len(o.asked("/128/" + songID)); n != 1 {
		t.Errorf("the upstream was asked %d times for the track", n)
	}
}

// Nothing that is echoed ends a line of a header or of JSON.
func TestHeaderInjection(t *testing.T) {
	const crlf = "%0d%0aX-Injected:%201%0d%0a%0d%0a"
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasPrefix(r.URL.Path, "/page") { // echoes it as it has come
			w.Header().Set("Location", r.RequestURI)
			w.WriteHeader(http.StatusFound)
			return
		}
		http.NotFound(w, r)
	})
	e := startGateway(t, o.URL, "")
	for _, request := range []string{
		"GET /cdn/stream/" + songID + crlf + " HTTP/1.1\nHost: x\n\n",
		"GET /proxy?v=" + songID + crlf + " HTTP/1.1\nHost: x\n\n",
		"GET /stream?v=" + songID + "&quality=low" + crlf + "&type=audio" + crlf + " HTTP/1.1\nHost: x\n\n",
		"GET /stream?v=" + songID + " HTTP/1.1\nHost: x%0d%0aX-Injected: 1\n\n",
		"GET /stream?v=" + songID + " HTTP/1.1\nHost: x\"},\"X-Injected\":{\"a\n\n",
		"GET /stream?v=" + songID + " HTTP/1.1\nHost: x\rX-Injected: 1\n\n",
		"GET /stream?v=" + songID + " HTTP/1.1\nHost: x\nOrigin: https://voyo.test%0d%0aX-Injected: 1\n\n",
		"GET /stream?v=" + songID + " HTTP/1.1\nHost: x\nOrigin: https://voyo.test\rX-Injected: 1\n\n",
		"GET /page" + crlf + " HTTP/1.1\nHost: x\n\n",
		"GET /page?" + crlf + " HTTP/1.1\nHost: x\n\n",
		"GET /page HTTP/1.1\nHost: x\nX: a\rX-Injected: 1\n\n",
		"GET /page\rX-Injected:1 HTTP/1.1\nHost: x\n\n",
	} {
		_, from := e.raw(t, request)
		resp := readRaw(t, from, "GET")
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.Header.Get("X-Injected") != "" || resp.StatusCode == http.StatusOK && strings.Contains(string(body), `,"X-Injected"`) {
			t.Errorf("%q: got %s %v %s, error %v", request, resp.Status, resp.Header, body, err)
		}
		if from.Buffered() > 0 {
			t.Errorf("%q: more than one answer", request)
		}
	}
	for _, r := range o.asked("") {
		if r.Header.Get("X-Injected") != "" || strings.ContainsAny(r.Host, "\r\n%") {
			t.Errorf("the origin was sent %s %v", r.RequestURI, r.Header)
		}
	}
	if err := e.load(t, "voyo {\n"+template(o.URL)+"\npublic_url \"http://x\r\nX-Injected: 1\"\n}"); err == nil {
		t.Error("a public_url of several lines is accepted")
	}
}
