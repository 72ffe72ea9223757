package voyo_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"

	voyo "github.com/voyo-music/caddy-voyo"
	"github.com/voyo-music/caddy-voyo/internal/natstest"
)

// A disk is out of the configuration while something is purged: when it is there again, in
// the same process or another, nothing of that comes from it.
func TestFleetDiskIsElsewhere(t *testing.T) {
	songs := newSongs(0, 3, 300_000)
	a := newArchive(t, songs...)
	urls := natstest.Start(t, 1).URLs()
	dir := t.TempDir()
	e := startAdminEdge(t, fleetSite(a.URL, "a", urls, dir))
	e.awaitFleet(t, "")
	e.store(t, songs)
	without := fleetSite(a.URL, "a", urls, "")
	for _, again := range []string{"in the same process", "in another one"} {
		must(t, e.load(t, without))
		a.add(songs[0].next())
		var got told
		e.administer(t, http.MethodPost, "/voyo/purge", idsBody(songs[0]), &got)
		if got.Nodes != 1 || len(got.Pending) > 0 {
			t.Fatalf("%+v", got)
		}
		songs[0] = songs[0].next()
		if again == "in another one" {
			e.stop(t)
		}
		must(t, e.load(t, fleetSite(a.URL, "a", urls, dir)))
		if e.mustHear(t, songs[0]) {
			t.Errorf("%s: what was purged was there", again)
		}
		for _, s := range songs[1:] {
			if !e.mustHear(t, s) {
				t.Errorf("%s: %s was gone", again, s.id)
			}
		}
		e.store(t, songs)
	}
}

// A node gets another name, or other servers, by a reload: it is in step all the while,
// and what is taken down stays so. Without a fleet nothing is.
func TestFleetReload(t *testing.T) {
	songs := newSongs(0, 3, 300_000)
	down, kept := songs[0], songs[1]
	a := newArchive(t, songs...)
	link := natstest.Start(t, 1)
	urls := link.URLs()
	dir := t.TempDir()
	e := startAdminEdge(t, fleetSite(a.URL, "a", urls, dir))
	e.awaitFleet(t, "")
	e.store(t, songs)
	tell := func(uri, body string, nodes int) {
		t.Helper()
		var got told
		e.administer(t, http.MethodPost, uri, body, &got)
		if got.Nodes != nodes || len(got.Pending)+len(got.Failed) > 0 {
			t.Errorf("%s %s: %+v", uri, body, got)
		}
	}
	tell("/voyo/takedown", idsBody(down), 1)
	sites := map[string]string{
		"another name":    fleetSite(a.URL, "b", urls, dir),
		"another address": fleetSite(a.URL, "b", link.Link().URLs(), dir),
	}
	for _, name := range []string{"another name", "another address"} {
		must(t, e.load(t, sites[name]))
		e.mustBeTakenDown(t, down)
		if !e.mustHear(t, kept) {
			t.Errorf("%s: the cache was lost", name)
		}
		e.awaitFleet(t, "")
		tell("/voyo/purge", idsBody(songs[2]), 1) // nobody waits for what it was before
	}
	for name, site := range map[string]string{
		"two fleets":   "route {\n" + fleetSite(a.URL, "b", urls, dir) + "\n" + fleetSite(a.URL, "c", urls, dir) + "\n}",
		"no such file": strings.Replace(sites["another name"], "node b", "node b\ncredentials /nonexistent", 1),
		"name":         fleetSite(a.URL, "b..c", urls, dir),
	} {
		if err := e.load(t, site); err == nil || !strings.Contains(err.Error(), "fleet: ") {
			t.Errorf("%s: %v", name, err)
		}
		e.mustBeTakenDown(t, down)
		tell("/voyo/purge", idsBody(songs[2]), 1)
	}
	for range 5 { // which app is started first is a matter of chance
		if err := e.loadWithFailingApp(t, fleetSite(a.URL, "c", urls, "")); err == nil {
			t.Error("it was loaded")
		}
		tell("/voyo/purge", idsBody(songs[2]), 1)
	}
	e.mustBeTakenDown(t, down)
	if !e.mustHear(t, kept) {
		t.Error("the cache was lost")
	}
	must(t, e.load(t, "voyo {\n"+template(a.URL)+"\n}"))
	if e.mustHear(t, down) {
		t.Error("it was there")
	}
	if a := e.administer(t, http.MethodPost, "/voyo/takedown", idsBody(down), nil); a.status != http.StatusConflict {
		t.Errorf("without a fleet: %s", a)
	}
	must(t, e.load(t, fleetSite(a.URL, "b", urls, dir)))
	e.mustBeTakenDown(t, down)
	mustNotKeep(t, dir, down)
}

// A hundred reloads with a fleet, every second of which fails, leave nothing behind.
func TestFleetHundredReloads(t *testing.T) {
	urls := natstest.Start(t, 1).URLs()
	leaks := goleak.IgnoreCurrent()
	o := newLibrary(t, 3)
	site := func(name, more string) string {
		return "voyo {\n" + template(o.URL) + "\n" + fleetOption(name, urls) + more + "\n}"
	}
	e := startEdge(t, site("a", ""))
	e.covers(t, 3)
	var early usage
	for i := range 100 {
		name := "a"
		if i%5 == 4 {
			name = "b"
		}
		if err := e.load(t, site(name, fmt.Sprintf("location_ttl %dm", i+1))); err != nil {
			t.Fatal(err)
		}
		failing := []func() error{
			func() error { return e.load(t, site("a", "enforce_origins")) },
			func() error { return e.load(t, site("a..b", "")) },
			func() error { return e.loadWithFailingApp(t, site("a", "")) },
			func() error { return e.loadWithFailingApp(t, site("c", "")) },
		}[i%4]
		if failing() == nil {
			t.Fatal("it was loaded")
		}
		if hits := e.covers(t, 3); hits != 3 {
			t.Fatalf("%d hits of 3 after %d reloads", hits, i)
		}
		if i == 10 {
			early = e.settledUsage(t)
		}
	}
	if late := e.settledUsage(t); late.goroutines > early.goroutines+10 || late.files > early.files+5 {
		t.Errorf("%+v after 10 reloads, %+v after 100", early, late)
	}
	e.awaitFleet(t, "")
	e.stop(t)
	e.client.CloseIdleConnections()
	o.Close()
	if n := voyo.FleetsInUse(); n != 0 {
		t.Errorf("%d fleets are left", n)
	}
	goleak.VerifyNone(t, leaks,
		// it sleeps for 5 seconds before it sees that its lock is gone
		goleak.IgnoreAnyFunction("github.com/caddyserver/certmagic.keepLockfileFresh"))
}
