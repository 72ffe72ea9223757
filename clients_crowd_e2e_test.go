package voyo_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// Ten thousand connections at once, most of which do nothing and some of which do it
// badly, cost the edge a bounded amount of memory each, and others nothing. When they
// have left nothing is left of them.
func TestClientsTenThousand(t *testing.T) {
	const (
		idle, slow, partial = 6000, 2000, 2000
		perConnection       = 48 << 10
	)
	raiseFiles(t, 2*(idle+slow+partial))
	songs := newSongs(0, 8, 4<<20)
	a := newArchive(t, songs...)
	c := startChild(t, "voyo {\n"+template(a.URL)+"\n}")
	c.mustHearAll(t, songs, 4)
	if hits := c.mustHearAll(t, songs, 4); hits != len(songs) {
		t.Fatalf("%d of %d tracks are cached", hits, len(songs))
	}
	a.CloseClientConnections()
	before, empty := c.settledUsage(t), c.peakBytes(t)

	conns := make([]*rawClient, idle+slow+partial)
	var group errgroup.Group
	group.SetLimit(64)
	for i := range conns {
		group.Go(func() (err error) {
			s := songs[i%len(songs)]
			if conns[i], err = dialRaw(c.url, i); err != nil {
				return err
			}
			switch {
			case i < idle:
				return conns[i].hear(s, 1000)
			case i < idle+slow:
				return conns[i].begin(s, 1000)
			}
			_, err = io.WriteString(conns[i], "GET "+s.path()+" HTTP/1.1\r\nHost: 127.0.0.1\r\nRange: by")
			return err
		})
	}
	must(t, group.Wait())
	eventually(t, "all are there", func() bool { return len(c.descriptors(t)) >= before.files+len(conns) })
	if hits := c.mustHearAll(t, songs, 4); hits != len(songs) {
		t.Errorf("%d hits of %d among the crowd", hits, len(songs))
	}
	for i := 0; i < idle+slow; i += 500 { // they are served when they wake up
		s := songs[i%len(songs)]
		if i < idle {
			must(t, conns[i].hear(s, 2000))
		} else {
			must(t, conns[i].finish(s, 1000))
		}
	}
	peak := c.peakBytes(t)
	each := (peak - empty) / int64(len(conns))
	t.Logf("peak resident memory: %d MiB before, %d MiB with %d connections: %d bytes each", empty>>20, peak>>20, len(conns), each)
	if each > perConnection {
		t.Errorf("a connection takes %d bytes", each)
	}
	for _, conn := range conns {
		conn.Close()
	}
	c.mustUseNoMore(t, before)
	if n := c.health(t).Cache.Stats.ActiveStreams; n != 0 {
		t.Errorf("%d streams are still active", n)
	}
	a.CloseClientConnections()
}

// rawClient is a connection with nothing around it that would cost more than itself.
type rawClient struct {
	net.Conn

	body io.ReadCloser
}

// dialRaw connects from one of several addresses, as there are not ports enough for
// all tests at one.
func dialRaw(url string, i int) (*rawClient, error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 1, byte(1+i%8))}, Control: narrow, Timeout: patience}
	conn, err := dialer.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		return nil, err
	}
	return &rawClient{Conn: conn}, conn.SetDeadline(time.Now().Add(4 * patience))
}

// ask asks for a song, or a range of it, and reads the answer's header.
func (r *rawClient) ask(s song, field string, status int) error {
	if _, err := fmt.Fprintf(r, "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s\r\n", s.path(), field); err != nil {
		return err
	}
	resp, err := http.ReadResponse(bufio.NewReaderSize(r, 4<<10), nil)
	if err != nil {
		return err
	}
	if resp.StatusCode != status {
		return fmt.Errorf("got %s", resp.Status)
	}
	r.body = resp.Body
	return nil
}

// hear hears the first n bytes of a song, and keeps the connection.
func (r *rawClient) hear(s song, n int64) error {
	if err := r.ask(s, fmt.Sprintf("Range: bytes=0-%d\r\n", n-1), http.StatusPartialContent); err != nil {
		return err
	}
	_, err := s.verify(r.body, 0, n)
	return err
}

// begin asks for a whole song, and hears n bytes of it.
func (r *rawClient) begin(s song, n int64) error {
	if err := r.ask(s, "", http.StatusOK); err != nil {
		return err
	}
	got := make([]byte, n)
	if _, err := io.ReadFull(r.body, got); err != nil {
		return err
	}
	return s.check(0, got)
}

// finish hears the rest of a song, from off on.
func (r *rawClient) finish(s song, off int64) error {
	if err := r.Conn.(*net.TCPConn).SetReadBuffer(1 << 20); err != nil {
		return err
	}
	_, err := s.verify(r.body, off, s.size)
	return err
}

// raiseFiles lets this process, and those that it starts, have at least n files open.
func raiseFiles(t *testing.T, n uint64) {
	t.Helper()
	var old unix.Rlimit
	must(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &old))
	if old.Max >= n && old.Cur >= n {
		return
	}
	must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: n, Max: max(n, old.Max)}))
	t.Cleanup(func() { must(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &old)) })
}
