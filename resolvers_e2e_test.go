package voyo_test

import (
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// service is VOYO's JSON service, which says where tracks are.
type service struct {
	*origin

	mu   sync.Mutex
	urls map[string]string // by source ID
}

func newService(t *testing.T) *service {
	t.Helper()
	s := &service{urls: make(map[string]string)}
	s.origin = newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		s.mu.Lock()
		u, ok := s.urls[r.URL.Query().Get("v")]
		s.mu.Unlock()
		if !ok {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]string{"url": u})
	})
	return s
}

// tell makes the service say that a track is there.
func (s *service) tell(id, u string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.urls[id] = u
}

func (s *service) config() string { return "resolver api " + s.URL + "/stream" }

// forbiddenHost is a listener that must not be connected to. touched counts who
// did.
func forbiddenHost(t *testing.T) (addr string, touched *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	touched = new(atomic.Int64)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			touched.Add(1)
			conn.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return l.Addr().String(), touched
}

// What a service's answer names is fetched only if it is listed and not private.
func TestAnswersAreGuarded(t *testing.T) {
	addr, touched := forbiddenHost(t)
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	redirecting := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "http://"+addr+"/secret", http.StatusFound)
	})
	s := newService(t)
	api := s.config() + "\n"
	for _, c := range []struct{ name, url, site string }{
		{"unlisted address", "http://" + addr + "/x", api},
		{"unlisted name", "http://localhost:" + port + "/x", api + "allowed_upstreams media.test"},
		{"listed address, no range", "http://" + addr + "/x", api + "allowed_upstreams " + addr},
		{"listed name, no range", "http://localhost:" + port + "/x", api + "allowed_upstreams localhost:" + port},
		{"listed name, other range", "http://localhost:" + port + "/x", api + "allowed_upstreams localhost:" + port + " 10.0.0.0/8"},
		{"range, unlisted name", "http://localhost:" + port + "/x", api + "allowed_upstreams 127.0.0.0/8"},
		{"other port", "http://localhost:" + port + "/x", api + "allowed_upstreams localhost localhost:1 127.0.0.0/8"},
		{"IPv4 in IPv6", "http://[::ffff:127.0.0.1]:" + port + "/x", api + "allowed_upstreams " + addr},
		{"address as a number", "http://2130706433:" + port + "/x", api + "allowed_upstreams 127.0.0.0/8"},
		{"unspecified address", "http://0.0.0.0:" + port + "/x", api + "allowed_upstreams 0.0.0.0:" + port},
		{"the cloud's metadata", "http://169.254.169.254/latest/meta-data/", api + "allowed_upstreams 169.254.169.254"},
		{"the service's host, other port", "http://" + addr + "/x", api + "allowed_upstreams media.test"},
		{"redirect of an upstream", redirecting.URL + "/x", api + "resolver template {\nvideo " + redirecting.URL + "/{http.voyo.id}\n}"},
		{"redirect of a template's upstream", "", template(redirecting.URL)},
		{"redirect of the service", "", "resolver api " + redirecting.URL + "/stream"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.tell(songID, c.url)
			e := startEdge(t, "voyo {\n"+c.site+"\n}")
			before := touched.Load()
			a := e.get(t, "/cdn/stream/"+songVOYO)
			if a.status != http.StatusBadGateway || string(a.body) != `{"error":"VOYO stream temporarily unavailable"}`+"\n" {
				t.Errorf("got %s", a)
			}
			if n := touched.Load() - before; n != 0 {
				t.Errorf("%d connections to the forbidden host", n)
			}
			log := e.logged(t)
			if !strings.Contains(log, `"forbidden"`) || strings.Contains(log, addr) || strings.Contains(log, "169.254") {
				t.Errorf("logged:\n%s", log)
			}
		})
	}
	if n := len(redirecting.asked("/")); n != 3 {
		t.Errorf("the redirecting host was asked %d times of 3", n)
	}
}

func TestAllowedUpstreams(t *testing.T) {
	track := fakeTrack(1000)
	media := fileOrigin(t, map[string]string{"/t": track})
	redirecting := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, media.URL+"/t", http.StatusFound)
	})
	s := newService(t)
	_, port, err := net.SplitHostPort(media.host())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ name, url, allowed string }{
		{"address", media.URL + "/t", media.host() + " 127.0.0.0/8"},
		{"name", "http://localhost:" + port + "/t", "localhost:" + port + " 127.0.0.0/8"},
		{"range alone", media.URL + "/t", "127.0.0.0/8"},
		{"redirect", redirecting.URL, redirecting.host() + " " + media.host() + " 127.0.0.0/8"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s.tell(songID, c.url)
			e := startEdge(t, "voyo {\n"+s.config()+"\nallowed_upstreams "+c.allowed+"\n}")
			e.mustGet(t, "/cdn/stream/"+songVOYO, track)
		})
	}
}

// A place that is remembered and refuses is asked for anew, once.
func TestExpiredLocation(t *testing.T) {
	track := fakeTrack(1000)
	var valid atomic.Value
	valid.Store("first")
	s := newService(t)
	media := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("signature") != valid.Load() {
			http.Error(w, "expired", http.StatusForbidden)
			return
		}
		w.Header().Set("Content-Type", "audio/ogg")
		_, _ = w.Write([]byte(track))
	})
	// what is kept is stale at once, so that each request needs the upstream
	e := startEdge(t, "voyo {\n"+s.config()+"\nallowed_upstreams "+media.host()+" 127.0.0.0/8\nstream {\noverride_ttl 1ns\n}\n}")
	asked := func(wantService, wantMedia int) {
		t.Helper()
		if n := len(s.asked("/")); n != wantService {
			t.Errorf("the service was asked %d times, want %d", n, wantService)
		}
		if n := len(media.asked("/")); n != wantMedia {
			t.Errorf("media were asked %d times, want %d", n, wantMedia)
		}
	}
	s.tell(songID, media.URL+"/?signature=first")
	e.mustGet(t, "/cdn/stream/"+songVOYO, track)
	e.mustGet(t, "/cdn/stream/"+songID, track)
	asked(1, 2)

	valid.Store("second")
	s.tell(songID, media.URL+"/?signature=second")
	e.mustGet(t, "/cdn/stream/"+songVOYO, track)
	asked(2, 4)
	e.mustGet(t, "/cdn/stream/"+songVOYO, track)
	asked(2, 5)

	// the new one does not work either: an error, and not a circle
	valid.Store("third")
	if a := e.get(t, "/cdn/stream/"+songVOYO); a.status != http.StatusNotFound {
		t.Errorf("got %s", a)
	}
	if n := len(s.asked("/")); n > 4 {
		t.Errorf("the service was asked %d times", n)
	}
}

// Where one resolver does not have a track, or fails, the next one is asked.
func TestNextResolver(t *testing.T) {
	track := fakeTrack(1000)
	media := fileOrigin(t, map[string]string{"/128/" + songID + ".opus": track})
	for name, first := range map[string]string{
		"does not have it": fileOrigin(t, nil).URL,
		"fails":            failingOrigin(t, "").URL + "/fails",
		"breaks":           failingOrigin(t, "").URL + "/breaks",
		"refuses":          "http://" + refusingHost(t),
	} {
		t.Run("template "+name, func(t *testing.T) {
			e := startEdge(t, "voyo {\n"+template(first)+"\n"+template(media.URL)+"\n}")
			e.mustGet(t, "/cdn/stream/"+songVOYO, track)
		})
		t.Run("api "+name, func(t *testing.T) {
			e := startEdge(t, "voyo {\nresolver api "+first+"\n"+template(media.URL)+"\n}")
			e.mustGet(t, "/cdn/stream/"+songVOYO, track)
		})
	}
}
