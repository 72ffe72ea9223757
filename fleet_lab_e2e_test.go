package voyo_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/voyo-music/caddy-voyo/internal/natstest"
	"github.com/voyo-music/caddy-voyo/internal/netlab"
)

// fleet are nodes on hosts of their own, in front of an archive on another one.
type fleet struct {
	lab     *netlab.Lab
	outside *netlab.Host // where clients are
	archive *archive
	nodes   []*member
	memory  string            // of each node, for streams
	log     *natstest.Cluster // nil: there is none
}

// member is a node of a fleet.
type member struct {
	*child

	disk string
}

// forget empties the disk of a node that does not run.
func (m *member) forget(t *testing.T) {
	t.Helper()
	must(t, os.RemoveAll(m.disk))
	must(t, os.Mkdir(m.disk, 0o700))
}

// healthTimeout is how long who looks after nodes waits for one to say how it is.
const healthTimeout = time.Second

// newFleet returns a fleet of which no node has been configured or is running yet.
func newFleet(t *testing.T, nodes int, songs ...song) *fleet {
	t.Helper()
	lab, err := netlab.New(t.Context())
	must(t, err)
	t.Cleanup(lab.Close)
	f := &fleet{lab: lab, memory: "256MiB"}
	f.outside = f.host(t)
	l, err := f.host(t).Listen(t.Context(), 80)
	must(t, err)
	f.archive = newArchiveAt(t, l, songs...)
	t.Cleanup(f.archive.CloseClientConnections) // those to hosts that are cut off would stay
	for range nodes {
		f.nodes = append(f.nodes, f.newNode(t))
	}
	return f
}

func (f *fleet) host(t *testing.T) *netlab.Host {
	t.Helper()
	h, err := f.lab.Host(t.Context())
	must(t, err)
	return h
}

func (f *fleet) newNode(t *testing.T) *member {
	t.Helper()
	h := f.host(t)
	c := &child{host: h, bind: h.Addr().String(), admin: "127.0.0.1:2019"}
	c.node = node{"http://" + c.bind, f.clientAt(t, f.outside)}
	c.operator = f.clientAt(t, h)
	c.prepare(t, "")
	t.Cleanup(func() {
		for line := range strings.Lines(c.log(t)) {
			if t.Failed() && strings.Contains(line, `"logger":"http.handlers.voyo`) {
				t.Logf("%s has logged: %s", c.url, line)
			}
		}
	})
	return &member{c, t.TempDir()}
}

// clientAt returns a client on a host.
func (f *fleet) clientAt(t *testing.T, h *netlab.Host) *http.Client {
	t.Helper()
	transport := h.Transport()
	transport.MaxIdleConnsPerHost = 100
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// transport is that of its clients.
func (n node) transport() *http.Transport { return n.client.Transport.(*http.Transport) }

// start configures all nodes, and starts them.
func (f *fleet) start(t *testing.T, site func(i int) string) {
	t.Helper()
	for i, c := range f.nodes {
		c.configure(t, site(i))
		c.start(t)
	}
}

// topologies say how many of four nodes are those that all of them ask. Where that is all
// of them, each one also is in its own list.
var topologies = []struct {
	name    string
	shields int
}{
	{"two tiers", 2},
	{"mesh", 4},
}

// shielded configures a node that asks the first n nodes before the archive, with options
// for streams and others.
func (f *fleet) shielded(n int, stream, options string) string {
	var urls []string
	for _, c := range f.nodes[:n] {
		urls = append(urls, c.url)
	}
	return fmt.Sprintf("voyo {\n%s\nshield %s\nstream {\nmemory %s\nslice 64KiB\n%s\n}\n%s\n}",
		template(f.archive.URL), strings.Join(urls, " "), f.memory, stream, options)
}
