package voyo

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/nats-io/nkeys"

	"github.com/voyo-music/caddy-voyo/internal/fleet"
	"github.com/voyo-music/caddy-voyo/resolver"
)

// newCredentials returns a file with the credentials of some user of NATS.
func newCredentials(t *testing.T) string {
	t.Helper()
	user, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	seed, err := user.Seed()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "user.creds")
	content := fmt.Sprintf("-----BEGIN NATS USER JWT-----\nnobody.looks.here\n------END NATS USER JWT------\n\n"+
		"-----BEGIN USER NKEY SEED-----\n%s\n------END USER NKEY SEED------\n", seed)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestFleetConfig(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("VOYO_TEST_NATS", "tls://user:secret@nats.example")
	t.Setenv("VOYO_TEST_NATS_SPACES", "nats://user:secret@nats.example nats://b.example")
	t.Setenv("VOYO_TEST_NATS_BAD", "http://user:secret@nats.example")
	credentials := newCredentials(t)
	const url = "nats://nats.example"
	tests := []struct {
		name   string
		config *FleetConfig
		want   member
		err    string
	}{
		{"none", nil, member{}, ""},
		{"default", &FleetConfig{NATS: []string{url}}, member{urls: url, node: host}, ""},
		{
			"all",
			&FleetConfig{NATS: []string{"{env.VOYO_TEST_NATS}", "nats-2.example:4223"}, Credentials: credentials, Node: "eu/fra-1"},
			member{"tls://user:secret@nats.example nats-2.example:4223", credentials, "eu/fra-1"}, "",
		},
		{"no URL", &FleetConfig{Node: "a"}, member{}, "required"},
		{"an empty URL", &FleetConfig{NATS: []string{""}}, member{}, "URL 1 is empty"},
		{"secret in the configuration", &FleetConfig{NATS: []string{url, "nats://user:secret@nats.example"}}, member{}, "URL 2: a user, password or token must come from a placeholder"},
		{"token in the configuration", &FleetConfig{NATS: []string{"secret@nats.example"}}, member{}, "URL 1: a user, password or token must come from a placeholder"},
		{"spaces", &FleetConfig{NATS: []string{"{env.VOYO_TEST_NATS_SPACES}"}}, member{}, "URL 1: it has spaces"},
		{"scheme", &FleetConfig{NATS: []string{"{env.VOYO_TEST_NATS_BAD}"}}, member{}, "URL 1: its scheme must be"},
		{"not set", &FleetConfig{NATS: []string{"{env.VOYO_TEST_NOT_SET}"}}, member{}, "VOYO_TEST_NOT_SET"},
		{"no file", &FleetConfig{NATS: []string{url}, Credentials: "/nonexistent/user.creds"}, member{}, "no such file"},
		{"no credentials", &FleetConfig{NATS: []string{url}, Credentials: "go.mod"}, member{}, "the file has no user"},
		{"name", &FleetConfig{NATS: []string{url}, Node: "a b"}, member{}, `node name "a b"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := tt.config.member(caddy.NewReplacer())
			if tt.err == "" {
				if err != nil || got != tt.want {
					t.Errorf("%+v, %v", got, err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "secret@") || strings.Contains(err.Error(), "user:") {
				t.Errorf("error %v", err)
			}
		})
	}
}

func TestOlderPosition(t *testing.T) {
	at := func(stream string, seq uint64) fleet.Position { return fleet.Position{Stream: stream, Seq: seq} }
	stamped := func(seq uint64, time int64) fleet.Position { return fleet.Position{Stream: "s", Seq: seq, Time: time} }
	tests := []struct{ a, b, want fleet.Position }{
		{at("s", 1), at("s", 2), at("s", 1)},
		{at("s", 2), at("s", 2), at("s", 2)},
		{at("s", 2), at("", 0), at("", 0)},
		{at("", 0), at("", 0), at("", 0)},
		{at("s", 2), at("t", 2), elsewhere},
		{at("t", 2), elsewhere, elsewhere},
		{at("", 0), elsewhere, at("", 0)},
		{stamped(2, 10), stamped(3, 5), stamped(2, 10)},
		{stamped(2, 10), stamped(2, 11), elsewhere},
		{stamped(2, 10), at("s", 2), stamped(2, 10)},
	}
	for _, tt := range tests {
		if got := older(tt.a, tt.b); got != tt.want {
			t.Errorf("of %v and %v: %v", tt.a, tt.b, got)
		}
		if got := older(tt.b, tt.a); got != tt.want {
			t.Errorf("of %v and %v: %v", tt.b, tt.a, got)
		}
	}
}

func TestTakedowns(t *testing.T) {
	var down takedowns
	const a, b, c = resolver.ID("AAAAAAAAAAA"), resolver.ID("BBBBBBBBBBB"), resolver.ID("CCCCCCCCCCC")
	check := func(what string, want ...resolver.ID) {
		t.Helper()
		if down.count() != len(want) || len(down.list()) != len(want) {
			t.Errorf("%s: %q are down, %d", what, down.list(), down.count())
		}
		for _, id := range want {
			if !down.has(id) {
				t.Errorf("%s: %s is not down", what, id)
			}
		}
	}
	check("at first")
	down.add(a, b)
	down.add(b)
	check("added", a, b)
	down.lift(c, a)
	down.lift(a)
	check("lifted", b)
	down.replace([]resolver.ID{b, c, c})
	check("replaced", b, c)
	down.replace(nil)
	check("at the end")
}

// What a later version has told is not known: what it could mean is purged.
func TestDecodePurge(t *testing.T) {
	for _, text := range []string{`{"ids":["AAAAAAAAAAA"],"regions":["eu"]}`, `{"ids":["A"]}`, `{}`, `[]`, ``} {
		if p, err := decodePurge([]byte(text)); err == nil {
			t.Errorf("%s: %+v", text, p)
		}
	}
	p, err := decodePurge([]byte(`{"ids":["AAAAAAAAAAA"],"tags":["x"],"paths":["https://voyo.example/"]}`))
	if err != nil || p.all || len(p.tags) != 1 || len(p.pages) != 1 || len(p.streams)+len(p.art) != len(resolver.ID("AAAAAAAAAAA").Assets()) {
		t.Errorf("%+v, %v", p, err)
	}
}

// Who asks is told which nodes have not done it, and by the exit status.
func TestFleetReceipt(t *testing.T) {
	for _, tt := range []struct {
		receipt fleetReceipt
		said    string
		err     string
	}{
		{fleetReceipt{Nodes: 3}, "taken down AAAAAAAAAAA vyo_QUFBQUFBQUFBQUE\n3 nodes\n", ""},
		{
			fleetReceipt{Nodes: 1, Pending: []string{"b", "c"}, Failed: []string{"d"}},
			"taken down AAAAAAAAAAA vyo_QUFBQUFBQUFBQUE\n1 node\npending b\npending c\nfailed d\n", "1 of 4 nodes have done it so far",
		},
	} {
		var said strings.Builder
		answer := takedownAnswer{IDs: []trackNames{namesOf("AAAAAAAAAAA")}, fleetReceipt: tt.receipt}
		answer.print(&said)
		answer.printOthers(&said)
		if said.String() != tt.said {
			t.Errorf("%+v: %q", tt.receipt, said.String())
		}
		if err := tt.receipt.incomplete(); (err == nil) != (tt.err == "") || err != nil && err.Error() != tt.err {
			t.Errorf("%+v: %v", tt.receipt, err)
		}
	}
}
