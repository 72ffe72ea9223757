package voyo_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	voyo "github.com/voyo-music/caddy-voyo"
)

// However many ask for a cover that nobody has yet, the upstream is asked once.
func TestManyClientsOneFetch(t *testing.T) {
	const clients = 1000
	want := fakeCover(songID, 300<<10)
	var sent sync.WaitGroup // requests
	sent.Add(clients)
	o := newOrigin(t, func(w http.ResponseWriter, _ *http.Request) {
		sent.Wait() // so that all of them come while it is being fetched
		w.Header().Set("Etag", `"v1"`)
		_, _ = io.WriteString(w, want)
	})
	e := startEdge(t, "voyo {\n"+template(o.URL)+"\n}")

	trace := &httptrace.ClientTrace{WroteRequest: func(httptrace.WroteRequestInfo) { sent.Done() }}
	ctx, cancel := context.WithTimeout(httptrace.WithClientTrace(t.Context(), trace), 2*patience)
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	for i := range clients {
		group.Go(func() error {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, e.url+"/cdn/art/"+songVOYO, nil)
			if err != nil {
				return err
			}
			resp, err := e.client.Do(r)
			if err != nil {
				return fmt.Errorf("client %d: %w", i, err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				return fmt.Errorf("client %d: %w", i, err)
			}
			if resp.StatusCode != http.StatusOK || string(body) != want {
				return fmt.Errorf("client %d: got %s and %d bytes", i, resp.Status, len(body))
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := len(o.asked("/art/")); n != 1 {
		t.Errorf("the upstream was asked %d times", n)
	}
	if !e.mustGet(t, "/cdn/art/"+songID, want) {
		t.Error("it is not cached")
	}
}

// However many covers there are, what is kept stays within the limits.
func TestCacheBounds(t *testing.T) {
	for _, c := range []struct {
		name, art    string
		covers, size int
		entries      int // that are kept in the end
		maxBytes     int64
	}{
		{name: "entries", covers: 10_000, size: 1 << 10, entries: 500, maxBytes: 64 << 20},
		{name: "memory", art: "art {\nmemory 1MiB\n}", covers: 200, size: 100 << 10, entries: 10, maxBytes: 1 << 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			cover := func(id string) string { return fakeCover(id, c.size) }
			o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Etag", `"v1"`)
				w.Header().Set("Content-Length", strconv.Itoa(c.size))
				_, _ = io.WriteString(w, cover(strings.Split(r.URL.Path, "/")[2]))
			})
			e := startEdge(t, "voyo {\n"+template(o.URL)+"\n"+c.art+"\n}")
			var group errgroup.Group
			const clients = 8
			for first := range clients {
				group.Go(func() error {
					for i := first; i < c.covers; i += clients {
						resp, err := e.client.Get(e.url + "/cdn/art/" + sourceID(i))
						if err != nil {
							return err
						}
						body, err := io.ReadAll(resp.Body)
						resp.Body.Close()
						if err != nil || string(body) != cover(sourceID(i)) {
							return fmt.Errorf("cover %d: got %s, %d bytes, %w", i, resp.Status, len(body), err)
						}
						if n := voyo.ArtStats(); n.Entries > 500 || n.Bytes > c.maxBytes {
							return fmt.Errorf("after %d covers %d with %d bytes are kept", i, n.Entries, n.Bytes)
						}
					}
					return nil
				})
			}
			if err := group.Wait(); err != nil {
				t.Fatal(err)
			}
			if got := e.health(t).Cache; got.ThumbnailCacheSize != c.entries || got.Stats.ThumbnailMisses != c.covers {
				t.Errorf("got %+v, want %d entries", got, c.entries)
			}
			if n := len(o.asked("/art/")); n != c.covers {
				t.Errorf("the upstream was asked %d times", n)
			}
			first := sourceID(0)
			if e.mustGet(t, "/cdn/art/"+first, cover(first)) {
				t.Error("the first one is still cached")
			}
			if !e.mustGet(t, "/cdn/art/"+first, cover(first)) {
				t.Error("it is not cached again")
			}
		})
	}
}
