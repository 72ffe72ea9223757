package voyo_test

import (
	"bufio"
	"cmp"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// However many clients ask at once for a track that nobody has yet, the upstream
// sends it once, and everyone gets the bytes as they land.
func TestStreamsCrowd(t *testing.T) {
	for _, c := range []struct {
		name  string
		start func(t *testing.T, site string) node
	}{
		{"in this process", func(t *testing.T, site string) node { return startEdge(t, site).node }}, // for the race detector
		{"in its own", func(t *testing.T, site string) node { return startChild(t, site).node }},     // for the figures
	} {
		t.Run(c.name, func(t *testing.T) { testCrowd(t, c.start) })
	}
}

func testCrowd(t *testing.T, start func(t *testing.T, site string) node) {
	t.Helper()
	const clients = 500
	s := newSong(songID, 4<<20)
	var asked sync.WaitGroup
	asked.Add(clients)
	a := newArchive(t, s)
	a.delay = 50 * time.Millisecond
	a.rate.Store(2 << 20)
	a.arrived = asked.Wait // so that nobody comes too late to wait for the first byte
	n := start(t, "voyo {\n"+template(a.URL)+"\n}")

	trace := &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { asked.Done() }}
	ctx, cancel := context.WithTimeout(httptrace.WithClientTrace(t.Context(), trace), 2*patience)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	first := make([]time.Time, clients)
	for i := range clients {
		group.Go(func() (err error) {
			first[i], err = n.hearFirst(ctx, s)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if requests, sent := a.requests.Load(), a.sent.Load(); requests != 1 || sent != s.size {
		t.Errorf("the upstream was asked %d times, for %q, and sent %d bytes of %d", requests, a.askedRanges(), sent, s.size)
	}
	if !n.mustHear(t, s) {
		t.Error("it is not cached")
	}
	late := make([]time.Duration, clients)
	for i := range late {
		late[i] = first[i].Sub(a.firstByte(s))
	}
	slices.Sort(late)
	t.Logf("the clients' first byte after the upstream's: median %s, 90%% within %s, last %s",
		late[clients/2], late[clients*9/10], late[clients-1])
}

// hearFirst hears all of a song, and returns when its first byte came.
func (n node) hearFirst(ctx context.Context, s song) (at time.Time, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url+s.path(), nil)
	if err != nil {
		return at, err
	}
	resp, err := n.client.Do(r)
	if err != nil {
		return at, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return at, fmt.Errorf("got %s", resp.Status)
	}
	body := bufio.NewReaderSize(resp.Body, 16<<10)
	if _, err := body.Peek(1); err != nil {
		return at, err
	}
	at = time.Now()
	_, err = s.verify(body, 0, s.size)
	return at, err
}

// A thousand clients that read slowly cost the edge little more than their
// connections, as they all are sent the same bytes out of the cache.
func TestStreamsSlowReaders(t *testing.T) {
	const (
		clients = 1000
		limit   = 256 << 20
	)
	songs := newSongs(0, 8, 4<<20)
	a := newArchive(t, songs...)
	c := startChild(t, "voyo {\n"+template(a.URL)+"\n}", fmt.Sprintf("GOMEMLIMIT=%d", limit))
	c.mustHearAll(t, songs, 4)
	if hits := c.mustHearAll(t, songs, 4); hits != len(songs) {
		t.Fatalf("%d of %d tracks are cached", hits, len(songs))
	}
	a.reset()
	c.client.CloseIdleConnections()
	idle := c.peakBytes(t)

	readers := make([]*slowReader, clients)
	everyone := func(do func(*slowReader) error) {
		t.Helper()
		var group errgroup.Group
		group.SetLimit(32)
		for _, r := range readers {
			group.Go(func() error { return do(r) })
		}
		if err := group.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	transport := narrowTransport(t)
	for i := range readers {
		readers[i] = &slowReader{song: songs[i%len(songs)]}
	}
	everyone(func(r *slowReader) error { return r.ask(t.Context(), transport, c.url) })
	// One step of everyone, then the next: in between all wait, and so does the edge,
	// as neither kernel takes much of what is left.
	const steps, step = 16, 16 << 10
	for range steps {
		everyone(func(r *slowReader) error { return r.read(step) })
		if n := c.health(t).Cache.Stats.ActiveStreams; n != clients {
			t.Fatalf("%d streams of %d are under way", n, clients)
		}
	}
	stalled := c.peakBytes(t)
	everyone((*slowReader).finish)
	a.mustRest(t)
	peak := c.peakBytes(t)
	t.Logf("peak resident memory: %d MiB with the tracks cached, %d MiB with %d stalled readers, %d MiB in the end",
		idle>>20, stalled>>20, clients, peak>>20)
	if peak > limit {
		t.Errorf("%d MiB were resident, with a limit of %d MiB", peak>>20, limit>>20)
	}
}

// narrowTransport returns a transport of which each request has a connection of its
// own, a narrow one.
func narrowTransport(t *testing.T) *http.Transport {
	t.Helper()
	dialer := net.Dialer{Control: narrow}
	transport := &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true, DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return transport
}

// narrow is for a net.Dialer: little is on the way then. Segments are as in the
// Internet, of which the kernel holds few.
func narrow(_, _ string, conn syscall.RawConn) error {
	var bufferErr, segmentErr error
	err := conn.Control(func(fd uintptr) {
		bufferErr = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 32<<10)
		segmentErr = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, 8<<10)
	})
	return cmp.Or(err, bufferErr, segmentErr)
}

// slowReader is a client that reads only when it is told to.
type slowReader struct {
	song song
	off  int64
	conn net.Conn
	body io.ReadCloser
}

func (r *slowReader) ask(ctx context.Context, transport *http.Transport, url string) error {
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { r.conn = info.Conn }}
	req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), http.MethodGet, url+r.song.path(), nil)
	if err != nil {
		return err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	r.body = resp.Body
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("got %s", resp.Status)
	}
	return nil
}

// read reads n bytes more.
func (r *slowReader) read(n int) error {
	got := make([]byte, n)
	if _, err := io.ReadFull(r.body, got); err != nil {
		return err
	}
	if err := r.song.check(r.off, got); err != nil {
		return err
	}
	r.off += int64(n)
	return nil
}

// finish reads the rest as fast as it can.
func (r *slowReader) finish() error {
	defer r.body.Close()
	if err := r.conn.(*net.TCPConn).SetReadBuffer(1 << 20); err != nil {
		return err
	}
	_, err := r.song.verify(r.body, r.off, r.song.size)
	return err
}
