package voyo

import (
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// testOrigin answers as the first element of the path says, with a body of that name.
type testOrigin struct {
	*httptest.Server

	mu       sync.Mutex
	requests []*http.Request
	conns    int
}

func newTestOrigin(t *testing.T) *testOrigin {
	t.Helper()
	o := &testOrigin{}
	o.Server = httptest.NewUnstartedServer(o)
	o.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateNew {
			o.mu.Lock()
			o.conns++
			o.mu.Unlock()
		}
	}
	o.Start()
	t.Cleanup(o.Close)
	return o
}

func (o *testOrigin) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	o.requests = append(o.requests, r)
	o.mu.Unlock()

	header := w.Header()
	header.Set("Set-Cookie", "session=secret")
	header.Set("Content-Type", "audio/ogg")
	how, arg, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	status := http.StatusOK
	switch how {
	case "abort":
		panic(http.ErrAbortHandler)
	case "status":
		_, _ = fmt.Sscan(arg, &status)
	case "type":
		header.Set("Content-Type", arg)
	case "gzip":
		header.Set("Content-Encoding", "gzip")
		gz := gzip.NewWriter(w)
		defer gz.Close()
		_, _ = gz.Write([]byte(how))
		return
	case "empty":
		if arg == "chunked" {
			_ = http.NewResponseController(w).Flush()
		}
		return
	case "unsatisfied":
		status = http.StatusRequestedRangeNotSatisfiable
		header.Set("Content-Range", "bytes */"+arg)
	case "range":
		status = http.StatusPartialContent
		header.Set("Content-Range", "bytes "+arg)
	case "redirect":
		var n int
		_, _ = fmt.Sscan(arg, &n)
		target := "/ok"
		if n > 1 {
			target = fmt.Sprintf("/redirect/%d", n-1)
		}
		http.Redirect(w, r, target, http.StatusFound)
		return
	case "to":
		http.Redirect(w, r, arg, http.StatusTemporaryRedirect)
		return
	}
	w.WriteHeader(status)
	if status != http.StatusNotModified {
		_, _ = io.WriteString(w, how)
	}
}

// asked returns the paths that were asked for since the last time.
func (o *testOrigin) asked() (paths []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, r := range o.requests {
		paths = append(paths, r.URL.Path)
	}
	o.requests = nil
	return paths
}

// all returns the URLs of the paths.
func (o *testOrigin) all(paths ...string) (urls []string) {
	for _, p := range paths {
		urls = append(urls, o.URL+p+"?X-Amz-Signature=secret")
	}
	return urls
}
