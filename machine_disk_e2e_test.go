package voyo_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// While the disk fails under those who listen, none of them gets a wrong byte or no
// byte, and when it works again it is used again. That it is told of is tested by
// TestStreamsFailingDisk.
func TestMachineDiskFails(t *testing.T) {
	for _, c := range []struct {
		name string
		fail func(t *testing.T, c *child, disk string) (heal func())

		reason string // why nothing is written; empty if it is
	}{
		{"full", func(t *testing.T, _ *child, disk string) func() {
			fillUp(t, disk)
			return func() { must(t, os.Remove(filepath.Join(disk, "ballast"))) }
		}, "no space left on device"},
		{"read-only", func(t *testing.T, _ *child, disk string) func() {
			remount(t, disk, unix.MS_RDONLY)
			return func() { remount(t, disk, 0) }
		}, "read-only file system"},
		{"errors on writing", func(t *testing.T, c *child, disk string) func() {
			temps := filepath.Join(disk, "stream", "tmp")
			return c.inject(t, "write:error=EIO", filepath.Join(temps, "new"), filepath.Join(temps, "probe"))
		}, "i/o error"},
		{"errors on renaming", func(t *testing.T, c *child, disk string) func() {
			return c.inject(t, "renameat:error=EIO", filepath.Join(disk, "stream", "tmp", "new"))
		}, "i/o error"},
		{"errors on reading", func(t *testing.T, c *child, disk string) func() {
			return c.inject(t, "read,pread64,sendfile:error=EIO", sliceFiles(t, disk)...)
		}, ""},
		{"errors on opening", func(t *testing.T, c *child, disk string) func() {
			return c.inject(t, "openat:error=EIO", sliceFiles(t, disk)...)
		}, ""},
	} {
		t.Run(c.name, func(t *testing.T) { testDiskFails(t, c.fail, c.reason) })
	}
}

func testDiskFails(t *testing.T, fail func(t *testing.T, c *child, disk string) (heal func()), reason string) {
	t.Helper()
	songs := newSongs(0, 24, 1<<20)
	stored := songs[:12] // the others come when it fails
	a := newArchive(t, songs...)
	disk := mountMemory(t, 64<<20)
	c := startChild(t, fmt.Sprintf("voyo {\n%s\nstream {\nmemory 2MiB\nslice 64KiB\ndisk %s 48MiB\n}\n}", template(a.URL), disk))
	c.store(t, stored)
	a.CloseClientConnections()
	before := c.settledUsage(t)

	early := startCrowd(t, c.node, stored, 4)
	early.awaitSong(t)
	heal := fail(t, c, disk)
	late := startCrowd(t, c.node, songs, 4)
	if reason == "" {
		eventually(t, "the failure is told of", func() bool { return strings.Contains(c.log(t), "damaged file on disk") })
	} else {
		eventually(t, "the edge is degraded", func() bool {
			h := c.condition(t)
			return len(h.Reasons) == 1 && h.Reasons[0] == "stream disk: "+reason
		})
	}
	for range 20 {
		early.awaitSong(t)
		late.awaitSong(t)
	}
	heal()
	eventually(t, "the edge is healthy", func() bool { return c.condition(t).Status == "healthy" })
	eventually(t, "the disk has it all", func() bool { late.awaitSong(t); return c.diskHas(t, songs) })
	early.leave(t)
	late.leave(t)
	a.reset()
	c.mustHearAll(t, songs, 4)
	a.mustRest(t)
	a.CloseClientConnections()
	c.mustUseNoMore(t, before)
	mustLeaveNoTemps(t, disk)
}

// inject has system calls of the process fail where they have to do with one of the
// files, until the function that it returns is called. How they do is as strace(1)
// has it, as in "write:error=EIO".
func (c *child) inject(t *testing.T, how string, files ...string) (stop func()) {
	t.Helper()
	calls, _, _ := strings.Cut(how, ":")
	args := []string{"-f", "-qq", "-o", os.DevNull, "-e", "trace=" + calls, "-e", "inject=" + how, "-p", fmt.Sprint(c.cmd.Process.Pid)}
	for _, f := range files {
		args = append(args, "-P", f)
	}
	cmd := exec.CommandContext(t.Context(), tool(t, "strace"), args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(unix.SIGTERM) } // it lets go of the process then
	cmd.Stderr = io.Discard
	must(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	eventually(t, "the process is traced", func() bool { return c.isTraced(t) })
	return func() {
		must(t, cmd.Process.Signal(unix.SIGTERM))
		_ = await(t, "strace ends", ended)
	}
}

// isTraced reports whether all threads of the process are traced.
func (c *child) isTraced(t *testing.T) bool {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", c.cmd.Process.Pid))
	must(t, err)
	for _, path := range threads {
		status, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(status), "\nTracerPid:\t0\n") {
			return false
		}
	}
	return len(threads) > 0
}
