package chaos

import (
	"bytes"
	"context"
	"io"
	"log"
	"net"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// TestMain mutes net/http, which logs what comes unasked.
func TestMain(m *testing.M) {
	log.SetOutput(io.Discard)
	m.Run()
}

// fetch asks an upstream for a path, and reads to the end of what there is, within
// reason.
func fetch(t *testing.T, n *Network, path string, header http.Header) (*http.Response, []byte, error) {
	t.Helper()
	rt := &http.Transport{DialContext: n.DialContext, DisableCompression: true}
	defer rt.CloseIdleConnections()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://music.example"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if header != nil {
		r.Header = header
	}
	resp, err := rt.RoundTrip(r)
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, readMost))
	return resp, body, err
}

// serve serves a script on a network of its own, until the test ends.
func serve(t *testing.T, s Script) (*Upstream, *Network) {
	t.Helper()
	u := NewUpstream(s)
	n := &Network{Refuse: u.Refuses}
	l := n.Listen("music.example:80")
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = u.Serve(l)
	}()
	t.Cleanup(func() {
		u.Close()
		<-done
		if open := n.Open(); open > 0 {
			t.Errorf("%d ends of connections are open", open)
		}
	})
	return u, n
}

func TestUpstream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o := quiet(t)
		o.Ranges = true
		u, n := serve(t, s)
		size := o.SizeOf(0)
		resp, body, err := fetch(t, n, o.Path, nil)
		if err != nil || resp.StatusCode != http.StatusOK || !bytes.Equal(body, Body(o.Path, 0, 0, size)) {
			t.Errorf("got %v, %d bytes, %v", resp, len(body), err)
		}
		u.Change(o.Path)
		if resp, body, err = fetch(t, n, o.Path, nil); err != nil || !bytes.Equal(body, Body(o.Path, 1, 0, o.SizeOf(1))) {
			t.Errorf("got %v, %d bytes, %v of the new version", resp, len(body), err)
		}
		resp, _, err = fetch(t, n, o.Path, http.Header{"If-None-Match": {o.Tag(1)}})
		if err != nil || resp.StatusCode != http.StatusNotModified {
			t.Errorf("got %v, %v to a condition", resp, err)
		}
	})
}

// TestFaults lets each fault happen, at each part of the body, to a request for all and to
// one for a part: none leaves anything behind.
func TestFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o := quiet(t)
		s.Trouble = 100
		for _, f := range faults {
			s.Themes = []string{f.name}
			u, n := serve(t, s)
			for range 8 {
				for _, header := range []http.Header{nil, {"Range": {"bytes=1000-50000"}}} {
					_, _, _ = fetch(t, n, o.Path, header)
				}
			}
			if u.Counts()[f.name] == 0 {
				t.Errorf("%s: never happened", f.name)
			}
		}
	})
}

// TestTrickledHeader has a header come bit by bit: what it says is said with its end, and
// may be news to whoever has asked meanwhile.
func TestTrickledHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, o := quiet(t)
		u := NewUpstream(s)
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, o.Path, nil)
		if err != nil {
			t.Fatal(err)
		}
		m := o.answer(r, 0)
		m.stage, m.how, m.pause = inHeader, "trickles", time.Second
		client, c := net.Pipe()
		began := time.Now()
		go func() {
			_ = (&exchange{u: u, c: c, r: r, o: o, size: m.n}).sendHead(m)
			_ = c.Close()
		}()
		var whole time.Time
		for b := make([]byte, 4096); ; whole = time.Now() {
			if _, err := client.Read(b); err != nil {
				break
			}
		}
		if said := u.said[o.Path][0]; !said.Equal(whole) || whole.Sub(began) < 3*time.Second {
			t.Errorf("said after %s, whole after %s", said.Sub(began), whole.Sub(began))
		}
	})
}

// TestKernelNetwork serves on a socket, as a soak does.
func TestKernelNetwork(t *testing.T) {
	s, o := quiet(t)
	u := NewUpstream(s)
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = u.Serve(l)
	}()
	c := Client{Patience: 30 * time.Second, Dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
	}}
	v := s.Plain(o.Path)
	v.Target = o.Path
	for _, a := range c.Visit(t.Context(), v, u.Now) {
		if !a.Whole || !bytes.Equal(a.Body, Body(o.Path, 0, 0, o.SizeOf(0))) {
			t.Errorf("got %d, %d bytes, %v", a.Status, len(a.Body), a.Err)
		}
	}
	u.Close()
	<-done
	if u.Conns() > 0 {
		t.Errorf("%d connections are open", u.Conns())
	}
}
