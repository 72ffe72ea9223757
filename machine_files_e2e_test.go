package voyo_test

import (
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
)

// An edge that may open no more files goes on with what it has: those who come wait or
// see an error, and get what they ask for once files can be opened again. None of what
// is on the disk is taken for damaged.
func TestMachineTooManyFiles(t *testing.T) {
	const waiting = 32
	songs := newSongs(0, 24, 1<<20)
	a := newArchive(t, append(songs, newSongs(100, waiting, 1<<20)...)...)
	disk := t.TempDir()
	c := startChild(t, fmt.Sprintf("voyo {\n%s\nstream {\nmemory 2MiB\nslice 64KiB\ndisk %s 256MiB\n}\n}", template(a.URL), disk))
	c.store(t, songs)
	a.CloseClientConnections()
	before := c.settledUsage(t)
	slow := &slowReader{song: songs[0]}
	must(t, slow.ask(t.Context(), narrowTransport(t), c.url))
	must(t, slow.read(1000))
	client := c.newClient(t)
	client.mustHear(t, songs[1])

	lift := c.limitFiles(t, len(c.descriptors(t))+2)
	var group errgroup.Group
	var failed atomic.Int64
	for _, s := range append(newSongs(100, waiting, 1<<20), songs[:8]...) {
		other := c.newClient(t)
		group.Go(func() error {
			defer other.client.CloseIdleConnections()
			h, err := other.hear(t.Context(), s)
			if err == nil || errors.Is(err, errWrongBytes) {
				return err
			}
			if h.status != http.StatusBadGateway && h.status != http.StatusOK {
				return fmt.Errorf("got neither the song nor a proper error: %d, %w", h.status, err)
			}
			failed.Add(1)
			return nil
		})
	}
	for range 8 { // who has a connection need not wait
		if _, err := client.hear(t.Context(), songs[2]); errors.Is(err, errWrongBytes) {
			t.Error(err)
		}
		if got := client.get(t, "/health").status; got != http.StatusOK && got != http.StatusServiceUnavailable {
			t.Errorf("/health: %d", got)
		}
	}
	lift()
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	t.Logf("%d of %d clients saw an error", failed.Load(), waiting+8)
	if _, err := slow.song.verify(slow.body, slow.off, slow.song.size); errors.Is(err, errWrongBytes) {
		t.Error(err)
	}
	slow.body.Close()
	client.client.CloseIdleConnections()

	eventually(t, "the edge is healthy", func() bool { return c.condition(t).Status == "healthy" })
	a.reset()
	if hits := c.mustHearAll(t, songs, 4); hits != len(songs) {
		t.Errorf("%d hits of %d out of what was on the disk before", hits, len(songs))
	}
	a.mustRest(t)
	a.CloseClientConnections()
	c.mustUseNoMore(t, before)
	mustLeaveNoTemps(t, disk)
}

// newClient returns the node as somebody else sees it, with connections of his own.
func (n node) newClient(t *testing.T) node {
	t.Helper()
	transport := &http.Transport{DisableCompression: true}
	t.Cleanup(transport.CloseIdleConnections)
	return node{n.url, &http.Client{Transport: transport}}
}

// limitFiles sets how many files the process may have open, until the function that it
// returns is called.
func (c *child) limitFiles(t *testing.T, n int) (lift func()) {
	t.Helper()
	pid := c.cmd.Process.Pid
	var old unix.Rlimit
	must(t, unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &old))
	must(t, unix.Prlimit(pid, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(n), Max: old.Max}, nil))
	return func() { must(t, unix.Prlimit(pid, unix.RLIMIT_NOFILE, &old, nil)) }
}
