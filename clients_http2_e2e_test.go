package voyo_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"golang.org/x/sync/errgroup"
)

// Clients of HTTP/2 that take back each request as soon as they have made it, as fast
// as they can, keep nobody from listening, and leave nothing behind.
func TestClientsRapidResets(t *testing.T) {
	const clients, requests = 8, 5000
	songs := newSongs(0, 16, 1<<20)
	a := newArchive(t, songs...)
	c, trust := startSecureChild(t, "voyo {\n"+template(a.URL)+"\nstream {\nmemory 8MiB\nslice 64KiB\n}\n}")
	c.mustHearAll(t, songs, 4)
	a.CloseClientConnections()
	before := c.settledUsage(t)
	var group errgroup.Group
	for i := range clients {
		group.Go(func() error { return resetRapidly(c.url, trust, songs[i].path(), requests) })
	}
	crowd := startCrowd(t, c.node, songs, 4)
	for range 20 {
		crowd.awaitSong(t)
	}
	must(t, group.Wait())
	crowd.awaitSong(t)
	crowd.leave(t)
	eventually(t, "no stream is active", func() bool { return c.health(t).Cache.Stats.ActiveStreams == 0 })
	a.CloseClientConnections()
	c.mustUseNoMore(t, before)
}

// resetRapidly makes that many requests over one connection and takes each back. That
// the server ends the connection, as it may, is as good.
func resetRapidly(url string, trust *tls.Config, path string, requests int) error {
	trust = trust.Clone()
	trust.NextProtos = []string{"h2"}
	conn, err := tls.Dial("tcp", strings.TrimPrefix(url, "https://"), trust)
	if err != nil {
		return err
	}
	defer conn.Close()
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		_, _ = io.Copy(io.Discard, conn)
	}()
	defer func() { conn.Close(); <-drained }()
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		return err
	}
	framer := http2.NewFramer(conn, nil)
	if err := framer.WriteSettings(); err != nil {
		return err
	}
	var block bytes.Buffer
	enc := hpack.NewEncoder(&block)
	for i := range requests {
		block.Reset()
		for _, f := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", strings.TrimPrefix(url, "https://")}, {":path", path}} {
			if err := enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
				return err
			}
		}
		id := uint32(2*i + 1)
		err := framer.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true})
		if errors.Join(err, framer.WriteRSTStream(id, http2.ErrCodeCancel)) != nil {
			return nil
		}
	}
	return nil
}
