package main

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// A client takes the origin's answers for right, whole and in parts, and on one connection.
func TestClient(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(new(origin).serve))
	defer s.Close()
	c := &client{addr: strings.TrimPrefix(s.URL, "http://")}
	defer c.close()
	for _, o := range []object{cover.objects("test", 1)[0], track.objects("test", 1)[0]} {
		for _, r := range []request{{off: 5, n: 3000}, {}, {off: o.size - 1, n: 1}} {
			r.path, r.object = o.pathAtOrigin(), o
			got, err := c.get(t.Context(), r, nil)
			if err != nil || got.first <= 0 || got.total < got.first {
				t.Errorf("%+v: %+v, %v", r, got, err)
			}
			if c.conn == nil {
				t.Error("the connection is lost")
			}
		}
	}
}

// What is not as it should be is found, and costs the connection.
func TestClientFindsFaults(t *testing.T) {
	o := cover.objects("test", 1)[0]
	whole, err := io.ReadAll(io.NewSectionReader(o, 0, o.size))
	if err != nil {
		t.Fatal(err)
	}
	wrong := bytes.Clone(whole)
	wrong[12345] ^= 1
	send := func(b []byte) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(b))
		}
	}
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		n       int64
		want    error
	}{
		"a wrong bit":         {send(wrong), 0, errBytes},
		"a missing byte":      {send(whole[:len(whole)-1]), 0, errLength},
		"a byte too many":     {send(append(bytes.Clone(whole), 0)), 0, errBytes},
		"another object":      {send(make([]byte, o.size)), 0, errBytes},
		"no such object":      {http.NotFound, 0, errStatus},
		"the whole, no range": {func(w http.ResponseWriter, _ *http.Request) { w.Write(whole) }, 10, errStatus},
		"a range of another": {func(w http.ResponseWriter, r *http.Request) {
			r.Header.Set("Range", "bytes=1-10")
			send(whole)(w, r)
		}, 10, errRange},
	} {
		t.Run(name, func(t *testing.T) {
			s := httptest.NewServer(c.handler)
			defer s.Close()
			k := &client{addr: strings.TrimPrefix(s.URL, "http://")}
			if _, err := k.get(t.Context(), request{path: "/", object: o, n: c.n}, nil); !errors.Is(err, c.want) {
				t.Error(err)
			}
			if k.conn != nil {
				t.Error("the connection would be used again")
			}
		})
	}
}
