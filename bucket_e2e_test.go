package voyo_test

import (
	"fmt"
	"net/http"
	"net/http/httputil"
	"strings"
	"testing"

	"github.com/voyo-music/caddy-voyo/internal/s3test"
)

// frontOf returns the URL of a server that hands all requests on to the store.
func frontOf(t *testing.T, s *s3test.Store) string {
	t.Helper()
	front := newOrigin(t, (&httputil.ReverseProxy{
		Transport: s.Transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.URL.Scheme, r.Out.URL.Host = "http", r.In.Host // Host is signed
		},
	}).ServeHTTP)
	return front.URL
}

// A private bucket of a real store is read with signed URLs, which nobody sees.
func TestPrivateBucket(t *testing.T) {
	s := s3test.Start(t)
	t.Setenv("VOYO_TEST_ACCESS", s.Access)
	t.Setenv("VOYO_TEST_SECRET", s.Secret)
	store := frontOf(t, s)
	track := readRepository(t, "testdata/demo/64/"+songID+".opus")
	s.Put(t, "64/"+songID+".opus", "audio/ogg", track)
	e := startEdge(t, fmt.Sprintf(`voyo {
		resolver s3 {
			endpoint %s
			bucket music
			region %s
			audio {http.voyo.bitrate}/{http.voyo.id}.opus
			access_key {env.VOYO_TEST_ACCESS}
			secret_key {env.VOYO_TEST_SECRET}
		}
	}`, store, s3test.Region))

	resp, err := http.Get(store + "/music/64/" + songID + ".opus")
	if err != nil {
		t.Fatal(err)
	}
	if resp.Body.Close(); resp.StatusCode != http.StatusForbidden {
		t.Fatalf("the bucket is not private: %s", resp.Status)
	}
	e.mustGet(t, "/cdn/stream/"+songVOYO+"?quality=low", track)
	e.mustGet(t, "/cdn/stream/"+songVOYO, track) // the other bitrate is not there
	a := e.do(t, http.MethodGet, "/cdn/stream/"+songVOYO+"?quality=low", with("Range", "bytes=-100"))
	if a.status != http.StatusPartialContent || string(a.body) != track[len(track)-100:] {
		t.Errorf("got %d and %d bytes", a.status, len(a.body))
	}
	if a := e.get(t, "/cdn/stream/"+sourceID(1)); a.status != http.StatusNotFound {
		t.Errorf("got %s", a)
	}
	log := e.logged(t)
	for _, hidden := range []string{s.Access, s.Secret, "X-Amz", strings.TrimPrefix(store, "http://")} {
		if strings.Contains(log, hidden) {
			t.Errorf("%s is logged:\n%s", hidden, log)
		}
	}
}
