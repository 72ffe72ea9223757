package voyo

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/voyo-music/caddy-voyo/cache"
	"github.com/voyo-music/caddy-voyo/internal/fleet"
	"github.com/voyo-music/caddy-voyo/internal/natstest"
	"github.com/voyo-music/caddy-voyo/resolver"
)

// nowhere is where no server of NATS is.
const nowhere = "nats://127.0.0.1:1"

// mustJoin returns a lease on a state that is a member's.
func mustJoin(t *testing.T, state string, m member) *lease {
	t.Helper()
	l := acquireState(stateKey("test", []string{t.Name(), state}, nil, ""), limits{})
	if err := l.open(room{}, m); err != nil {
		t.Fatal(err)
	}
	return l
}

// A reload that changes how a node reaches NATS, and not its name, leaves it registered,
// also if it can't reach it any more.
func TestFleetKeepsItsName(t *testing.T) {
	url := natstest.Start(t, 1).URLs()[0]
	before := mustJoin(t, "a", member{urls: url, node: "a"})
	if err := before.state.awaitFleet(t.Context()); err != nil {
		t.Fatal(err)
	}
	after := mustJoin(t, "a", member{urls: nowhere, node: "a"})
	defer release(t, after)
	release(t, before)
	other := mustJoin(t, "b", member{urls: url, node: "b"})
	defer release(t, other)
	if err := other.state.awaitFleet(t.Context()); err != nil {
		t.Fatal(err)
	}
	nodes, err := other.fleet.Nodes(t.Context())
	if err != nil || !slices.ContainsFunc(nodes, func(n fleet.Node) bool { return n.Name == "a" }) {
		t.Errorf("%+v, %v", nodes, err)
	}
}

// A reload that changes the node's name leaves it registered under the one that it had, as
// long as it can't be registered under the other.
func TestFleetIsRenamed(t *testing.T) {
	url := natstest.Start(t, 1).URLs()[0]
	before := mustJoin(t, "a", member{urls: url, node: "a"})
	if err := before.state.awaitFleet(t.Context()); err != nil {
		t.Fatal(err)
	}
	after := mustJoin(t, "a", member{urls: nowhere, node: "b"})
	defer release(t, after)
	release(t, before)
	other, err := fleet.Open(fleet.Config{URLs: []string{url}, Node: "other"})
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	f := other.Follow(fleet.Position{}, fleet.Position{}, func(context.Context, fleet.Entry) error { return nil })
	if err := f.Await(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := other.Append(t.Context(), fleet.Draft{Kind: fleet.Purge})
	if err != nil || !slices.Equal(got.Pending, []string{"a"}) {
		t.Errorf("%+v, %v", got, err)
	}
}

// Handlers that share a state are in the fleet if one of them is, whichever comes first.
func TestFleetOfASharedState(t *testing.T) {
	a := new(App)
	if err := a.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	key := stateKey("test", []string{t.Name()}, nil, "")
	for _, m := range []member{{}, {urls: nowhere, node: "a"}} {
		l := acquireState(key, limits{})
		t.Cleanup(func() { release(t, l) })
		if err := a.add(&Handler{member: m, lease: l, state: l.state}); err != nil {
			t.Fatal(err)
		}
	}
	for i, h := range a.handlers {
		if !h.unjoined() {
			t.Errorf("handler %d does not wait until it is joined", i)
		}
	}
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	if a.handlers[0].lease.state.following.Load() == nil {
		t.Error("it is not")
	}
}

// Nothing is served before it can be known what is taken down.
func TestFleetIsNotJoined(t *testing.T) {
	for name, tt := range map[string]struct {
		open func(*App)
		want int
	}{
		"started":     {func(a *App) { _ = a.Start() }, http.StatusOK},
		"not started": {func(a *App) { _ = a.Cleanup() }, http.StatusServiceUnavailable},
		"stuck":       {func(*App) { time.Sleep(openingPatience) }, http.StatusServiceUnavailable},
	} {
		synctest.Test(t, func(t *testing.T) {
			a := new(App)
			if err := a.Provision(caddy.Context{}); err != nil {
				t.Fatal(err)
			}
			h := newTestHandler(t, found(nil))
			h.app, a.members[h.state] = a, member{node: "a"} // of another handler
			answered := make(chan int, 1)
			go func() { answered <- serve(t, h, http.MethodGet, "/exists/"+string(takenA), nil).Code }()
			tt.open(a)
			if got := <-answered; got != tt.want {
				t.Errorf("%s: status %d", name, got)
			}
		})
	}
}

// watched is a context that tells when somebody waits for it.
type watched struct {
	context.Context

	once  sync.Once
	waits chan struct{}
}

func (w *watched) Done() <-chan struct{} {
	w.once.Do(func() { close(w.waits) })
	return w.Context.Done()
}

// Who waits for what is followed goes on waiting when it is replaced.
func TestFleetWaitsOn(t *testing.T) {
	l := mustJoin(t, "", member{urls: nowhere, node: "a"})
	defer release(t, l)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w := &watched{Context: ctx, waits: make(chan struct{})}
	passed := make(chan error, 1)
	go func() { passed <- l.state.awaitFleet(w) }()
	<-w.waits
	l.state.again(l.state.following.Load())
	cancel()
	if err := <-passed; !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}

// A request that outlives its handler is not given what is taken down.
func TestTakedownOutlivesHandler(t *testing.T) {
	l := mustJoin(t, "", member{urls: nowhere, node: "a"})
	l.state.enter()
	defer l.state.leave()
	l.state.takedowns.add(takenA)
	release(t, l)
	if !l.state.takedowns.has(takenA) {
		t.Error("it is forgotten")
	}
}

// What the node has said to have purged and taken down does not come back with a state that
// does not know it, also if NATS is away, and the one that does has ended. What is new there
// has nothing to be purged.
func TestFleetKeepsItsWord(t *testing.T) {
	m := member{urls: nowhere, node: "a"}
	holder := mustJoin(t, "holder", m)
	defer release(t, holder)
	word := mustJoin(t, "word", m)
	word.state.takedowns.add(takenA)
	word.state.following.Load().headway.finish(upTo(7))
	key := resolver.Asset{ID: takenB, Kind: resolver.Art, Image: resolver.ParseImage("")}.Key()
	warm := func(l *lease) {
		l.state.setLimits(limits{art: cache.Limits{Entries: 10, Memory: 1000}})
		if err := warmCover(t, l.state, key); err != nil {
			t.Fatal(err)
		}
	}
	join := func(name string) *lease {
		before := mustJoin(t, name, member{})
		warm(before)
		late := mustJoin(t, name, m)
		release(t, before)
		warm(late) // it has no limits of its own
		return late
	}
	beside, fresh := join("beside it"), mustJoin(t, "fresh", m)
	warm(fresh)
	release(t, word)
	after := join("after it")
	for _, l := range []*lease{beside, after, fresh} {
		t.Cleanup(func() { release(t, l) })
		err := fleet.ErrBehind
		for errors.Is(err, fleet.ErrBehind) { // it waits for NATS
			err = l.state.awaitFleet(t.Context())
		}
		if _, kept := l.state.art.Peek(t.Context(), key); kept != (l == fresh) || !l.state.takedowns.has(takenA) {
			t.Errorf("fresh: %t, kept: %t, %q taken down", l == fresh, kept, l.state.takedowns.list())
		}
	}
}
