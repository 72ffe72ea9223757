package voyo_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/voyo-music/caddy-voyo/internal/natstest"
)

// fleetOption makes an edge one of a fleet.
func fleetOption(name string, urls []string) string {
	return fmt.Sprintf("fleet nats %s {\nnode %s\n}\n", strings.Join(urls, " "), name)
}

// fleetSite configures a node of a fleet, with a disk if there is a directory for one.
func fleetSite(upstream, name string, urls []string, dir string) string {
	site := "voyo {\n" + template(upstream) + "\n" + fleetOption(name, urls)
	if dir == "" {
		return site + "}"
	}
	return site + fmt.Sprintf("art {\ndisk %s 64MiB\n}\nstream {\nmemory 8MiB\nslice 64KiB\ndisk %[1]s 64MiB\n}\n}", dir)
}

// told is what the admin API answers who has told a fleet.
type told struct {
	Nodes           int
	Pending, Failed []string
}

// administer sends a request to the admin API.
func (c *child) administer(t *testing.T, method, uri, body string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+c.admin+uri, strings.NewReader(body))
	must(t, err)
	r.Header.Set("Content-Type", "application/json")
	resp, err := manage(c.operator, r)
	must(t, err)
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, b.Bytes()}
}

// tell has the fleet do something, which so many nodes must have done then, all but some.
func (c *child) tell(t *testing.T, uri, body string, nodes int, pending ...string) {
	t.Helper()
	var got told
	a := c.administer(t, http.MethodPost, uri, body)
	if err := json.Unmarshal(a.body, &got); err != nil || a.status != http.StatusOK {
		t.Fatalf("%s %s: %v: %s", uri, body, err, a)
	}
	if got.Nodes != nodes || !slices.Equal(got.Pending, pending) || len(got.Failed) > 0 {
		t.Fatalf("%s %s: %+v; want %d nodes, %q pending", uri, body, got, nodes, pending)
	}
}

func idsBody(songs ...song) string {
	var ids []string
	for _, s := range songs {
		ids = append(ids, s.id)
	}
	b, _ := json.Marshal(map[string]any{"ids": ids}) // strings can't fail to be marshaled
	return string(b)
}

// awaitFleet waits until the node is in step with its fleet, or, with a reason, is not.
func (n node) awaitFleet(t *testing.T, reason string) {
	t.Helper()
	var last answer
	defer func() {
		if t.Failed() {
			t.Log(last)
		}
	}()
	eventually(t, "the node's health is "+reason, func() bool {
		last = n.get(t, "/health")
		var h struct{ Reasons []string }
		if err := json.Unmarshal(last.body, &h); err != nil {
			t.Fatal(err)
		}
		if reason == "" {
			return last.status == http.StatusOK
		}
		return last.status == http.StatusServiceUnavailable && len(h.Reasons) == 1 && strings.HasPrefix(h.Reasons[0], "fleet: "+reason)
	})
}

// startFleet starts nodes a, b and so on with disks of their own, which are in step.
func startFleet(t *testing.T, n int, upstream string, urls []string) (nodes []*child, dirs []string) {
	t.Helper()
	for i := range n {
		dirs = append(dirs, t.TempDir())
		nodes = append(nodes, startChild(t, fleetSite(upstream, string(rune('a'+i)), urls, dirs[i])))
	}
	for _, c := range nodes {
		c.awaitFleet(t, "")
	}
	return nodes, dirs
}

// mustBeTakenDown fails the test unless all that is asked for of the song is refused.
func (n node) mustBeTakenDown(t *testing.T, s song) {
	t.Helper()
	for _, path := range []string{s.path(), s.path() + "?type=video", s.coverPath(), "/exists/" + s.id, "/stream?v=" + s.id, "/prefetch?v=" + s.id, "/proxy?v=" + s.id} {
		a := n.get(t, path)
		if a.status != http.StatusUnavailableForLegalReasons || a.header.Get("Cache-Control") != "no-store" ||
			strings.TrimSpace(string(a.body)) != `{"error":"Content not available for legal reasons"}` {
			t.Errorf("%s: %s", path, a)
		}
	}
	if a := n.do(t, http.MethodHead, s.path(), with("Range", "bytes=0-1")); a.status != http.StatusUnavailableForLegalReasons {
		t.Errorf("HEAD: %s", a)
	}
}

// filesWith returns the files of a directory that have some text in them.
func filesWith(t *testing.T, dir, text string) (names []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(text)) {
			names = append(names, path)
		}
		return err
	})
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return names
}

// mustNotKeep fails the test if something of a song is in a directory.
func mustNotKeep(t *testing.T, dir string, s song) {
	t.Helper()
	for off := int64(0); off < s.size; off += 64 << 10 {
		if names := filesWith(t, dir, string(s.bytes(off))); len(names) > 0 {
			t.Errorf("byte %d of %s is in %q", off, s.id, names)
		}
	}
}

// A track is replaced and purged again and again while clients of three nodes hear it.
// Who begins after all have acknowledged gets the new one from every node.
func TestFleetPurge(t *testing.T) {
	const clients, versions = 30, 6
	all := newVersions(versions)
	a := newArchive(t, all[0])
	a.rate.Store(20 << 20)
	nodes, _ := startFleet(t, 3, a.URL, natstest.Start(t, 1).URLs())
	var listeners []node
	for i := range clients {
		listeners = append(listeners, nodes[i%len(nodes)].node)
	}
	hearWhilePurged(t, listeners, all, clients/3, func(v int) {
		a.add(all[v])
		nodes[(v-1)%len(nodes)].tell(t, "/voyo/purge", idsBody(all[0]), len(nodes))
	})
}

// A node is killed, and misses a purge and a takedown: what it answers first when it is
// back is right, from its disk as well, and so it is when it has been killed again and
// NATS is away.
func TestFleetMissed(t *testing.T) {
	songs := newSongs(0, 4, 300_000)
	purged, down, early, kept := songs[0], songs[1], songs[2], songs[3]
	a := newArchive(t, songs...)
	servers := natstest.Start(t, 1)
	nodes, dirs := startFleet(t, 2, a.URL, servers.URLs())
	first, second := nodes[0], nodes[1]
	for _, c := range nodes {
		c.store(t, songs)
	}
	first.tell(t, "/voyo/takedown", idsBody(early), 2)
	for i, c := range nodes {
		c.mustBeTakenDown(t, early)
		mustNotKeep(t, dirs[i], early)
	}

	second.kill(t)
	if len(filesWith(t, dirs[1], string(down.bytes(0)))) == 0 {
		t.Fatal("nothing would be left of it anyway")
	}
	a.add(purged.next())
	first.tell(t, "/voyo/purge", idsBody(purged), 1, "b")
	first.tell(t, "/voyo/takedown", idsBody(down), 1, "b")

	second.start(t)
	second.mustBeTakenDown(t, down)
	second.mustBeTakenDown(t, early)
	if second.mustHear(t, purged.next()) {
		t.Error("what was purged was there")
	}
	if !second.mustHear(t, kept) {
		t.Error("what was not purged was gone")
	}
	mustNotKeep(t, dirs[1], down)
	second.awaitFleet(t, "")

	second.kill(t)
	servers.Stop(0)
	second.start(t)
	second.mustBeTakenDown(t, down)
	second.mustBeTakenDown(t, early)
	if h, err := second.hear(t.Context(), purged.next()); err != nil {
		t.Error(h, err)
	}
	second.awaitFleet(t, "NATS")
}

// A node starts, and goes on, while NATS is away. Nothing can be purged then.
func TestFleetWithoutNATS(t *testing.T) {
	songs := newSongs(0, 2, 300_000)
	a := newArchive(t, songs...)
	servers := natstest.Start(t, 1)
	nodes, _ := startFleet(t, 1, a.URL, servers.URLs())
	c := nodes[0]
	c.store(t, songs)
	down := songs[1]
	c.tell(t, "/voyo/takedown", idsBody(down), 1)
	servers.Stop(0)
	c.awaitFleet(t, "NATS")
	refused := func(uri, body string) {
		t.Helper()
		if a := c.administer(t, http.MethodPost, uri, body); a.status != http.StatusServiceUnavailable || !strings.Contains(string(a.body), "not acknowledged") {
			t.Errorf("%s: %s", uri, a)
		}
	}
	refused("/voyo/purge", idsBody(songs[0]))
	refused("/voyo/takedown", idsBody(songs[0]))
	if a := c.administer(t, http.MethodGet, "/voyo/status?fleet=true", ""); a.status != http.StatusServiceUnavailable {
		t.Errorf("status: %s", a)
	}
	if !c.mustHear(t, songs[0]) {
		t.Error("something was purged all the same")
	}
	c.mustBeTakenDown(t, down)

	c.kill(t)
	c.start(t) // which it does without NATS
	if !c.mustHear(t, songs[0]) {
		t.Error("what is on disk is not served")
	}
	c.mustBeTakenDown(t, down)
	c.awaitFleet(t, "NATS")

	servers.Restart(0)
	c.awaitFleet(t, "")
	a.add(songs[0].next())
	c.tell(t, "/voyo/purge", idsBody(songs[0]), 1)
	if c.mustHear(t, songs[0].next()) {
		t.Error("it was not purged")
	}
	lift := strings.Replace(idsBody(down), "{", `{"lift":true,`, 1)
	c.tell(t, "/voyo/takedown", lift, 1)
	if c.mustHear(t, down) {
		t.Error("it was still there")
	}
}

// An edge has purged, and its shield has not heard of it yet: the edge waits for it for a
// moment, and asks the resolvers then. The shield's old bytes never come back.
func TestFleetTiers(t *testing.T) {
	songs := newSongs(0, 2, 300_000)
	s, other := songs[0], songs[1]
	a := newArchive(t, songs...)
	servers := natstest.Start(t, 1)
	link := servers.Link()
	shield := startChild(t, fleetSite(a.URL, "shield", link.URLs(), t.TempDir()))
	edge := startChild(t, strings.Replace(fleetSite(a.URL, "edge", servers.URLs(), t.TempDir()), "fleet ", shieldedBy(shield.url)+"fleet ", 1))
	for _, c := range []*child{shield, edge} {
		c.awaitFleet(t, "")
	}
	edge.store(t, songs)
	shield.store(t, songs)
	for range 5 {
		s = s.next()
		a.add(s)
		edge.tell(t, "/voyo/purge", idsBody(s), 2)
		h, err := edge.hear(t.Context(), s)
		if err != nil || len(tiersOf(h.header)) != 2 {
			t.Fatal(h, err)
		}
	}

	link.Silence()
	s = s.next()
	a.add(s)
	edge.tell(t, "/voyo/purge", idsBody(s), 1, "shield")
	if h, err := edge.hear(t.Context(), s); err != nil || len(tiersOf(h.header)) != 1 {
		t.Error(h, err)
	}
	if !shield.mustHear(t, other) {
		t.Error("the shield does not serve on")
	}
	link.Heal()
	shield.awaitFleet(t, "")
	if shield.mustHear(t, s) {
		t.Error("it was there")
	}
}
