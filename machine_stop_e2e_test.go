package voyo_test

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"testing"
)

// An edge that is told to end takes no new clients, lets streams that are under way
// come to their end, and breaks off those that last longer than Caddy's grace_period.
// Whoever was broken off goes on where he was, once the edge is back.
func TestMachineTerminated(t *testing.T) {
	const size = 8 << 20 // more than the sockets hold
	for _, c := range []struct {
		name, options string
		waits         bool
	}{
		{"for as long as it takes", "", true},
		{"within a second", "grace_period 1s", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			stored, fetched := newSong(sourceID(0), size), newSong(sourceID(1), size)
			a := newArchive(t, stored, fetched)
			site := fmt.Sprintf("voyo {\n%s\nstream {\nmemory 8MiB\nslice 64KiB\ndisk %s 64MiB\n}\n}", template(a.URL), t.TempDir())
			e := newChild(t, site)
			e.options = c.options
			e.configure(t, site)
			e.start(t)
			e.store(t, []song{stored})
			a.rate.Store(4 << 20)
			listeners := []*slowReader{{song: stored}, {song: fetched}}
			for _, l := range listeners {
				must(t, l.ask(t.Context(), narrowTransport(t), e.url))
				must(t, l.read(size/8))
			}
			must(t, e.cmd.Process.Signal(syscall.SIGTERM))
			eventually(t, "nobody is let in", func() bool {
				conn, err := net.Dial("tcp", strings.TrimPrefix(e.url, "http://"))
				if err == nil {
					conn.Close()
				}
				return errors.Is(err, syscall.ECONNREFUSED)
			})
			if !c.waits {
				must(t, e.wait(t))
			}
			for _, l := range listeners {
				switch err := l.finish(); {
				case errors.Is(err, errWrongBytes):
					t.Error(err)
				case (err == nil) != c.waits:
					t.Errorf("%s: %v", l.song.id, err)
				}
			}
			if c.waits {
				must(t, e.wait(t))
			}
			e.start(t)
			for _, l := range listeners {
				if _, err := e.hearRange(t.Context(), l.song, l.off, size); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

// Sixty reloads of a process of its own, with the listeners that Caddy opens, while
// everybody streams: not one of them sees it, and nothing is left.
func TestMachineReloadStorm(t *testing.T) {
	const (
		reloads = 60
		early   = 10
		step    = 8 << 10
	)
	songs := newSongs(0, 24, 1<<20)
	a := newArchive(t, songs...)
	dir := t.TempDir()
	site := func(i int) string {
		return fmt.Sprintf("voyo {\n%s\nstream {\nmemory %dMiB\nslice 64KiB\ndisk %s %dMiB\nmax_age %dm\n}\n}", template(a.URL), 4+i%3, dir, 64+i%5, 1+i)
	}
	c := startChild(t, site(0))
	c.store(t, songs)
	slow := &slowReader{song: songs[0]}
	must(t, slow.ask(t.Context(), narrowTransport(t), c.url))
	must(t, slow.read(step))
	a.reset()

	var before usage
	clients := startCrowd(t, c.node, songs, 4)
	for i := range reloads {
		c.reload(t, site(i))
		must(t, slow.read(step))
		clients.awaitSong(t)
		if i == early {
			clients.leave(t)
			a.CloseClientConnections()
			before = c.settledUsage(t)
			clients = startCrowd(t, c.node, songs, 4)
		}
	}
	clients.leave(t)
	c.mustUseNoMore(t, before)
	must(t, slow.finish())
	if n := clients.missed.Load(); n != 0 {
		t.Errorf("%d songs were not cached", n)
	}
	a.mustRest(t)
	mustLeaveNoTemps(t, dir)
	if log := c.log(t); strings.Contains(log, "panic") || strings.Contains(log, `"level":"error"`) {
		t.Error("something went wrong")
	}
}
