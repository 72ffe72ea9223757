package voyo_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"
)

// An edge whose caches are full stays within a control group's bound, where the kernel
// would end it, however much flows through and whoever waits. GOMEMLIMIT and the bound
// are as far above what is kept as docs/running.md has them; the disk's files count, if
// they are in memory too.
func TestMachineMemoryBound(t *testing.T) {
	const (
		streams, covers, disk = 64 << 20, 16 << 20, 32 << 20
		goLimit               = (streams + covers) * 12 / 10
		base                  = 64 << 20 // a program that has just been started, with what it maps
		bound                 = goLimit*13/10 + disk + base
		flow                  = 256 << 20
		stalled               = 200
	)
	songs := newSongs(0, flow/(1<<20), 1<<20)
	a := newArchive(t, songs...)
	group := controlGroup(t, bound)
	site := fmt.Sprintf("voyo {\n%s\nart {\nmemory %d\nentries 2000\n}\nstream {\nmemory %d\nslice 64KiB\ndisk %s %d\n}\n}", template(a.URL), covers, streams, t.TempDir(), disk)
	c := startChild(t, site, fmt.Sprintf("GOMEMLIMIT=%d", goLimit))
	must(t, os.WriteFile(filepath.Join(group, "cgroup.procs"), []byte(strconv.Itoa(c.cmd.Process.Pid)), 0o600))
	a.CloseClientConnections()
	before := c.settledUsage(t)

	readers := make([]*slowReader, stalled)
	transport := narrowTransport(t)
	for i := range readers {
		readers[i] = &slowReader{song: songs[i%32]}
		must(t, readers[i].ask(t.Context(), transport, c.url))
		must(t, readers[i].read(16<<10))
	}
	var others errgroup.Group
	others.Go(func() error {
		for i := range 1000 { // some more than there is room for
			if err := c.see(t.Context(), sourceID(i)); err != nil {
				return err
			}
		}
		return nil
	})
	c.mustHearAll(t, songs, 16)
	must(t, others.Wait())
	for _, r := range readers {
		must(t, r.finish())
	}
	c.mustHearAll(t, songs[len(songs)-20:], 4)
	peak := c.peakBytes(t)
	t.Logf("peak resident memory: %d MiB, with GOMEMLIMIT at %d MiB and a bound of %d MiB", peak>>20, goLimit>>20, bound>>20)
	if peak > bound {
		t.Errorf("%d bytes were resident", peak)
	}
	transport.CloseIdleConnections()
	a.CloseClientConnections()
	c.mustUseNoMore(t, before)
}

// see gets a track's cover and compares it.
func (n node) see(ctx context.Context, id string) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url+"/cdn/art/"+id, nil)
	if err != nil {
		return err
	}
	resp, err := n.client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Errorf("cover of %s: got %s, %w", id, resp.Status, err)
	}
	if string(got) != coverOf(id) {
		return fmt.Errorf("%w: cover of %s", errWrongBytes, id)
	}
	return nil
}

// controlGroup makes a control group whose processes may take so much memory, and
// returns its directory. It needs root.
func controlGroup(t *testing.T, bound int64) (dir string) {
	t.Helper()
	name := fmt.Sprintf("voyo-%d", os.Getpid())
	dir, limit := "/sys/fs/cgroup/memory/"+name, "memory.limit_in_bytes"
	if has, err := os.ReadFile("/sys/fs/cgroup/cgroup.controllers"); !errors.Is(err, fs.ErrNotExist) { // version 2
		must(t, err)
		if !strings.Contains(string(has), "memory") {
			t.Fatal("control groups do not bound memory here")
		}
		must(t, os.WriteFile("/sys/fs/cgroup/cgroup.subtree_control", []byte("+memory"), 0o600))
		dir, limit = "/sys/fs/cgroup/"+name, "memory.max"
	}
	must(t, os.Mkdir(dir, 0o755))
	t.Cleanup(func() { must(t, os.Remove(dir)) })
	must(t, os.WriteFile(filepath.Join(dir, limit), []byte(strconv.FormatInt(bound, 10)), 0o600))
	return dir
}

// What an edge takes is close to what it keeps, without anybody having said where that has
// to end: garbage does not come to as much again.
func TestMachineGarbage(t *testing.T) {
	const (
		kept = 256 << 20
		flow = 2 * kept
		size = 4 << 20
	)
	songs := newSongs(0, flow/size, size)
	a := newArchive(t, songs...)
	c := startChild(t, fmt.Sprintf("voyo {\n%s\nstream {\nmemory %d\n}\n}", template(a.URL), kept), "GOMEMLIMIT=off")
	c.mustHearAll(t, songs[:1], 1)
	before := c.peakBytes(t)
	c.mustHearAll(t, songs, 16)
	grown := c.peakBytes(t) - before
	t.Logf("%d MiB are kept, memory has grown by %d MiB", kept>>20, grown>>20)
	if grown < kept*9/10 || grown > kept*3/2 {
		t.Errorf("it has grown by %d bytes to keep %d", grown, kept)
	}
}
