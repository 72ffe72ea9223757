package voyo_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/voyo-music/caddy-voyo/internal/natstest"
)

// startLog starts the servers of the fleet's log, each on a host of its own.
func (f *fleet) startLog(t *testing.T) {
	t.Helper()
	const servers = 3
	var addresses []string
	var prefixes [][]string
	for range servers {
		h := f.host(t)
		addresses, prefixes = append(addresses, h.Addr().String()), append(prefixes, h.Prefix())
	}
	f.log = natstest.Start(t, servers, natstest.On(addresses...), natstest.Through(prefixes...))
}

// name is what a node is called in the log.
func (f *fleet) name(i int) string { return fmt.Sprintf("edge-%d", i) }

// joined configures what makes a node one of the fleet. Without servers it is told of all.
func (f *fleet) joined(i int, servers ...string) string {
	if len(servers) == 0 {
		servers = f.log.URLs()
	}
	return fmt.Sprintf("fleet nats %s {\nnode %s\n}", strings.Join(servers, " "), f.name(i))
}

// member configures a node with a log, a disk, and the first shields of the fleet.
func (f *fleet) member(i, shields int, servers ...string) string {
	return f.shielded(shields, fmt.Sprintf("disk %s 1GiB", f.nodes[i].disk), f.joined(i, servers...))
}

// startFleet starts four nodes with a log, and returns them when all of them are current.
func startFleet(t *testing.T, shields int, songs ...song) *fleet {
	t.Helper()
	f := newFleet(t, 4, songs...)
	f.startLog(t)
	f.start(t, func(i int) string { return f.member(i, shields) })
	for i := range f.nodes {
		f.awaitHealthy(t, i)
	}
	return f
}

// awaitHealthy waits until those in front of a node are told that it is well.
func (f *fleet) awaitHealthy(t *testing.T, i int) {
	t.Helper()
	eventually(t, f.name(i)+" is healthy", func() bool { return f.nodes[i].healthy(t.Context()) })
}

// healthy reports whether a node says so.
func (n node) healthy(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, healthTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url+"/health", nil)
	if err != nil {
		return false
	}
	resp, err := n.client.Do(r)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body) // so that the connection is used again
	return resp.StatusCode == http.StatusOK
}

// onHost is the node as it is seen by who is on its host.
func (c *child) onHost() node { return node{c.url, c.operator} }

// acknowledgement is what an operator is told of a purge or a takedown.
type acknowledgement struct {
	Nodes           int
	Pending, Failed []string
}

// operate sends something to a node's admin API, and returns what was acknowledged, or the
// error that it was not.
func (c *child) operate(ctx context.Context, uri string, what any) (a acknowledgement, err error) {
	body, err := json.Marshal(what)
	if err != nil {
		return a, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.admin+uri, strings.NewReader(string(body)))
	if err != nil {
		return a, err
	}
	resp, err := c.operator.Do(r)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return a, err
	}
	if resp.StatusCode != http.StatusOK {
		return a, fmt.Errorf("%s: %s", resp.Status, text)
	}
	return a, json.Unmarshal(text, &a)
}

// ids are what a purge or a takedown is of.
type ids struct {
	IDs  []string `json:"ids"`
	Lift bool     `json:"lift,omitempty"`
}

// mustApply has a node spread something, which all nodes but the pending ones must have
// applied.
func (f *fleet) mustApply(t *testing.T, i int, uri string, what ids, pending ...string) {
	t.Helper()
	got, err := f.nodes[i].operate(t.Context(), uri, what)
	slices.Sort(got.Pending)
	if err != nil || got.Nodes != len(f.nodes)-len(pending) || !slices.Equal(got.Pending, pending) || len(got.Failed) > 0 {
		t.Fatalf("%s %v at %s: %+v, %v, want %d nodes and %v", uri, what, f.name(i), got, err, len(f.nodes)-len(pending), pending)
	}
}

// mustBeDown fails the test unless a node refuses a track in all ways, for legal reasons
// (RFC 7725).
func (n node) mustBeDown(t *testing.T, s song) {
	t.Helper()
	if err := n.isDown(t.Context(), s); err != nil {
		t.Error(err)
	}
}

func (n node) isDown(ctx context.Context, s song) error {
	var errs []error
	for _, path := range []string{s.path(), s.path() + "?quality=low", s.coverPath(), "/exists/" + s.id, "/stream?v=" + s.id, "/prefetch?v=" + s.id} {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url+path, nil)
		if err != nil {
			return err
		}
		resp, err := n.client.Do(r)
		if err != nil {
			return err
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusUnavailableForLegalReasons {
			errs = append(errs, fmt.Errorf("%s%s: %s, %s", n.url, path, resp.Status, resp.Header.Get("Cache-Status")))
		}
	}
	return errors.Join(errs...)
}
