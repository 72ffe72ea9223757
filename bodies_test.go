package voyo

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/voyo-music/caddy-voyo/cache"
)

// What is kept is whole, and is there before the last of it is passed on.
func TestKept(t *testing.T) {
	for _, body := range []string{"", "x", "a body"} {
		for name, reader := range map[string]func(io.Reader) io.Reader{
			"plain":           func(r io.Reader) io.Reader { return r },
			"byte by byte":    iotest.OneByteReader,
			"end with data":   iotest.DataErrReader,
			"long, cut short": func(r io.Reader) io.Reader { return io.MultiReader(r, iotest.ErrReader(io.ErrUnexpectedEOF)) },
		} {
			var got *string
			length := len(body)
			if name == "long, cut short" {
				length++
			}
			k := &kept{
				ReadCloser: io.NopCloser(reader(strings.NewReader(body))),
				length:     length,
				done: func(b []byte) {
					s := string(b)
					got = &s
				},
			}
			var passed int
			buf := make([]byte, 4)
			for {
				n, err := k.Read(buf)
				if passed += n; passed == len(body) && length == len(body) && n > 0 && got == nil {
					t.Errorf("%q, %s: passed on before it is kept", body, name)
				}
				if err != nil {
					break
				}
			}
			if whole := length == len(body); whole != (got != nil) || whole && *got != body {
				t.Errorf("%q, %s: kept %v", body, name, got)
			}
		}
	}
}

// Of the answers to a POST those are kept that say that they are the page, and for
// how long.
func TestKeeping(t *testing.T) {
	const fresh, page = "max-age=60", "/page"
	h := newTestHandler(t, found(nil))
	h.origin = &gateway{url: originURL}
	f := forwardingOf("POST", "/page", "www.example", nil, false, false)
	for _, c := range []struct {
		name, method string
		status       int
		location     string
		control      string
		length       int64
		want         bool
	}{
		{"all is well", "POST", 200, page, fresh, 5, true},
		{"absolute", "POST", 200, "http://www.example/page", fresh, 5, true},
		{"as large as may be", "POST", 200, page, fresh, maxKeptPost, true},
		{"too large", "POST", 200, page, fresh, maxKeptPost + 1, false},
		{"of unknown length", "POST", 200, page, fresh, -1, false},
		{"freshness not stated", "POST", 200, page, "public", 5, false},
		{"another page", "POST", 200, "/other", fresh, 5, false},
		{"another host's page", "POST", 200, "http://other.example/page", fresh, 5, false},
		{"no page", "POST", 200, "", fresh, 5, false},
		{"created", "POST", 201, page, fresh, 5, false},
		{"PUT", "PUT", 200, page, fresh, 5, false},
	} {
		resp := &http.Response{StatusCode: c.status, Header: with("Cache-Control", c.control), ContentLength: c.length, Body: http.NoBody}
		if c.location != "" {
			resp.Header.Set("Content-Location", c.location)
		}
		if f.expected = nil; c.method == "POST" {
			f.expected = new(cache.Expected)
		}
		if _, got := h.keeping(f, resp).(*kept); got != c.want {
			t.Errorf("%s: kept: %t", c.name, got)
		}
	}
}

func TestUploadError(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
	}{
		{caddyhttp.Error(413, errors.New("too large")), 413},
		{io.ErrUnexpectedEOF, 499},
		{errors.New("malformed chunked encoding"), 400},
	} {
		if he, ok := errors.AsType[caddyhttp.HandlerError](uploadError(c.err)); !ok || he.StatusCode != c.status {
			t.Errorf("%v: got %v", c.err, he)
		}
	}
}

func TestIsSafe(t *testing.T) {
	for method, want := range map[string]bool{
		"GET": true, "HEAD": true, "OPTIONS": true, "TRACE": true,
		"POST": false, "PUT": false, "DELETE": false, "PATCH": false, "PURGE": false, "get": false, "PROPFIND": false,
	} {
		if got := isSafe(method); got != want {
			t.Errorf("%s: %t", method, got)
		}
	}
}
