package voyo_test

import (
	"context"
	"io"
	"net/http"
	"testing"

	"github.com/quic-go/quic-go/http3"
	"golang.org/x/sync/errgroup"
)

// Over HTTP/3 a song comes whole, from the middle, and to many at once; and of those who
// leave in the middle nothing is left.
func TestClientsHTTP3(t *testing.T) {
	songs := newSongs(0, 16, 1<<20)
	a := newArchive(t, songs...)
	disk := t.TempDir()
	c, trust := startSecureChild(t, "voyo {\n"+template(a.URL)+"\nstream {\nmemory 4MiB\nslice 64KiB\ndisk "+disk+" 64MiB\n}\n}")
	c.store(t, songs[:8])
	a.CloseClientConnections()
	before := c.settledUsage(t)

	transport := &http3.Transport{TLSClientConfig: trust, DisableCompression: true}
	n := node{c.url, &http.Client{Transport: transport}}
	if got := n.request(t, http.MethodGet, "/health", nil).Proto; got != "HTTP/3.0" {
		t.Fatalf("this is %s", got)
	}
	n.mustHearAll(t, songs, 4) // of which half is fetched
	for _, s := range songs {
		if h, err := n.hearRange(t.Context(), s, s.size/2, s.size); err != nil || h.status != http.StatusPartialContent {
			t.Error(h.status, err)
		}
	}
	must(t, n.hearInManyWays(t.Context(), songs[0]))

	var group errgroup.Group
	for i := range 64 {
		group.Go(func() error { return n.leave(t.Context(), songs[i%len(songs)], int64(1+i*1000)) })
	}
	must(t, group.Wait())
	eventually(t, "no stream is active", func() bool { return c.health(t).Cache.Stats.ActiveStreams == 0 })
	n.mustHearAll(t, songs, 4)
	must(t, transport.Close())
	a.CloseClientConnections()
	c.mustUseNoMore(t, before)
	mustLeaveNoTemps(t, disk)
}

// leave asks for a song, and goes away after n bytes.
func (n node) leave(ctx context.Context, s song, bytes int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url+s.path(), nil)
	if err != nil {
		return err
	}
	resp, err := n.client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got := make([]byte, bytes)
	if _, err := io.ReadFull(resp.Body, got); err != nil {
		return err
	}
	return s.check(0, got)
}
