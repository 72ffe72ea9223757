package voyo_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/voyo-music/caddy-voyo/internal/natstest"
)

// What opens the servers of NATS is in no log, at DEBUG either, no error and no answer,
// whether it is the right one or not.
func TestFleetSecretsStayInside(t *testing.T) {
	const user, password, wrong = "edge-user-f1", "password-5d0c", "wrong-9b1e"
	servers := natstest.Start(t, 1, natstest.With(fmt.Sprintf(`authorization { user: %q, password: %q }`, user, password)))
	host := strings.TrimPrefix(servers.URLs()[0], "nats://")
	t.Setenv("VOYO_TEST_NATS", "nats://"+user+":"+password+"@"+host)
	t.Setenv("VOYO_TEST_NATS_WRONG", "nats://"+user+":"+wrong+"@"+host)
	t.Setenv("VOYO_TEST_NATS_BAD", "http://"+user+":"+wrong+"@"+host)
	s := newSong(songID, 100_000)
	a := newArchive(t, s)
	var seen strings.Builder
	e := startAdminEdge(t, fleetSite(a.URL, "a", []string{"{env.VOYO_TEST_NATS}"}, t.TempDir()))
	e.awaitFleet(t, "")
	e.mustHear(t, s)
	ask := func() {
		t.Helper()
		for _, uri := range []string{"/voyo/status", "/voyo/status?fleet=true", "/metrics", "/config/", "/voyo/explain?url=" + s.path()} {
			fmt.Fprintln(&seen, e.administer(t, http.MethodGet, uri, "", nil))
		}
		for _, uri := range []string{"/voyo/purge", "/voyo/takedown"} {
			fmt.Fprintln(&seen, e.administer(t, http.MethodPost, uri, idsBody(s), nil))
		}
		fmt.Fprintln(&seen, e.get(t, "/health"), e.get(t, s.path()))
	}
	ask()
	if !strings.Contains(seen.String(), `"nodes": 1`) {
		t.Errorf("nothing was purged: %s", seen.String())
	}
	for _, urls := range []string{"{env.VOYO_TEST_NATS_BAD}", "nats://" + user + ":" + wrong + "@" + host} {
		err := e.load(t, fleetSite(a.URL, "a", []string{urls}, ""))
		if err == nil {
			t.Fatal("it was loaded")
		}
		fmt.Fprintln(&seen, err)
	}
	must(t, e.load(t, fleetSite(a.URL, "a", []string{"{env.VOYO_TEST_NATS_WRONG}"}, "")))
	e.awaitFleet(t, "NATS refuses")
	ask()
	servers.Stop(0)
	ask()
	fmt.Fprintln(&seen, e.logged(t))
	for _, secret := range []string{password, wrong, user} {
		if i := strings.Index(seen.String(), secret); i >= 0 {
			t.Errorf("%q is told: ...%s...", secret, seen.String()[max(0, i-300):i+len(secret)+100])
		}
	}
}
