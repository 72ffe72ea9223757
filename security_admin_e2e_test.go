package voyo_test

import (
	"maps"
	"net/http"
	"strings"
	"testing"
)

// The admin endpoints can't be reached by way of the site, nor by a page that a browser
// of this machine has open: what Caddy checks counts for them.
func TestAdminReach(t *testing.T) {
	files := trackFiles()
	up := fileOrigin(t, files)
	e := startAdminEdge(t, "voyo {\n"+template(up.URL)+"\nallowed_origins *\n}")
	track := files["/128/"+songID+".opus"]
	e.mustGet(t, "/cdn/stream/"+songID, track)
	site := strings.TrimPrefix(e.url, "http://")
	const form = "application/x-www-form-urlencoded"
	for _, c := range []struct {
		name, host, as string
		header         http.Header
		status         int
	}{
		{"as it should be", e.admin, "", nil, http.StatusOK},
		{"by way of the site", site, "", nil, http.StatusOK}, // which has nothing there
		{"by way of the site, as the admin API", site, e.admin, nil, http.StatusOK},
		{"a name that was bound anew", e.admin, "evil.test", nil, http.StatusForbidden},
		{"a name that was bound anew, its port", e.admin, "evil.test:" + e.admin[strings.LastIndexByte(e.admin, ':')+1:], nil, http.StatusForbidden},
		{"another site's page", e.admin, "", with("Origin", "https://evil.test"), http.StatusForbidden},
		{"a page of the edge's own site", e.admin, "", with("Origin", e.url), http.StatusForbidden},
		{"a sandboxed page", e.admin, "", with("Origin", "null"), http.StatusBadRequest},
		{"a form", e.admin, "", with("Origin", "https://evil.test", "Content-Type", form), http.StatusForbidden},
		{"an image", e.admin, "", with("Sec-Fetch-Mode", "no-cors"), http.StatusBadRequest},
	} {
		for path, method := range map[string]string{
			"/voyo/status": "GET", "/voyo/explain?url=/cdn/stream/" + songID: "GET", "/voyo/purge": "POST", "/voyo/prefetch": "POST",
		} {
			if c.host == e.admin && c.status == http.StatusOK && path == "/voyo/purge" {
				continue // it would
			}
			body := map[string]string{"/voyo/purge": `{"all": true}`, "/voyo/prefetch": `{"ids": ["dQw4w9WgXcQ"]}`}[path]
			r, err := http.NewRequestWithContext(t.Context(), method, "http://"+c.host+path, strings.NewReader(body))
			must(t, err)
			r.Host = c.as
			maps.Copy(r.Header, c.header)
			resp, err := e.client.Do(r)
			must(t, err)
			resp.Body.Close()
			if resp.StatusCode != c.status {
				t.Errorf("%s: %s: got %s, want %d", c.name, path, resp.Status, c.status)
			}
			if c.host == site && resp.ContentLength != 0 {
				t.Errorf("%s: %s: got %d bytes", c.name, path, resp.ContentLength)
			}
			if resp.Header.Get("Access-Control-Allow-Origin") != "" && c.status != http.StatusOK {
				t.Errorf("%s: %s may be read", c.name, path)
			}
		}
	}
	if !e.mustGet(t, "/cdn/stream/"+songID, track) {
		t.Error("somebody has purged")
	}
	for method, path := range map[string]string{"GET": "/voyo/purge", "PUT": "/voyo/purge", "DELETE": "/voyo/prefetch", "POST": "/voyo/explain?url=/health"} {
		if a := e.administer(t, method, path, `{"all": true}`, nil); a.status != http.StatusMethodNotAllowed || a.header.Get("Allow") == "" {
			t.Errorf("%s %s: got %s", method, path, a)
		}
	}
}
