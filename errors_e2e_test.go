package voyo_test

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

const (
	page  = "https://voyo.test" // an allowed origin
	other = "https://elsewhere.test"
)

// failingOrigin fails as its path says.
func failingOrigin(t *testing.T, secret string) *origin {
	t.Helper()
	return newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Set-Cookie", "session="+secret)
		w.Header().Set("Location", "http://"+r.Host+r.URL.String())
		w.Header().Set("X-Amz-Request-Id", secret)
		message := "no " + r.URL.String() + " here, ask " + r.Host
		switch {
		case strings.Contains(r.URL.Path, "fails"):
			http.Error(w, message, http.StatusInternalServerError)
		case strings.Contains(r.URL.Path, "breaks"):
			panic(http.ErrAbortHandler)
		case strings.Contains(r.URL.Path, "hangs"):
			<-r.Context().Done()
		case strings.Contains(r.URL.Path, "page"):
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, message)
		case strings.Contains(r.URL.Path, "range"):
			http.ServeContent(w, r, "x.opus", time.Time{}, strings.NewReader(fakeTrack(1000)))
		default:
			http.Error(w, message, http.StatusNotFound)
		}
	})
}

// refusingHost is the address of a host that refuses connections.
func refusingHost(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	// a socket of a connection keeps the port from all others
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.LocalAddr().String()
}

// Each line of the table of errors, as clients see it, with and without
// handle_errors.
func TestErrors(t *testing.T) {
	const secret = "s3cr3t-t0ken"
	t.Setenv("VOYO_TEST_SECRET", secret)
	o := failingOrigin(t, secret)
	service := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		status := http.StatusNotFound
		if strings.Contains(r.URL.RawQuery, "fails") {
			status = http.StatusUnauthorized
		}
		http.Error(w, "not for "+r.Header.Get("Authorization"), status)
	})
	refusing := refusingHost(t)
	config := fmt.Sprintf(`voyo {
		resolver template {
			audio %[1]s/{http.voyo.id}?X-Amz-Signature={env.VOYO_TEST_SECRET}
			video http://%[3]s/{http.voyo.id}?X-Amz-Signature={env.VOYO_TEST_SECRET}
			art %[1]s/{http.voyo.id}?X-Amz-Signature={env.VOYO_TEST_SECRET}
		}
		resolver api %[2]s/stream?key={env.VOYO_TEST_SECRET} {
			header Authorization "Bearer {env.VOYO_TEST_SECRET}"
		}
		allowed_origins %[4]s
		enforce_origins
		transport http {
			response_header_timeout 100ms
		}
	}`, o.URL, service.URL, refusing, page)

	for _, v := range []struct{ name, site, marker, body string }{
		{"without handle_errors", "", "", `{"error":"%[2]s"}` + "\n"},
		{"handle_errors for others", "handle_errors 599 {\nrespond never\n}", "", `{"error":"%[2]s"}` + "\n"},
		{"handle_errors for all", "handle_errors {\nheader X-Page yes\nrespond \"page of {err.status_code}: {err.message}\"\n}", "yes", "page of %[1]d: %[2]s"},
	} {
		t.Run(v.name, func(t *testing.T) {
			e := startEdge(t, config+"\n"+v.site)
			seen := checkErrors(t, e, o, v.marker, v.body)
			logged := e.logged(t)
			for _, hidden := range []string{secret, "X-Amz-Signature", "Bearer", o.host(), service.host(), refusing} {
				if strings.Contains(seen, hidden) {
					t.Errorf("%s is in an answer:\n%s", hidden, seen)
				}
				if strings.Contains(logged, hidden) {
					t.Errorf("%s is logged:\n%s", hidden, logged)
				}
			}
			for _, reason := range []string{"status 500", "refused", "reset", "timeout", "bad answer"} {
				if !strings.Contains(logged, reason) {
					t.Errorf("%s is not logged", reason)
				}
			}
		})
	}
}

// checkErrors makes requests for which there is an error, and returns all answers
// as one text.
func checkErrors(t *testing.T, e *edge, o *origin, marker, body string) (seen string) {
	t.Helper()
	const stream, art = "VOYO stream temporarily unavailable", "Album art temporarily unavailable"
	e.get(t, "/cdn/stream/missing_one")
	loop := o.asked("/missing_one")[0].Header.Get("Cdn-Loop")
	for _, c := range []struct {
		name, method, path string
		header             http.Header
		status             int
		message            string
	}{
		{"malformed ID", "GET", "/cdn/stream/nonsense", nil, 400, "Invalid VOYO track ID"},
		{"malformed ID of a cover", "GET", "/thumbnail?id=", nil, 400, "Invalid VOYO track ID"},
		{"malformed ID in JSON", "GET", "/exists/vyo_T1NCYW5fc0hfYjg=", nil, 400, "Invalid VOYO track ID"},
		{"other origin", "GET", "/cdn/stream/missing_one", with("Origin", other), 403, "Origin not allowed"},
		{"no track", "GET", "/cdn/stream/missing_one", nil, 404, "Content not found in VOYO library"},
		{"no track, HEAD", "HEAD", "/cdn/stream/missing_one", nil, 404, "Content not found in VOYO library"},
		{"no cover", "GET", "/cdn/art/missing_one", nil, 404, art},
		{"no cover, remembered", "GET", "/cdn/art/missing_one", nil, 404, art},
		{"method", "POST", "/cdn/stream/missing_one", nil, 405, "Method not allowed"},
		{"upstream fails", "GET", "/cdn/stream/fails______", nil, 502, stream},
		{"upstream fails for a cover", "GET", "/cdn/art/fails______", nil, 502, art},
		{"upstream fails, JSON", "GET", "/exists/fails______", nil, 502, stream},
		{"upstream breaks", "GET", "/cdn/stream/breaks_____", nil, 502, stream},
		{"upstream refuses", "GET", "/cdn/stream/missing_two?type=video", nil, 502, stream},
		{"upstream sends a page", "GET", "/cdn/stream/page_______", nil, 502, stream},
		{"upstream sends a page for a cover", "GET", "/cdn/art/page_______", nil, 502, art},
		{"upstream hangs", "GET", "/cdn/stream/hangs______", nil, 504, stream},
		{"upstream hangs, range", "GET", "/cdn/stream/hangs______", with("Range", "bytes=0-1"), 504, stream},
		{"loop", "GET", "/cdn/stream/missing_one", with("Cdn-Loop", loop), 508, "VOYO edge loop detected"},
	} {
		header := c.header.Clone()
		if header == nil {
			header = http.Header{}
		}
		if header.Get("Origin") == "" {
			header.Set("Origin", page)
		}
		a := e.do(t, c.method, c.path, header)
		seen += a.String()
		want := fmt.Sprintf(body, c.status, c.message)
		if c.method == http.MethodHead {
			want = ""
		}
		if a.status != c.status || string(a.body) != want {
			t.Errorf("%s: got %s, want %d %s", c.name, a, c.status, want)
		}
		wantHeader := map[string]string{"Cache-Control": "no-store", "X-Page": marker, "Vary": "Origin"}
		if marker == "" {
			wantHeader["Content-Type"] = "application/json"
		}
		if header.Get("Origin") == page {
			wantHeader["Access-Control-Allow-Origin"] = page
		} else {
			wantHeader["Access-Control-Allow-Origin"] = ""
		}
		for name, value := range wantHeader {
			if got := a.header.Get(name); got != value {
				t.Errorf("%s: %s: %q, want %q", c.name, name, got, value)
			}
		}
		for _, name := range []string{"Set-Cookie", "Location", "X-Amz-Request-Id", "Etag", "Accept-Ranges"} {
			if got, ok := a.header[name]; ok {
				t.Errorf("%s: %s: %s", c.name, name, got)
			}
		}
	}
	a := e.do(t, http.MethodGet, "/cdn/stream/range______", with("Range", "bytes=1000-", "Origin", page))
	if a.status != http.StatusRequestedRangeNotSatisfiable || a.header.Get("Content-Range") != "bytes */1000" ||
		a.header.Get("Cache-Control") != "no-store" || a.header.Get("Access-Control-Allow-Origin") != page {
		t.Errorf("range outside of the track: got %s", a)
	}
	return seen + a.String()
}

// handle_errors does what it does for other handlers: it is matched against what
// the client asked for, may rewrite that, and may answer with another status.
func TestHandleErrorsForms(t *testing.T) {
	o := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(o.Close)
	e := startEdge(t, "uri strip_prefix /v1\nvoyo {\n"+template(o.URL)+"\n}"+`
		handle_errors 404 {
			@v1 path /v1/*
			respond @v1 "gone from {http.request.uri.path}" 410
		}
		handle_errors 404 {
			rewrite * /page
			respond /page "{err.message} at {http.request.orig_uri.path}"
		}
		handle_errors 4xx {
			respond "another one"
		}`)
	a := e.get(t, "/cdn/stream/"+songID)
	if want := "Content not found in VOYO library at /cdn/stream/" + songID; a.status != http.StatusNotFound || string(a.body) != want {
		t.Errorf("got %s, want %s", a, want)
	}
	a = e.get(t, "/v1/cdn/stream/"+songID)
	if want := "gone from /v1/cdn/stream/" + songID; a.status != http.StatusGone || string(a.body) != want {
		t.Errorf("got %s, want %s", a, want)
	}
	if a := e.get(t, "/cdn/stream/nonsense"); a.status != http.StatusBadRequest || string(a.body) != "another one" {
		t.Errorf("got %s", a)
	}
}
