package voyo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
)

func init() {
	caddy.RegisterModule(new(App))
}

// openingPatience bounds how long a request waits for the disks to be opened.
const openingPatience = 5 * time.Second

// App knows the voyo handlers of a configuration. It opens the directories that they
// keep their caches in, and joins their fleet, as the configuration starts: one that is
// only validated must not touch them, since a node may be running on them. The app has no settings, and
// need not be configured: the handlers bring it along.
type App struct {
	sizes   map[string]int64  // of the disks, by directory
	rooms   map[*state]room   // what is kept together has one
	member  member            // of the fleet that handlers are in
	members map[*state]member // what is kept together is kept in step together
	opened  chan struct{}     // closed once there is nothing to wait for

	started atomic.Bool // the fleet is joined

	mu       sync.Mutex
	handlers []*Handler
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "voyo",
		New: func() caddy.Module { return new(App) },
	}
}

// Provision sets up the app.
func (a *App) Provision(caddy.Context) error {
	a.sizes = make(map[string]int64)
	a.rooms = make(map[*state]room)
	a.members = make(map[*state]member)
	a.opened = make(chan struct{})
	return nil
}

// Start opens the handlers' disks, and joins their fleet. What was opened before one that can't be is
// given back as the handlers are cleaned up.
func (a *App) Start() error {
	for _, h := range a.list() {
		if err := h.lease.open(a.rooms[h.state], a.members[h.state]); err != nil {
			return err
		}
	}
	a.started.Store(true)
	a.endWait()
	return nil
}

// Stop does nothing: each handler gives its disks back when it is cleaned up.
func (*App) Stop() error { return nil }

// Cleanup lets go of the requests that wait in vain, because the configuration
// could not be started.
func (a *App) Cleanup() error {
	a.endWait()
	return nil
}

func (a *App) endWait() {
	select {
	case <-a.opened:
	default:
		close(a.opened)
	}
}

// errFleets says that a process can't be two nodes.
var errFleets = errors.New("fleet: all handlers that have one must have the same one, with the same servers, credentials and node")

// list returns the handlers, in the order in which they were set up.
func (a *App) list() []*Handler {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.handlers)
}

// add has the handler's disks opened with the others.
func (a *App) add(h *Handler) error {
	for _, p := range h.places.list() {
		if size, ok := a.sizes[p.path]; ok && size != p.size {
			return fmt.Errorf("%s disk %s has two sizes: %d and %d bytes", p.kind, p.dir, size, p.size)
		}
		a.sizes[p.path] = p.size
	}
	shared := room{h.lease.limits, h.places}
	if other, ok := a.rooms[h.state]; ok {
		var err error
		if shared, err = shared.with(other); err != nil {
			return err
		}
	}
	a.rooms[h.state] = shared
	if h.member != (member{}) {
		if a.member != (member{}) && a.member != h.member {
			return errFleets
		}
		a.member = h.member
		a.members[h.state] = h.member
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.handlers = append(a.handlers, h)
	h.app = a
	return nil
}

// remove forgets the handler, which is cleaned up.
func (a *App) remove(h *Handler) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.handlers = slices.DeleteFunc(a.handlers, func(other *Handler) bool { return other == h })
}

// joinApp makes the handler known to the app, which opens its disks.
func (h *Handler) joinApp(ctx caddy.Context) error {
	app, err := ctx.App("voyo")
	if err != nil {
		return err
	}
	return app.(*App).add(h)
}

// awaitDisks waits for the disks to be opened and the fleet to be joined, a moment after
// Caddy has started the configuration's servers, maybe. Else what is kept there would be
// fetched again.
func (h *Handler) awaitDisks(ctx context.Context) {
	if h.app.isOpen() || len(h.app.rooms[h.state].places.list()) == 0 && !h.unjoined() {
		return
	}
	patience := time.NewTimer(openingPatience)
	defer patience.Stop()
	select {
	case <-h.app.opened:
	case <-patience.C: // another app does not come up
	case <-ctx.Done():
	}
}

// isOpen reports whether there is nothing to wait for, or not any more.
func (a *App) isOpen() bool {
	if a == nil {
		return true
	}
	select {
	case <-a.opened:
		return true
	default:
		return false
	}
}

// unjoined reports whether the fleet of the handler's state, which another handler may have
// named, is not joined yet, or could not be. Until then it is not known what is taken down.
func (h *Handler) unjoined() bool {
	return h.app != nil && !h.app.started.Load() && h.app.members[h.state] != (member{})
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
)
