package voyo_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"
)

// A track is replaced at the upstream and purged while 200 clients stream it. Who
// begins after the purge was acknowledged gets the new one; who has begun before gets
// all of one version, or an error, and nobody a mixture.
func TestStreamsPurge(t *testing.T) {
	const clients, versions = 200, 8
	for _, disk := range []bool{false, true} {
		t.Run(fmt.Sprint("disk ", disk), func(t *testing.T) {
			all := newVersions(versions)
			a := newArchive(t, all[0])
			a.rate.Store(20 << 20)
			site := "voyo {\n" + template(a.URL) + "\n"
			if disk {
				site += "stream {\nmemory 4MiB\nslice 64KiB\ndisk " + t.TempDir() + " 64MiB\n}\n"
			}
			e := startAdminEdge(t, site+"}")
			hearWhilePurged(t, slices.Repeat([]node{e.node}, clients), all, clients/10, func(v int) {
				a.add(all[v])
				e.administer(t, http.MethodPost, "/voyo/purge", `{"ids": ["`+songID+`"]}`, &struct{}{})
			})
			eventually(t, "the upstream is left alone", a.idle)
		})
	}
}

// newVersions returns a track in so many versions.
func newVersions(n int) []song {
	all := []song{newSong(songID, 1<<20)}
	for range n - 1 {
		all = append(all, all[len(all)-1].next())
	}
	return all
}

// hearWhilePurged has clients, each at its node, hear a track over and over. Whenever so many
// have heard it whole, so that some have begun and something is stored, its next version is
// put in place, and the one before purged, by purge.
func hearWhilePurged(t *testing.T, clients []node, all []song, whole int, purge func(version int)) {
	t.Helper()
	var acknowledged atomic.Int64
	heard := make(chan struct{})
	ctx, cancel := context.WithTimeout(t.Context(), 4*patience)
	defer cancel()
	playing, stop := context.WithCancel(ctx)
	defer stop()
	group, ctx := errgroup.WithContext(ctx)
	for _, c := range clients {
		group.Go(func() error { return c.hearPurged(playing, all, &acknowledged, heard) })
	}
	for v := range all {
		if v > 0 {
			purge(v)
			acknowledged.Store(int64(v))
		}
		for range whole {
			select {
			case <-heard:
			case <-ctx.Done():
				t.Fatal(group.Wait())
			}
		}
	}
	stop()
	must(t, group.Wait())
}

// hearPurged hears a track over and over until ctx ends. Of its versions it gets one
// that is no older than what was acknowledged when it began.
func (n node) hearPurged(ctx context.Context, all []song, acknowledged *atomic.Int64, heard chan<- struct{}) error {
	for ctx.Err() == nil {
		least := acknowledged.Load()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url+all[0].path(), nil)
		if err != nil {
			return err
		}
		resp, err := n.client.Do(r)
		if err != nil {
			continue // broken off before anything came, or the end
		}
		version := -1
		for v := range all {
			if resp.Header.Get("Etag") == all[v].etag() {
				version = v
			}
		}
		if version < 0 || int64(version) < least {
			resp.Body.Close()
			return fmt.Errorf("version %d of %q after %d was acknowledged: %d, %s",
				version, resp.Header.Get("Etag"), least, resp.StatusCode, resp.Header.Get("Cache-Status"))
		}
		heardBytes, err := all[version].verify(resp.Body, 0, all[version].size)
		resp.Body.Close()
		if errors.Is(err, errWrongBytes) {
			return err
		}
		if err == nil && heardBytes == all[version].size {
			select {
			case heard <- struct{}{}:
			case <-ctx.Done():
			}
		}
	}
	return nil
}
