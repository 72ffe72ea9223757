package voyo_test

import (
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// pageOrigin answers with the fields that the query names, once for each: the status
// with "status", the body with "body".
func pageOrigin(t *testing.T) *origin {
	t.Helper()
	return newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		status := http.StatusOK
		body := r.URL.Path
		for name, values := range r.URL.Query() {
			switch name {
			case "status":
				status, _ = strconv.Atoi(values[0])
			case "body":
				body = values[0]
			default:
				w.Header()[http.CanonicalHeaderKey(name)] = values
			}
		}
		w.WriteHeader(status)
		if r.Method != http.MethodHead {
			_, _ = io.WriteString(w, body)
		}
	})
}

const fresh = "cache-control=max-age=60"

// isHit reports whether a page comes out of the cache.
func (n node) isHit(t *testing.T, uri string) bool {
	t.Helper()
	return strings.Contains(n.get(t, uri).header.Get("Cache-Status"), "voyo; hit")
}

func TestPagesOutliveReload(t *testing.T) {
	o, other := pageOrigin(t), pageOrigin(t)
	e := startGateway(t, o.URL, "")
	const page = "/page?" + fresh
	e.get(t, page)
	for _, more := range []string{"", " {\nstale_if_error 1h\n}", " {\nmax_object 1MiB\n}"} {
		must(t, e.load(t, gatewaySite(o.URL+more, "")))
		if !e.isHit(t, page) {
			t.Errorf("no hit after a reload with %q", more)
		}
	}
	for name, site := range map[string]string{
		"no URL":        gatewaySite("{file."+filepath.Join(t.TempDir(), "missing")+"}", ""),
		"too large":     gatewaySite(o.URL+" {\nmax_object 1GiB\n}", ""),
		"other handler": gatewaySite(other.URL, "handle /x* {\nvoyo {\n"+template(o.URL)+"\nenforce_origins\n}\n}"),
	} {
		if err := e.load(t, site); err == nil {
			t.Errorf("%s: it was loaded", name)
		}
		if !e.isHit(t, page) {
			t.Errorf("no hit after a failed reload: %s", name)
		}
	}
	if err := e.loadWithFailingApp(t, gatewaySite(other.URL, "")); err == nil || !e.isHit(t, page) {
		t.Errorf("no hit after a reload that failed when it started: %v", err)
	}
	o.onlyAsked(t)
	must(t, e.load(t, gatewaySite(other.URL, "")))
	if e.isHit(t, page) {
		t.Error("another origin's page is served")
	}
}

// A change is seen by the next request for what it is of, and by no other one.
func TestPagesInvalidated(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		if status, err := strconv.Atoi(r.Header.Get("X-Status")); err == nil {
			w.Header()["Location"], w.Header()["Content-Location"] = r.Header["X-Location"], r.Header["X-Content-Location"]
			w.WriteHeader(status)
		}
	})
	e := startGateway(t, o.URL, "")
	pages := []string{"/target", "/location", "/content", "/other"}
	for _, c := range []struct {
		method, status, location, content, want string
	}{
		{"POST", "200", "", "", "/target"},
		{"PUT", "204", "", "", "/target"},
		{"DELETE", "204", "", "", "/target"},
		{"PATCH", "200", "", "", "/target"},
		{"PURGE", "200", "", "", "/target"},
		{"POST", "201", "/location", "content", "/target /location /content"},
		{"POST", "303", e.url + "/location", "", "/target /location"},
		{"POST", "200", "http://elsewhere.test/location", o.URL + "/content", "/target"},
		{"POST", "404", "/location", "/content", ""},
		{"POST", "500", "/location", "/content", ""},
		{"OPTIONS", "200", "/location", "/content", ""},
	} {
		for _, page := range pages {
			e.get(t, page)
		}
		header := with("X-Status", c.status)
		if c.location != "" {
			header.Set("X-Location", c.location)
		}
		if c.content != "" {
			header.Set("X-Content-Location", c.content)
		}
		e.client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		e.do(t, c.method, "/target", header)
		var gone []string
		for _, page := range pages {
			if !e.isHit(t, page) {
				gone = append(gone, page)
			}
		}
		if got := strings.Join(gone, " "); got != c.want {
			t.Errorf("%s, %s, %s, %s: gone are %q, want %q", c.method, c.status, c.location, c.content, got, c.want)
		}
	}
}

// An answer to a POST that says that it is the page is what the next GET gets.
func TestPagesOfPost(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Content-Location", r.RequestURI)
		if r.URL.Path == "/elsewhere" {
			w.Header().Set("Content-Location", "http://elsewhere.test"+r.RequestURI)
		}
		_, _ = io.WriteString(w, r.Method)
	})
	e := startGateway(t, o.URL, "")
	for uri, want := range map[string]string{"/page?a": "POST", "/elsewhere": "GET"} {
		e.do(t, "POST", uri, nil)
		if a := e.get(t, uri); string(a.body) != want {
			t.Errorf("%s: got %s", uri, a)
		}
	}
}

// What can't be shared is asked for once by each client, and each gets its own.
func TestPagesUncacheable(t *testing.T) {
	const clients = 20
	for _, control := range []string{"no-store", "private, max-age=60", "no-cache", "max-age=0"} {
		var all sync.WaitGroup
		all.Add(clients)
		o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
			all.Done()
			w.Header().Set("Cache-Control", control)
			_, _ = io.WriteString(w, r.Header.Get("X-Client"))
		})
		e := startGateway(t, o.URL, "")
		for i := range clients {
			all.Go(func() {
				name := fmt.Sprint(i)
				if a := e.do(t, "GET", "/page", with("X-Client", name)); string(a.body) != name {
					t.Errorf("%s: client %s got %s", control, name, a)
				}
			})
		}
		all.Wait()
		if n := len(o.asked("")); n != clients {
			t.Errorf("%s: the origin was asked %d times by %d clients", control, n, clients)
		}
	}
}

// Each client gets the coding that it asks for, with its own entity tag.
func TestPagesByEncoding(t *testing.T) {
	text := strings.Repeat("a page ", 1000)
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		w.Header().Set("Vary", "Accept-Encoding")
		if !strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
			w.Header().Set("Etag", `"plain"`)
			_, _ = io.WriteString(w, text)
			return
		}
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Etag", `"gzip"`)
		z := gzip.NewWriter(w)
		_, _ = io.WriteString(z, text)
		_ = z.Close()
	})
	e := startGateway(t, o.URL, "")
	for round := range 2 {
		for _, accepted := range []string{"", "gzip", "identity"} {
			header := http.Header{}
			if accepted != "" {
				header.Set("Accept-Encoding", accepted)
			}
			want := "plain"
			if accepted == "gzip" {
				want = "gzip"
			}
			a := e.do(t, "GET", "/page", header)
			body := string(a.body)
			if a.header.Get("Content-Encoding") == "gzip" {
				z, err := gzip.NewReader(strings.NewReader(body))
				must(t, err)
				b, err := io.ReadAll(z)
				must(t, err)
				body = string(b)
			}
			hit := strings.Contains(a.header.Get("Cache-Status"), "; hit")
			if body != text || a.header.Get("Etag") != `"`+want+`"` || (a.header.Get("Content-Encoding") == "gzip") != (want == "gzip") || hit != (round == 1) {
				t.Errorf("round %d, %q: got %d bytes, %v", round, accepted, len(a.body), a.header)
			}
			header.Set("If-None-Match", `"`+want+`"`)
			if a := e.do(t, "GET", "/page", header); a.status != http.StatusNotModified || a.header.Get("Vary") == "" {
				t.Errorf("%q: got %s", accepted, a)
			}
		}
	}
	if n := len(o.asked("")); n != 3 {
		t.Errorf("the origin was asked %d times", n)
	}
}

// Parts of a page, and whether it has changed, are told without asking.
func TestPagesInParts(t *testing.T) {
	o := pageOrigin(t)
	e := startGateway(t, o.URL, "")
	const page = "/page?" + fresh + "&body=0123456789&etag=%22v1%22"
	e.get(t, page)
	for _, c := range []struct {
		method, name, value string
		status              int
		body                string
	}{
		{"GET", "Range", "bytes=2-4", 206, "234"},
		{"GET", "Range", "bytes=-1", 206, "9"},
		{"GET", "Range", "bytes=10-", 416, ""},
		{"HEAD", "Range", "bytes=2-4", 200, ""},
		{"GET", "If-None-Match", `W/"v1"`, 304, ""},
		{"HEAD", "If-None-Match", `"v1"`, 304, ""},
		{"GET", "If-None-Match", `"v0"`, 200, "0123456789"},
		{"GET", "If-Match", `"v0"`, 412, ""},
	} {
		if a := e.do(t, c.method, page, with(c.name, c.value)); a.status != c.status || string(a.body) != c.body {
			t.Errorf("%s: %s: got %s", c.name, c.value, a)
		}
	}
	if r := o.onlyAsked(t); r.Header.Get("Range") != "" {
		t.Errorf("the origin is asked for %s", r.Header.Get("Range"))
	}
}

// An origin that is gone does not take its pages with it.
func TestPagesStaleIfError(t *testing.T) {
	o := pageOrigin(t)
	e := startGateway(t, o.URL+" {\nstale_if_error 1h\n}", "handle_errors {\nrespond {err.status_code}\n}")
	const page, strict = "/page?cache-control=max-age=1", "/page?cache-control=max-age=1,must-revalidate"
	e.get(t, strict)
	e.get(t, page)
	o.Close()
	eventually(t, "the page is stale", func() bool {
		a := e.get(t, page)
		if a.status != http.StatusOK || string(a.body) != "/page" {
			t.Fatalf("got %s", a)
		}
		return strings.Contains(a.header.Get("Cache-Status"), "detail=failed")
	})
	for _, uri := range []string{strict, "/new"} {
		if a := e.get(t, uri); a.status != http.StatusBadGateway || string(a.body) != "502" {
			t.Errorf("%s: got %s", uri, a)
		}
	}
}

// A page that has just become stale is sent, and confirmed once meanwhile.
func TestPagesStaleWhileRevalidate(t *testing.T) {
	goOn := make(chan struct{})
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Etag", `"v1"`)
		if r.Header.Get("If-None-Match") != "" {
			<-goOn
			w.Header().Set("Cache-Control", "max-age=60")
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Header().Set("Cache-Control", "max-age=1, stale-while-revalidate=60")
		w.Header().Set("Age", "1")
		_, _ = io.WriteString(w, "page")
	})
	e := startGateway(t, o.URL, "log_append voyo_cache {http.voyo.cache}")
	e.mustGet(t, "/page", "page")
	for range 5 {
		if !e.mustGet(t, "/page", "page") {
			t.Error("no hit while it is confirmed")
		}
	}
	close(goOn)
	eventually(t, "the page is confirmed", func() bool {
		return !strings.HasSuffix(e.get(t, "/page").header.Get("Cache-Status"), "ttl=0")
	})
	if n := len(o.asked("")); n != 2 {
		t.Errorf("the origin was asked %d times", n)
	}
	if logged := e.logged(t); strings.Count(logged, `"voyo_cache":"stale"`) < 5 {
		t.Errorf("logged: %s", logged)
	}
}

// Who answered, and how old it is, says the header; and the access log what the cache
// did.
func TestPagesTell(t *testing.T) {
	o := pageOrigin(t)
	e := startGateway(t, o.URL, "log_append voyo_cache {http.voyo.cache}")
	began := time.Now()
	for _, c := range []struct{ method, uri, via, age, status, logged string }{
		{"GET", "/a?" + fresh + "&age=10&via=1.0+behind", "1.0 behind, 1.1 caddy-voyo", "10", "voyo; fwd=miss; stored", "miss"},
		{"GET", "/a?" + fresh + "&age=10&via=1.0+behind", "1.0 behind, 1.1 caddy-voyo", "10", "voyo; hit; ttl=", "hit"},
		{"HEAD", "/a?" + fresh + "&age=10&via=1.0+behind", "1.0 behind, 1.1 caddy-voyo", "10", "voyo; hit; ttl=", "hit"},
		{"GET", "/b?cache-control=no-store", "1.1 caddy-voyo", "", "voyo; fwd=miss", "pass"},
		{"GET", "/b?cache-control=no-store", "1.1 caddy-voyo", "", "voyo; fwd=miss", "pass"},
		{"HEAD", "/c?" + fresh, "1.1 caddy-voyo", "", "voyo; fwd=miss", "pass"},
		{"POST", "/a?" + fresh, "1.1 caddy-voyo", "", "voyo; fwd=method", "pass"},
		{"GET", "/a?" + fresh, "1.1 caddy-voyo", "", "voyo; fwd=miss; stored", "miss"},
	} {
		a := e.do(t, c.method, c.uri, nil)
		if got := strings.Join(a.header.Values("Via"), ", "); got != c.via {
			t.Errorf("%s %s: Via: %s, want %s", c.method, c.uri, got, c.via)
		}
		if got := a.header.Get("Age"); !isAge(got, c.age, time.Since(began)) {
			t.Errorf("%s %s: Age: %s, want %s", c.method, c.uri, got, c.age)
		}
		if got := strings.Join(a.header.Values("Cache-Status"), ", "); !strings.HasPrefix(got, c.status) {
			t.Errorf("%s %s: Cache-Status: %s, want %s", c.method, c.uri, got, c.status)
		}
	}
	o.Close()
	for _, method := range []string{"GET", "HEAD", "POST"} {
		e.do(t, method, "/gone", nil)
	}
	var got []string
	for line := range strings.Lines(e.logged(t)) {
		if _, status, ok := strings.Cut(line, `"voyo_cache":"`); ok {
			status, _, _ = strings.Cut(status, `"`)
			got = append(got, status)
		}
	}
	want := "miss" + strings.Repeat(" hit", 2) + strings.Repeat(" pass", 4) + " miss" + strings.Repeat(" error", 3)
	if logged := strings.Join(got, " "); logged != want {
		t.Errorf("logged: %s, want %s", logged, want)
	}
}

// isAge reports whether an Age is what it was, or what that has become in the time that has
// passed; both may be empty.
func isAge(got, was string, passed time.Duration) bool {
	age, err := strconv.Atoi(got)
	least, leastErr := strconv.Atoi(was)
	if err != nil || leastErr != nil {
		return got == was
	}
	return least <= age && age <= least+int(passed/time.Second)+1
}
