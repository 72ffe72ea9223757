package voyo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap/zaptest/observer"

	"github.com/voyo-music/caddy-voyo/internal/chaos"
	"github.com/voyo-music/caddy-voyo/resolver"
)

func init() { caddy.RegisterModule(new(chaosResolver)) }

// chaosNode is an edge on a network in memory, inside a bubble: the handler as Caddy
// loads it, with its transport, but for the dial function, behind a server like Caddy's.
type chaosNode struct {
	t        *testing.T
	s        chaos.Script
	name     string // of which there is one in the process, as states are shared by what they are of
	upstream *chaos.Upstream
	network  *chaos.Network
	dir      string // of the disk; empty if there is none

	server *http.Server
	served chan struct{} // closed when the server has ended
	away   *time.Timer   // puts a disk back; nil if there is none that fails
	deaf   bool          // to purges, which it acknowledges

	mu       sync.Mutex
	h        *Handler
	config   *configuration
	logs     []*observer.ObservedLogs
	statuses []error // of handlers that have failed otherwise than they should
}

// chaosNames counts the nodes, for each to have a name of its own.
var chaosNames atomic.Int64

// chaosNodes are the nodes whose resolvers there may be, by name.
var chaosNodes sync.Map

func startChaosNode(t *testing.T, s chaos.Script) *chaosNode {
	t.Helper()
	n := &chaosNode{t: t, s: s, name: fmt.Sprintf("node%d", chaosNames.Add(1)), upstream: chaos.NewUpstream(s), served: make(chan struct{})}
	n.network = &chaos.Network{Refuse: func(addr string) bool { return addr != edgeAddr && n.upstream.Refuses(addr) }}
	chaosNodes.Store(n.name, n)
	if s.Node.Disk > 0 {
		n.dir = chaosDir(t)
	}
	for _, addr := range [][]string{{"music.example:80"}, {"mirror.example:80"}, {cdnAddr + ":80", cdnAddr + ":443"}} {
		l := n.network.Listen(addr...)
		go func() { _ = n.upstream.Serve(l) }()
	}
	if err := n.load(n.configure(s.Node.Memory)); err != nil {
		t.Fatal(err)
	}
	n.server = &http.Server{Handler: n, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0), Protocols: new(http.Protocols)}
	n.server.Protocols.SetHTTP1(true)
	n.server.Protocols.SetUnencryptedHTTP2(true)
	l := n.network.Listen(edgeAddr)
	go func() {
		defer close(n.served)
		_ = n.server.Serve(l)
	}()
	return n
}

const (
	edgeAddr = "edge.example:80"
	cdnAddr  = "93.184.216.34" // of cdn.example, which is public
)

// chaosDir returns a directory that is in memory where that is possible.
func chaosDir(t *testing.T) string {
	t.Helper()
	const mem = "/dev/shm"
	if _, err := os.Stat(mem); err != nil {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(mem, "voyo-chaos-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// configure returns the handler's configuration.
func (n *chaosNode) configure(memory int64) string {
	var resolvers []any
	if n.s.Node.Remembered {
		resolvers = append(resolvers, map[string]any{"resolver": "chaos", "node": n.name})
	}
	both := func(path string) []string {
		return []string{"http://music.example" + path, "http://mirror.example" + path}
	}
	resolvers = append(resolvers, map[string]any{
		"resolver": "template",
		"audio":    both("/audio/{http.voyo.id}/{http.voyo.bitrate}.opus"),
		"art":      both("/art/{http.voyo.id}/{http.voyo.image}.png"),
	})
	node := n.s.Node
	policy := map[string]any{
		"ttl": node.TTL, "negative_ttl": node.Negative, "stale_while_revalidate": node.Revalidate, "stale_if_error": node.IfError,
	}
	art, stream := map[string]any{"entries": node.Covers}, map[string]any{
		"memory": memory, "slice": node.Slice, "read_ahead": node.ReadAhead, "max_object": node.MaxObject,
	}
	for name, value := range policy {
		art[name], stream[name] = value, value
	}
	if n.dir != "" {
		stream["disk"] = map[string]any{"dir": n.dir, "size": node.Disk}
		art["disk"] = map[string]any{"dir": n.dir, "size": 16 << 20}
	}
	config, err := json.Marshal(map[string]any{
		"resolvers": resolvers, "art": art, "stream": stream, "location_ttl": time.Minute,
		"allowed_upstreams": []string{"cdn.example", "inside.example", n.name + ".example"},
		"transport":         map[string]any{"protocol": "http", "max_conns_per_host": node.Conns},
	})
	if err != nil {
		n.t.Fatal(err)
	}
	return string(config)
}

// load loads a configuration, and cleans up the one before while its requests go on, as
// Caddy does. One that can't be loaded changes nothing.
func (n *chaosNode) load(config string) error {
	next := new(configuration)
	whole, err := caddy.ProvisionContext(&caddy.Config{Logging: &caddy.Logging{Logs: map[string]*caddy.CustomLog{
		"default": {BaseLog: caddy.BaseLog{WriterRaw: json.RawMessage(`{"output": "discard"}`)}},
	}}})
	if err != nil {
		return err
	}
	next.ctx, next.cancel = caddy.NewContext(whole)
	h, err := next.load(config)
	if err != nil {
		next.end()
		return err
	}
	n.logs = append(n.logs, observe(h))
	n.replaceDial(h)
	if err := next.start(); err != nil {
		next.end()
		return err
	}
	n.mu.Lock()
	before := n.config
	n.h, n.config = h, next
	n.mu.Unlock()
	if before != nil {
		before.end()
	}
	return nil
}

// replaceDial makes a handler's transport dial in memory, through its guard.
func (n *chaosNode) replaceDial(h *Handler) {
	guarded := h.client.(*guardedTransport)
	guarded.guard.Lookup = func(_ context.Context, _, host string) ([]netip.Addr, error) {
		switch host {
		case "cdn.example":
			return []netip.Addr{netip.MustParseAddr(cdnAddr)}, nil
		case "inside.example":
			return []netip.Addr{netip.MustParseAddr("10.0.0.7")}, nil
		}
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	guarded.next.(*reverseproxy.HTTPTransport).Transport.DialContext = guarded.guard.DialContext(n.network.DialContext)
}

// ServeHTTP does what Caddy's server does.
func (n *chaosNode) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n.mu.Lock()
	h := n.h
	n.mu.Unlock()
	r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, new(caddyhttp.Server))
	err := serveRequest(h, w, r)
	if err == nil {
		return
	}
	he, ok := errors.AsType[caddyhttp.HandlerError](err)
	if !ok {
		n.mu.Lock()
		n.statuses = append(n.statuses, fmt.Errorf("%s %s: %w", r.Method, r.URL, err))
		n.mu.Unlock()
		he.StatusCode = http.StatusInternalServerError
	}
	w.WriteHeader(he.StatusCode)
}

// handler returns the handler in use.
func (n *chaosNode) handler() *Handler {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.h
}

// happen has an event happen.
func (n *chaosNode) happen(e chaos.Event) error {
	paths := n.s.PathsOf(e.Track)
	switch e.Kind {
	case "change":
		n.upstream.Change(paths...)
	case "purge":
		n.purge(paths, purgeRequest{IDs: []string{n.s.Tracks[e.Track]}})
	case "purge all":
		n.purge(n.s.Paths(), purgeRequest{All: true})
	case "purge with change":
		n.upstream.Change(paths...)
		n.purge(paths, purgeRequest{IDs: []string{n.s.Tracks[e.Track]}})
	case "reload":
		return n.load(n.configure(n.s.Node.Memory))
	case "limits":
		return n.load(n.configure(n.s.Node.Memory * 2))
	case "failed reload":
		if n.load(`{"resolvers": [{"resolver": "template", "audio": ["http://music.example/x"]}], "enforce_origins": true}`) == nil {
			return errors.New("it was loaded")
		}
	case "disk fails":
		return n.failDisk()
	case "disk is lost":
		if n.dir != "" {
			return os.RemoveAll(filepath.Join(n.dir, streamDisk))
		}
	default:
		return errors.New("no such event")
	}
	return nil
}

// purge purges, as the admin API does. What is on a disk that fails may come back after a
// restart, and not before.
func (n *chaosNode) purge(paths []string, what purgeRequest) {
	p, _, err := what.parse()
	if err != nil {
		n.t.Fatal(err)
	}
	before := n.upstream.Now()
	if !n.deaf {
		_, _ = n.handler().state.purge(n.t.Context(), p)
	}
	n.upstream.Purged(before, paths...)
}

// failDisk makes the disk of streams one that can't be written for a while.
func (n *chaosNode) failDisk() error {
	if n.dir == "" || n.away != nil {
		return nil
	}
	path := filepath.Join(n.dir, streamDisk)
	if err := errors.Join(os.MkdirAll(path, 0o700), os.Rename(path, path+".away")); err != nil { // it may be lost
		return err
	}
	n.away = time.AfterFunc(20*time.Second, func() { _ = n.mendDisk() })
	return os.WriteFile(path, nil, 0o600)
}

func (n *chaosNode) mendDisk() error {
	path := filepath.Join(n.dir, streamDisk)
	if err := os.RemoveAll(path); err != nil {
		return err
	}
	return os.Rename(path+".away", path)
}

// mend ends all that is wrong.
func (n *chaosNode) mend() error {
	n.upstream.Heal()
	if n.away != nil && n.away.Stop() {
		return n.mendDisk()
	}
	return nil
}

// dial connects a client to the node.
func (n *chaosNode) dial(ctx context.Context) (net.Conn, error) {
	return n.network.DialContext(ctx, "tcp", edgeAddr)
}

// chaosResolver knows places whose hosts the configuration does not name, and has them
// remembered; but not always, and not only good ones.
type chaosResolver struct {
	Node string `json:"node"`

	node  *chaosNode
	asked atomic.Int64
}

func (*chaosResolver) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.voyo.resolvers.chaos",
		New: func() caddy.Module { return new(chaosResolver) },
	}
}

func (c *chaosResolver) Provision(caddy.Context) error {
	node, _ := chaosNodes.Load(c.Node)
	c.node = node.(*chaosNode)
	return nil
}

func (c *chaosResolver) Resolve(ctx context.Context, a resolver.Asset) (*resolver.Answer, error) {
	path := fmt.Sprintf("/audio/%s/%d.opus", a.ID, a.Bitrate)
	switch {
	case a.Kind == resolver.Art:
		path = fmt.Sprintf("/art/%s/%s.png", a.ID, a.Image)
	case a.Type != resolver.Audio:
		return nil, resolver.ErrNotFound
	}
	good, bad := "http://cdn.example"+path, "http://inside.example"+path
	switch c.node.upstream.Guess(int(c.asked.Add(1))) {
	case "knows nothing":
		return nil, resolver.ErrNotFound
	case "fails":
		return nil, errors.New("failed at " + chaos.Secret)
	case "hangs":
		<-ctx.Done()
		return nil, ctx.Err()
	case "is wrong":
		return &resolver.Answer{Targets: targets("http://10.0.0.7"+path, bad)}, nil
	case "is wrong first":
		return &resolver.Answer{Targets: targets(bad, "ftp://cdn.example"+path, good)}, nil
	}
	return &resolver.Answer{Targets: targets(good)}, nil
}

func (c *chaosResolver) Identity() string { return c.Node }
