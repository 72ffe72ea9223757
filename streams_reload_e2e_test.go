package voyo_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	voyo "github.com/voyo-music/caddy-voyo"
)

// crowd are clients who hear one song after another until they are sent away. As
// browsers do, they ask again what nobody has answered.
type crowd struct {
	heard  atomic.Int64 // songs
	missed atomic.Int64 // that were not cached
	again  atomic.Int64 // requests that were made again
	stop   context.CancelFunc
	group  *errgroup.Group
	broken context.Context // done if one of them got an error
}

func startCrowd(t *testing.T, n node, songs []song, clients int) *crowd {
	t.Helper()
	return startCrowdAt(t, n.hear, songs, clients)
}

// startCrowdAt starts one that hears songs wherever that is.
func startCrowdAt(t *testing.T, hear func(context.Context, song) (heard, error), songs []song, clients int) *crowd {
	t.Helper()
	c := &crowd{}
	var leaving context.Context
	leaving, c.stop = context.WithCancel(t.Context())
	c.group, c.broken = errgroup.WithContext(t.Context())
	for i := range clients {
		rnd := rand.New(rand.NewPCG(uint64(i), 0))
		c.group.Go(func() error {
			for leaving.Err() == nil { // each song to its end
				s := songs[rnd.IntN(len(songs))]
				h, err := hear(t.Context(), s)
				if isUnanswered(err) {
					c.again.Add(1)
					continue
				}
				if err != nil {
					return fmt.Errorf("client %d, after %d songs of all: %w", i, c.heard.Load(), err)
				}
				if !h.hit() {
					c.missed.Add(1)
				}
				c.heard.Add(1)
			}
			return nil
		})
	}
	t.Cleanup(c.stop)
	return c
}

// awaitSong waits until one more song has been heard.
func (c *crowd) awaitSong(t *testing.T) {
	t.Helper()
	c.awaitSongs(t, 1)
}

// awaitSongs waits until n more songs have been heard.
func (c *crowd) awaitSongs(t *testing.T, n int64) {
	t.Helper()
	seen := c.heard.Load()
	eventually(t, "more songs have been heard", func() bool { return c.heard.Load() >= seen+n || c.broken.Err() != nil })
	if c.broken.Err() != nil {
		c.leave(t)
	}
}

// leave waits until all have heard what they were hearing, without an error.
func (c *crowd) leave(t *testing.T) {
	t.Helper()
	c.stop()
	if err := c.group.Wait(); err != nil {
		t.Fatal(err)
	}
}

// A hundred reloads under load break no stream, lose nothing of what is cached, in
// memory or on disk, and leave nothing behind.
func TestStreamsReloadsUnderLoad(t *testing.T) {
	const (
		reloads = 100
		early   = 10
		step    = 8 << 10
	)
	songs := newSongs(0, 24, 1<<20)
	slow := []song{songs[0], newSong(sourceID(1000), 4<<20)} // one is cached, one is not
	a := newArchive(t, append(songs, slow[1])...)
	dir := t.TempDir()
	site := func(i int) string {
		return fmt.Sprintf(`voyo {
			%s
			stream {
				memory %dMiB
				slice 64KiB
				disk %s %dMiB
				max_age %dm
			}
		}`, template(a.URL), 4+i%3, dir, 64+i%5, 1+i)
	}
	e := startEdge(t, site(0))
	e.store(t, songs)
	readers := make([]*slowReader, len(slow))
	for i, s := range slow {
		readers[i] = &slowReader{song: s}
		must(t, readers[i].ask(t.Context(), narrowTransport(t), e.url))
	}
	for i := range slow {
		must(t, readers[i].read(step))
	}
	a.reset()

	var before usage
	clients := startCrowd(t, e.node, songs, 4)
	for i := range reloads {
		must(t, e.load(t, site(i)))
		for _, r := range readers {
			must(t, r.read(step))
		}
		clients.awaitSong(t)
		if i == early {
			clients.leave(t)
			before = e.settledUsage(t)
			clients = startCrowd(t, e.node, songs, 4)
		}
	}
	clients.leave(t)
	after := e.settledUsage(t)
	t.Logf("%d songs were heard in the last %d reloads; %+v before, %+v after", clients.heard.Load(), reloads-early, before, after)
	if after.goroutines > before.goroutines+10 || after.files > before.files+5 {
		t.Errorf("%+v after %d reloads, %+v after %d", before, early, after, reloads)
	}
	if n := clients.missed.Load(); n != 0 {
		t.Errorf("%d songs were not cached", n)
	}
	for _, r := range readers {
		must(t, r.finish())
	}
	if n := a.sent.Load(); n > slow[1].size {
		t.Errorf("the upstream was asked %d times, for %q, and sent %d bytes", a.requests.Load(), a.askedRanges(), n)
	}
	if hits := e.mustHearAll(t, songs, 2); hits != len(songs) {
		t.Errorf("%d hits of %d in the end", hits, len(songs))
	}
	e.stop(t)
	if states := voyo.StatesInUse(); states != 0 {
		t.Errorf("%d states are left", states)
	}
}
