package voyo_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
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
	return fleetOption(f.name(i), servers)
}

// member configures a node with a log, a disk, and the first shields of the fleet.
func (f *fleet) member(i, shields int, servers ...string) string {
	return f.shielded(shields, fmt.Sprintf("disk %s 1GiB", f.nodes[i].disk), f.joined(i, servers...))
}

// startMembers starts four nodes with a log, and returns them when all of them are current.
func startMembers(t *testing.T, shields int, songs ...song) *fleet {
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

// mustTell has a node tell all something of a song, which all nodes but the pending ones must
// have done then.
func (f *fleet) mustTell(t *testing.T, i int, uri string, s song, pending ...string) {
	t.Helper()
	f.nodes[i].tell(t, uri, idsBody(s), len(f.nodes)-len(pending), pending...)
}
