package voyo_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// The policy is for what is kept.
func TestPagesPolicy(t *testing.T) {
	o := pageOrigin(t)
	big := "&body=" + strings.Repeat("x", 2000)
	for _, c := range []struct {
		policy, uri string
		hit         bool
		control     string
	}{
		{"", "/a?" + fresh, true, "max-age=60"},
		{"max_age 5s", "/a?" + fresh, true, "public, max-age=5"},
		{"max_age 5s", "/b?cache-control=no-store", false, "no-store"},
		{"max_age 5s", "/b?cache-control=private", false, "private"},
		{"", "/c", false, ""},
		{"ttl 1h", "/c", true, ""},
		{"ttl 1h", "/c?cache-control=no-cache", false, "no-cache"},
		{"ttl 1h", "/c?status=404", false, ""},
		{"ttl 1h\nnegative_ttl 1m", "/c?status=404", true, ""},
		{"negative_ttl 1m", "/d?status=410", true, ""},
		{"negative_ttl 1m", "/d?status=500", false, ""},
		{"override_ttl 1h", "/e?cache-control=no-store", true, "no-store"},
		{"override_ttl 1h", "/e?cache-control=private&set-cookie=a", false, "private"},
		{"override_ttl 1h", "/e?status=503", false, ""},
		{"max_object 1KB", "/f?" + fresh, true, "max-age=60"},
		{"max_object 1KB", "/f?" + fresh + big, false, "max-age=60"},
	} {
		e := startGateway(t, o.URL+" {\n"+c.policy+"\n}", "")
		for range 2 {
			e.get(t, c.uri)
		}
		a := e.get(t, c.uri)
		if hit := strings.Contains(a.header.Get("Cache-Status"), "; hit"); hit != c.hit || a.header.Get("Cache-Control") != c.control {
			t.Errorf("%q: %.60s: hit: %t, Cache-Control: %s", c.policy, c.uri, hit, a.header.Get("Cache-Control"))
		}
		e.stop(t)
	}
}

// What a client is known by is passed on, and what is for it alone is not kept.
func TestPagesOfClients(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", strings.TrimPrefix(r.URL.RawQuery, "cc="))
		_, _ = io.WriteString(w, r.Header.Get("Authorization")+r.Header.Get("Cookie"))
	})
	e := startGateway(t, o.URL, "")
	for _, c := range []struct {
		cc, field string
		shared    bool
	}{
		{"max-age=60", "Authorization", false},
		{"public,max-age=60", "Authorization", true},
		{"s-maxage=60", "Authorization", true},
		{"max-age=60", "Cookie", true}, // nothing in HTTP says that it is not
		{"private,max-age=60", "Cookie", false},
	} {
		uri := "/" + c.field + "?cc=" + c.cc
		e.do(t, "GET", uri, with(c.field, "one"))
		want := "two"
		if c.shared {
			want = "one"
		}
		if a := e.do(t, "GET", uri, with(c.field, "two")); string(a.body) != want {
			t.Errorf("%s: got %s", uri, a)
		}
		if a := e.get(t, uri); string(a.body) != strings.TrimPrefix(want, "two") {
			t.Errorf("%s: without credentials: got %s", uri, a)
		}
	}
}

// Sites with one origin have the same cache, and pages of their own.
func TestPagesOfSites(t *testing.T) {
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "max-age=60")
		_, _ = io.WriteString(w, r.Header.Get("X-Forwarded-Host"))
	})
	handler := fmt.Sprintf("voyo {\n%s\norigin %s\n}", template("http://127.0.0.1:9"), o.URL)
	e := startEdge(t, fmt.Sprintf("@one host one.test\nhandle @one {\n%s\n}\nhandle {\n%[1]s\n}", handler))
	for _, c := range []struct{ target, host, fields, want string }{
		{"/", "one.test", "", "one.test"},
		{"/", "two.test", "X-Forwarded-Host: one.test\n", "two.test"},
		{"/", "TWO.test:80", "Forwarded: host=one.test\nX-Forwarded-Proto: https\n", "two.test"},
		{"http://one.test/", "two.test", "", "one.test"},
		{"http://three.test/", "one.test", "", "three.test"},
		{"/", "one.test:8080", "", "one.test:8080"},
		{"/", "three.test", "Connection: X-Forwarded-Host, Via, CDN-Loop\n", "three.test"},
	} {
		_, from := e.raw(t, fmt.Sprintf("GET %s HTTP/1.1\nHost: %s\n%s\n", c.target, c.host, c.fields))
		if body, err := io.ReadAll(readRaw(t, from, "GET").Body); err != nil || string(body) != c.want {
			t.Errorf("%s at %s: got %q, error %v", c.target, c.host, body, err)
		}
	}
	if n := len(o.asked("")); n != 4 {
		t.Errorf("the origin was asked %d times for 4 pages", n)
	}
	for _, r := range o.asked("") {
		for _, name := range []string{"Via", "Cdn-Loop", "X-Forwarded-For", "X-Forwarded-Proto"} {
			if len(r.Header[name]) != 1 {
				t.Errorf("%s: %s", name, r.Header[name])
			}
		}
	}
}
