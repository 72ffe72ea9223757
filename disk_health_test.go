package voyo

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/voyo-music/caddy-voyo/cache/disk"
)

// An answer of /health gives a reason that says nothing else.
func TestDiskFailure(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{syscall.ENOSPC, "no space left on device"},
		{syscall.EDQUOT, "quota exceeded"},
		{syscall.EACCES, "not writable"},
		{syscall.EPERM, "not writable"},
		{syscall.EROFS, "read-only file system"},
		{syscall.ENOENT, "directory is gone"},
		{syscall.ENOTDIR, "directory is gone"},
		{syscall.EMFILE, "too many open files"},
		{syscall.ENFILE, "too many open files"},
		{syscall.EIO, "i/o error"},
		{disk.ErrInUse, "directory is in use by another process"},
		{syscall.ENXIO, "failed"},
		{io.ErrShortWrite, "failed"},
	} {
		err := fmt.Errorf("writing: %w", &fs.PathError{Op: "open", Path: "/secret", Err: c.err})
		if got := diskFailure(err); got != c.want {
			t.Errorf("%v: got %q, want %q", err, got, c.want)
		}
	}
}

// /health has the figures of disks, where there are any, and says no path.
func TestHealthOfDisks(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "secret")
	h, _ := startOne(t, onDisk("a", dir, gib, 2*gib))
	w := serve(t, h, http.MethodGet, "/health", nil)
	for _, want := range []string{
		`"status":"healthy"`,
		`"streamDisk":{"bytes":`, `"limit":2147483648,"slices":0}`,
		`"thumbnailDisk":{"bytes":`, `"limit":1073741824,"slices":0}`,
	} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("no %s in %s", want, w.Body)
		}
	}
	if strings.Contains(w.Body.String(), "secret") {
		t.Errorf("a path in %s", w.Body)
	}
}

// /health is degraded as long as a disk has failed, says why, and is healthy after.
func TestHealthOfLostDisk(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "stream")
	h, _ := startOne(t, onDisk("a", dir, gib, gib))
	put := func(key string) {
		store := h.state.disks.streams.disk()
		store.Create(disk.NewID(t.Name(), key), nil, false).Put(disk.Slice{Data: make([]byte, mib)})
		store.Flush()
	}
	check := func(want string) bool {
		return strings.HasPrefix(serve(t, h, http.MethodGet, "/health", nil).Body.String(), want)
	}
	const healthy, degraded = `{"status":"healthy","service":"voyo-edge","uptime":`,
		`{"status":"degraded","service":"voyo-edge","reasons":["stream disk: directory is gone"],"uptime":`
	put("before")
	if !check(healthy) {
		t.Error("not healthy at first")
	}
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	put("meanwhile")
	if !check(degraded) {
		t.Errorf("no reason in %s", serve(t, h, http.MethodGet, "/health", nil).Body)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(30 * time.Second); !check(healthy); {
		if time.Now().After(deadline) {
			t.Fatal("not healthy again")
		}
		time.Sleep(10 * time.Millisecond)
	}
	put("after")
	if n := h.state.disks.streams.store.Stats().Slices; n != 1 {
		t.Errorf("%d slices in the new directory", n)
	}
}

// What happens to a disk is logged by the configuration that runs.
func TestDiskEvents(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	cfg := &caddy.Config{Logging: &caddy.Logging{Logs: map[string]*caddy.CustomLog{
		"default": {BaseLog: caddy.BaseLog{WriterRaw: []byte(fmt.Sprintf(`{"output": "file", "filename": %q}`, name))}},
	}}}
	events := diskEvents(place{kind: streamDisk, path: "/var/cache/voyo/stream"})
	if err := caddy.Run(cfg); err != nil {
		t.Fatal(err)
	}
	events.Degraded(syscall.ENOSPC)
	events.Recovered()
	events.Damaged("ab/cd", errors.New("checksum differs"))
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	const from = `"logger":"http.handlers.voyo","msg":`
	for _, want := range []string{
		from + `"disk failed, nothing is written to it","dir":"/var/cache/voyo/stream","error":"no space left on device"`,
		from + `"disk works again","dir":"/var/cache/voyo/stream"`,
		from + `"damaged file on disk","dir":"/var/cache/voyo/stream","file":"ab/cd","error":"checksum differs"`,
	} {
		if !strings.Contains(string(log), want) {
			t.Errorf("no %s in %s", want, log)
		}
	}
}
