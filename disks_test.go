package voyo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/goleak"

	"github.com/voyo-music/caddy-voyo/cache"
	"github.com/voyo-music/caddy-voyo/cache/disk"
)

const (
	mib = 1 << 20
	gib = 1 << 30
)

// onDisk returns a configuration with disks for covers and streams in a directory.
// The handlers of two resolvers have two states.
func onDisk(resolver, dir string, art, stream int64) string {
	return fmt.Sprintf(`{"resolvers": [{"resolver": "fake", "upstream": "%s.example:443"}],
		"art": {"disk": {"dir": %q, "size": %d}}, "stream": {"disk": {"dir": %[2]q, "size": %[4]d}}}`, resolver, dir, art, stream)
}

// configuration is one that Caddy loads handlers of, and starts.
type configuration struct {
	ctx    caddy.Context
	cancel context.CancelFunc
}

func newConfiguration(t *testing.T) *configuration {
	t.Helper()
	whole, err := caddy.ProvisionContext(&caddy.Config{})
	if err != nil {
		t.Fatal(err)
	}
	c := &configuration{}
	c.ctx, c.cancel = caddy.NewContext(whole)
	t.Cleanup(c.end)
	return c
}

func (c *configuration) load(config string) (*Handler, error) {
	mod, err := c.ctx.LoadModuleByID("http.handlers.voyo", []byte(config))
	if err != nil {
		return nil, err
	}
	return mod.(*Handler), nil
}

func (c *configuration) mustLoad(t *testing.T, config string) *Handler {
	t.Helper()
	h, err := c.load(config)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// start starts the configuration, as far as it is ours.
func (c *configuration) start() error {
	app, err := c.ctx.App("voyo")
	if err != nil {
		return err
	}
	return app.(caddy.App).Start()
}

func (c *configuration) mustStart(t *testing.T) {
	t.Helper()
	if err := c.start(); err != nil {
		t.Fatal(err)
	}
}

// end ends the configuration. It may be called again.
func (c *configuration) end() {
	if c.cancel != nil {
		c.cancel()
	}
	c.cancel = nil
}

// startOne starts a configuration of one handler.
func startOne(t *testing.T, config string) (*Handler, *configuration) {
	t.Helper()
	c := newConfiguration(t)
	h := c.mustLoad(t, config)
	c.mustStart(t)
	return h, c
}

// checkLimit checks the bound of a store that is open.
func checkLimit(t *testing.T, s *disk.Store, want int64) {
	t.Helper()
	if got := s.Stats().Limit; got != want {
		t.Errorf("the disk may hold %d bytes, want %d", got, want)
	}
}

// checkLocked checks whether a directory is locked.
func checkLocked(t *testing.T, path string, want bool) {
	t.Helper()
	s, err := disk.Open(path, gib, disk.Events{})
	if err == nil {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
	if got := errors.Is(err, disk.ErrInUse); got != want {
		t.Errorf("opening %s again: %v", path, err)
	}
}

func checkStores(t *testing.T, want int) {
	t.Helper()
	if n := storesInUse(); n != want {
		t.Errorf("%d disks are open, want %d", n, want)
	}
}

// Nothing is opened before the configuration starts, and nothing is open after it
// has ended.
func TestDisksAreOpenWhileRunning(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "voyo")
	c := newConfiguration(t)
	h := c.mustLoad(t, onDisk("a", dir, gib, 2*gib))
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%s before the start: %v", dir, err)
	}
	checkStores(t, 0)
	c.mustStart(t)
	checkStores(t, 2)
	checkLimit(t, h.state.disks.art.disk(), gib)
	checkLimit(t, h.state.disks.streams.disk(), 2*gib)
	for _, kind := range []string{"art", "stream"} {
		checkLocked(t, filepath.Join(dir, kind), true)
	}
	c.end()
	checkStores(t, 0)
	if h.state.disks != (disks{}) {
		t.Errorf("the ended state has %+v", h.state.disks)
	}
	for _, kind := range []string{"art", "stream"} {
		checkLocked(t, filepath.Join(dir, kind), false)
	}
}

// A disk that is not shared by the next configuration comes and goes with its
// handler's lease, as limits do.
func TestReloadDisks(t *testing.T) {
	dir := t.TempDir()
	h, old := startOne(t, withResolver(""))
	s := h.state
	next := func(name, settings string) {
		t.Helper()
		before := s.disks
		c := newConfiguration(t)
		if got := c.mustLoad(t, withResolver(settings)).state; got != s {
			t.Fatalf("%s: another state", name)
		}
		c.mustStart(t)
		if s.disks != before {
			t.Errorf("%s: applies before the old configuration has ended", name)
		}
		old.end()
		old = c
	}
	stream := func(dir string, size int64) string {
		return fmt.Sprintf(`"stream": {"disk": {"dir": %q, "size": %d}}`, dir, size)
	}
	next("add", stream(dir, gib))
	store := s.disks.streams.disk()
	checkLimit(t, store, gib)
	next("resize", stream(dir, 2*gib))
	if s.disks.streams.disk() != store {
		t.Error("resize: another store")
	}
	checkLimit(t, store, 2*gib)
	next("the same", stream(dir, 2*gib))
	checkLimit(t, store, 2*gib)
	next("move", stream(filepath.Join(dir, "elsewhere"), gib))
	if s.disks.streams.disk() == store {
		t.Error("move: the same store")
	}
	checkStores(t, 1)
	checkLocked(t, filepath.Join(dir, "stream"), false)
	next("remove", "")
	if s.disks.streams != nil {
		t.Error("remove: there is a store")
	}
	checkStores(t, 0)
}

// What is on a disk is kept open while what is fetched changes.
func TestDiskOutlivesState(t *testing.T) {
	dir := t.TempDir()
	one, old := startOne(t, onDisk("a", dir, gib, gib))
	store := one.state.disks.streams.disk()
	other, next := startOne(t, onDisk("b", dir, gib, 2*gib))
	if other.state == one.state || other.state.disks.streams.disk() != store {
		t.Fatal("want another state with the same store")
	}
	if one.state.name == other.state.name {
		t.Error("two states have one name")
	}
	checkLimit(t, store, gib)
	old.end()
	checkLimit(t, store, 2*gib)
	if one.state.disks != (disks{}) {
		t.Error("the ended state has a disk")
	}
	checkStores(t, 2)
	next.end()
	checkStores(t, 0)
}

// Handlers of one configuration may share a directory, if they agree on its size.
func TestHandlersShareDisk(t *testing.T) {
	dir := t.TempDir()
	c := newConfiguration(t)
	one := c.mustLoad(t, onDisk("a", dir, gib, gib))
	other := c.mustLoad(t, onDisk("b", dir+"/./", gib, gib))
	_, err := c.load(onDisk("c", dir, gib, 2*gib))
	if want := fmt.Sprintf("stream disk %s has two sizes: 1073741824 and 2147483648 bytes", dir); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
	c.mustStart(t)
	if one.state.disks.art.disk() != other.state.disks.art.disk() {
		t.Error("two stores of one directory")
	}
	checkStores(t, 2)
	if err := one.Cleanup(); err != nil {
		t.Error(err)
	}
	checkStores(t, 2)
	c.end()
	checkStores(t, 0)
}

// Caches that handlers share have the most room that one of them gives, and the disk of the one
// that has one, whichever of them Caddy sets up first.
func TestHandlersShareCaches(t *testing.T) {
	dir := t.TempDir()
	with := func(settings string) string {
		return `{"resolvers": [{"resolver": "fake", "upstream": "a.example:443"}], ` + settings + `}`
	}
	stored := with(fmt.Sprintf(`"stream": {"memory": %d, "disk": {"dir": %q, "size": %d}}`, 1<<30, dir, gib))
	plain := with(fmt.Sprintf(`"art": {"entries": 12345}, "stream": {"memory": %d, "slice": %d}`, 64<<20, 64<<10))
	for _, order := range [][]string{{stored, plain}, {plain, stored}, {plain, stored, plain}} {
		c := newConfiguration(t)
		var handlers []*Handler
		for _, config := range order {
			handlers = append(handlers, c.mustLoad(t, config))
		}
		c.mustStart(t)
		one := handlers[0].state
		for _, h := range handlers {
			art, streams := h.lease.limits.art, h.lease.limits.streams
			if h.state != one || art.Entries != 12345 || streams != (cache.Limits{Memory: 1 << 30, Slice: 64 << 10}) {
				t.Errorf("it has room for %+v, %+v", art, streams)
			}
		}
		if got := one.streams.Stats().Limits; got.Memory != 1<<30 || got.Slice != 64<<10 {
			t.Errorf("in effect are %+v", got)
		}
		if disks := one.disksInUse(); disks.streams.disk() == nil || disks.art.disk() != nil {
			t.Errorf("disks are %+v", disks)
		}
		for _, h := range handlers[1:] {
			if err := h.Cleanup(); err != nil {
				t.Error(err)
			}
		}
		c.end()
		checkStores(t, 0)
	}
	c := newConfiguration(t)
	c.mustLoad(t, stored)
	another := t.TempDir()
	_, err := c.load(strings.Replace(stored, dir, another, 1))
	if err == nil || !strings.Contains(err.Error(), "stream: handlers that share a cache have two disks for it: ") {
		t.Errorf("with two disks: %v", err)
	}
	c.end()
}

// A directory that can't be opened fails the start, and what was opened before it
// is given back.
func TestDiskThatCannotBeOpened(t *testing.T) {
	leaks := goleak.IgnoreCurrent()
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	running, _ := startOne(t, onDisk("a", dir, gib, gib))
	before := running.state.disks
	for _, c := range []struct{ dir, want string }{
		{link, "art disk " + link + ": directory is in use by another process"},
		{file, "art disk " + file + ": "},
	} {
		next := newConfiguration(t)
		next.mustLoad(t, onDisk("b", filepath.Join(dir, "other"), gib, gib))
		next.mustLoad(t, onDisk("a", c.dir, gib, gib))
		if err := next.start(); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %s", err, c.want)
		}
		next.end()
		checkStores(t, 2)
		if running.state.disks != before {
			t.Error("the disks of the running configuration have changed")
		}
		checkLocked(t, filepath.Join(dir, "other", "art"), false)
	}
	running.lease.state.mu.Lock()
	n := len(running.state.leases)
	running.lease.state.mu.Unlock()
	if n != 1 {
		t.Errorf("%d leases", n)
	}
	if err := running.Cleanup(); err != nil {
		t.Error(err)
	}
	goleak.VerifyNone(t, leaks)
}

// A request that comes before the disks are open waits for them, and not for ever.
func TestRequestsAwaitDisks(t *testing.T) {
	for name, open := range map[string]func(*App){
		"started":     func(a *App) { _ = a.Start() },
		"not started": func(a *App) { _ = a.Cleanup() },
		"stuck":       func(*App) { time.Sleep(openingPatience) },
	} {
		synctest.Test(t, func(t *testing.T) {
			a := new(App)
			if err := a.Provision(caddy.Context{}); err != nil {
				t.Fatal(err)
			}
			h := newTestHandler(t, found(nil))
			h.app = a
			a.rooms[h.state] = room{places: places{art: place{path: artDisk}}}
			answered := make(chan int, 1)
			go func() { answered <- serve(t, h, http.MethodGet, "/health", nil).Code }()
			synctest.Wait()
			if len(answered) != 0 {
				t.Errorf("%s: is answered before", name)
			}
			open(a)
			synctest.Wait()
			if len(answered) != 1 {
				t.Errorf("%s: is not answered after", name)
			}
		})
	}
}
