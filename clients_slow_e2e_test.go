package voyo_test

import (
	"bufio"
	"errors"
	"io"
	"net/http"
	"os"
	"testing"
)

// Clients that send nothing, or take nothing, are sent away by Caddy's timeouts, those
// that are merely slow are not, and whoever was sent away goes on where he was.
func TestClientsTooSlow(t *testing.T) {
	const size = 16 << 20 // more than the sockets hold
	songs := newSongs(0, 2, size)
	a := newArchive(t, songs...)
	c := newChild(t, "")
	c.options = "servers {\ntimeouts {\nread_header 500ms\nread_body_idle 500ms\nidle 500ms\nwrite_idle 500ms\n}\n}"
	c.configure(t, "voyo {\n"+template(a.URL)+"\n}")
	c.start(t)
	c.mustHearAll(t, songs, 2)
	a.CloseClientConnections()
	before := c.settledUsage(t)

	request := "GET " + songs[0].path() + " HTTP/1.1\r\nHost: 127.0.0.1\r\n"
	for name, sent := range map[string]string{
		"says nothing":                 "",
		"half a line":                  request[:10],
		"half a header":                request,
		"a header, and half a line":    request + "Range: by",
		"the beginning of a second":    request + "Range: bytes=0-0\r\n\r\n" + request,
		"nothing after the first":      request + "Range: bytes=0-0\r\n\r\n",
		"a body that never comes":      "POST " + songs[0].path() + " HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\n",
		"another protocol's beginning": "\x16\x03\x01",
	} {
		conn, err := dialRaw(c.url, 0)
		must(t, err)
		_, err = io.WriteString(conn, sent)
		must(t, err)
		if _, err := io.ReadAll(conn); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("%s: was not sent away", name)
		}
		conn.Close()
	}

	trickle, err := dialRaw(c.url, 1) // a header that comes slowly, but in time
	must(t, err)
	defer trickle.Close()
	for _, b := range []byte(request + "Range: bytes=0-99\r\n\r\n") {
		_, err = trickle.Write([]byte{b})
		must(t, err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(trickle), nil)
	must(t, err)
	if _, err := songs[0].verify(resp.Body, 0, 100); err != nil {
		t.Error(err)
	}

	slow := &slowReader{song: songs[0]} // takes some all the time
	must(t, slow.ask(t.Context(), narrowTransport(t), c.url))
	stalled := &slowReader{song: songs[1]}
	must(t, stalled.ask(t.Context(), narrowTransport(t), c.url))
	must(t, stalled.read(1000))
	eventually(t, "who takes nothing is sent away", func() bool {
		must(t, slow.read(64<<10)) // the kernel has the edge go on once a third of its buffer is free
		return c.health(t).Cache.Stats.ActiveStreams == 1
	})
	must(t, slow.finish())
	if err := stalled.finish(); err == nil || errors.Is(err, errWrongBytes) {
		t.Errorf("who was sent away got %v", err)
	}
	if _, err := c.hearRange(t.Context(), stalled.song, stalled.off, stalled.song.size); err != nil {
		t.Error(err)
	}
	c.mustUseNoMore(t, before)
}
