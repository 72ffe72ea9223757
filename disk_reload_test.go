package voyo_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/goleak"

	voyo "github.com/voyo-music/caddy-voyo"
)

// onDisk returns a site that keeps its streams on a disk, and its covers too.
func onDisk(o *origin, dir, size string) string {
	return fmt.Sprintf("voyo {\n%s\nart {\ndisk %s %s\n}\nstream {\ndisk %[2]s %[3]s\n}\n}", template(o.URL), dir, size)
}

// differently returns the site with a handler that would fetch other things, and so
// has other caches.
func differently(site string) string {
	return strings.Replace(site, "voyo {", "voyo {\nallowed_upstreams other.test", 1)
}

// checkDisk checks what /health says of the disk of streams: its limit in MiB, 0 if
// there is none.
func (e *edge) checkDisk(t *testing.T, limit int64) {
	t.Helper()
	var got struct {
		Status string
		Cache  struct {
			StreamDisk struct{ Limit int64 }
		}
	}
	if err := json.Unmarshal(e.get(t, "/health").body, &got); err != nil {
		t.Fatal(err)
	}
	if got.Status != "healthy" || got.Cache.StreamDisk.Limit != limit<<20 {
		t.Errorf("got %+v, want a disk of %d MiB", got, limit)
	}
}

// A configuration can be validated beside the node that runs with it, by another
// process and by the same one. That takes nothing and touches nothing.
func TestValidateBesideNode(t *testing.T) {
	o := newLibrary(t, 1)
	dir := t.TempDir()
	e := startEdge(t, onDisk(o, dir, "64MiB"))
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	for _, place := range []string{dir, elsewhere} {
		config := e.adapt(t, onDisk(o, place, "32MiB"))
		var cfg *caddy.Config
		if err := json.Unmarshal(config, &cfg); err != nil {
			t.Fatal(err)
		}
		if err := caddy.Validate(cfg); err != nil {
			t.Errorf("Validate: %v", err)
		}
		if out, err := runCaddy(t, "validate", config); err != nil {
			t.Errorf("caddy validate: %v: %s", err, out)
		}
		e.checkDisk(t, 64)
		if n := voyo.StoresInUse(); n != 2 {
			t.Errorf("%d disks are open", n)
		}
	}
	if _, err := os.Stat(elsewhere); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s: %v", elsewhere, err)
	}
}

// runCaddy runs a command of Caddy with a configuration, in a process of its own,
// to its end.
func runCaddy(t *testing.T, command string, config []byte) (output string, err error) {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "caddy.json")
	var whole map[string]any
	// the network is one of this process
	if err := json.Unmarshal(bytes.ReplaceAll(config, []byte(heldNetwork+"/"), nil), &whole); err != nil {
		t.Fatal(err)
	}
	delete(whole, "logging") // so that it logs to the terminal
	config, err = json.Marshal(whole)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), caddyProgram(t), command, "--config", file)
	cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+dir, "XDG_CONFIG_HOME="+dir)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// A second node on the directory of a running one does not start, and says why.
func TestSecondNode(t *testing.T) {
	o := newLibrary(t, 1)
	dir := t.TempDir()
	e := startEdge(t, onDisk(o, dir, "64MiB"))
	config := strings.ReplaceAll(string(e.adapt(t, onDisk(o, dir, "64MiB"))), ":"+e.port, ":0")
	out, err := runCaddy(t, "run", []byte(config))
	exit, ended := errors.AsType[*exec.ExitError](err)
	if want := "art disk " + dir + ": directory is in use by another process"; !ended || exit.ExitCode() != 1 || !strings.Contains(out, want) {
		t.Errorf("caddy run: %v, want %q in %s", err, want, out)
	}
	e.checkDisk(t, 64)

	e.stop(t)
	if err := e.load(t, onDisk(o, dir, "64MiB")); err != nil {
		t.Errorf("after the end of the first node: %v", err)
	}
}

func TestReloadChangesDisk(t *testing.T) {
	o := newLibrary(t, 2)
	dir, elsewhere := t.TempDir(), t.TempDir()
	e := startEdge(t, "voyo {\n"+template(o.URL)+"\n}")
	e.covers(t, 2)
	e.checkDisk(t, 0)
	for _, step := range []struct {
		name, site string
		dir        string // what is open then; empty for nothing
		limit      int64
	}{
		{"added", onDisk(o, dir, "32MiB"), dir, 32},
		{"the same", onDisk(o, dir, "32MiB"), dir, 32},
		{"more", onDisk(o, dir, "64MiB"), dir, 64},
		{"less", onDisk(o, dir, "32MiB"), dir, 32},
		{"used differently", differently(onDisk(o, dir, "16MiB")), dir, 16},
		{"used as before", onDisk(o, dir, "64MiB"), dir, 64},
		{"moved", onDisk(o, elsewhere, "64MiB"), elsewhere, 64},
		{"moved, used differently", differently(onDisk(o, dir, "64MiB")), dir, 64},
		{"removed", "voyo {\n" + template(o.URL) + "\n}", "", 0},
		{"added again", onDisk(o, dir, "64MiB"), dir, 64},
		{"without a handler", "respond nothing", "", 0},
		{"with one", onDisk(o, dir, "64MiB"), dir, 64},
	} {
		t.Run(step.name, func(t *testing.T) {
			before := voyo.OpenDisk(step.dir, "stream")
			if err := e.load(t, step.site); err != nil {
				t.Fatal(err)
			}
			if strings.HasPrefix(step.site, "voyo") {
				e.checkDisk(t, step.limit)
				e.covers(t, 2)
			}
			if after := voyo.OpenDisk(step.dir, "stream"); before != nil && after != before {
				t.Error("the disk was opened anew")
			}
			want := 0
			if step.dir != "" {
				want = 2
			}
			if n := voyo.StoresInUse(); n != want {
				t.Errorf("%d disks are open, want %d", n, want)
			}
		})
	}
}

func TestFailedReloadKeepsDisk(t *testing.T) {
	const covers = 5
	o := newLibrary(t, covers)
	dir := t.TempDir()
	link, file := filepath.Join(t.TempDir(), "link"), filepath.Join(t.TempDir(), "file")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	e := startEdge(t, onDisk(o, dir, "64MiB"))
	e.covers(t, covers)
	store := voyo.OpenDisk(dir, "stream")
	unchanged := func(t *testing.T, err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("got %v, want %s", err, want)
		}
		if hits := e.covers(t, covers); hits != covers {
			t.Errorf("%d hits of %d", hits, covers)
		}
		e.checkDisk(t, 64)
		if n := voyo.StoresInUse(); n != 2 || voyo.OpenDisk(dir, "stream") != store {
			t.Errorf("%d disks are open", n)
		}
	}
	for name, c := range map[string]struct{ site, want string }{
		"by another path":  {onDisk(o, link, "64MiB"), "voyo app module: start: art disk " + link + ": directory is in use by another process"},
		"no directory":     {onDisk(o, file, "64MiB"), "voyo app module: start: art disk " + file + ": "},
		"too small":        {onDisk(o, dir, "1MiB"), "art: disk: size (1048576 bytes) must be at least"},
		"two sizes":        {"handle /x* {\n" + onDisk(o, dir, "64MiB") + "\n}\nhandle {\n" + onDisk(o, dir, "32MiB") + "\n}", "has two sizes: "},
		"missing variable": {onDisk(o, "{env.VOYO_TEST_MISSING}", "64MiB"), "art: disk: dir: environment variable VOYO_TEST_MISSING is not set"},
	} {
		t.Run(name, func(t *testing.T) { unchanged(t, e.load(t, c.site), c.want) })
	}
	elsewhere := t.TempDir()
	for range 10 { // which app is started first is a matter of chance
		for _, site := range []string{
			onDisk(o, dir, "32MiB"),
			onDisk(o, elsewhere, "32MiB"),
			differently(onDisk(o, dir, "32MiB")),
			"voyo {\n" + template(o.URL) + "\n}",
		} {
			unchanged(t, e.loadWithFailingApp(t, site), "can't be started")
		}
	}
}

// A stream out of the disk goes on when the disk is taken from its handler, and when
// the handler is gone.
func TestReloadKeepsStreamsFromDisk(t *testing.T) {
	const size = 24 << 20 // more than the sockets hold
	track := fakeTrack(size)
	o := fileOrigin(t, map[string]string{"/128/" + songID + ".opus": track})
	for name, next := range map[string]func(dir string) string{
		"no disk":          func(string) string { return "voyo {\n" + template(o.URL) + "\n}" },
		"no handler":       func(string) string { return "respond nothing" },
		"used differently": func(dir string) string { return differently(onDisk(o, dir, "64MiB")) },
		"moved":            func(string) string { return onDisk(o, t.TempDir(), "64MiB") },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			e := startEdge(t, strings.Replace(onDisk(o, dir, "64MiB"), "stream {", "stream {\nmemory 8MiB", 1))
			path := "/cdn/stream/" + songVOYO
			e.mustGet(t, path, track)
			voyo.OpenDisk(dir, "stream").Flush()
			body := e.request(t, http.MethodGet, path, nil).Body
			got := make([]byte, size)
			if _, err := io.ReadFull(body, got[:size/8]); err != nil {
				t.Fatal(err)
			}
			if err := e.load(t, next(dir)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadFull(body, got[size/8:]); err != nil {
				t.Fatal(err)
			}
			if string(got) != track {
				t.Error("other bytes")
			}
		})
	}
}

// Fifty reloads with a disk, every second of which fails, leave nothing behind.
func TestReloadsWithDiskLeakNothing(t *testing.T) {
	leaks := goleak.IgnoreCurrent()
	o := newLibrary(t, 3)
	dir := t.TempDir()
	e := startEdge(t, onDisk(o, dir, "64MiB"))
	var early usage
	for i := range 50 {
		site := onDisk(o, filepath.Join(dir, fmt.Sprint(i%3)), fmt.Sprintf("%dMiB", 32+i))
		if i%5 == 0 {
			site = differently(site)
		}
		if err := e.load(t, site); err != nil {
			t.Fatal(err)
		}
		if err := e.loadWithFailingApp(t, onDisk(o, filepath.Join(dir, "failing"), "64MiB")); err == nil {
			t.Fatal("it was loaded")
		}
		e.covers(t, 3)
		e.mustGet(t, "/cdn/stream/"+sourceID(0), fakeTrack(1000))
		if i == 10 {
			early = e.settledUsage(t)
		}
	}
	if late := e.settledUsage(t); late.goroutines > early.goroutines+10 || late.files > early.files+5 {
		t.Errorf("%+v after 10 reloads, %+v after 50", early, late)
	}
	e.stop(t)
	e.client.CloseIdleConnections()
	o.Close()
	if n := voyo.StoresInUse(); n != 0 {
		t.Errorf("%d disks are left open", n)
	}
	goleak.VerifyNone(t, leaks,
		// it sleeps for 5 seconds before it sees that its lock is gone
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"))
}
