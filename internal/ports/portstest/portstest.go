// Package portstest has ports for tests.
package portstest

import (
	"testing"

	"github.com/voyo-music/caddy-voyo/internal/ports"
)

// Reserve returns a port that the system chose and, until the test ends, gives to nobody
// else.
func Reserve(t testing.TB) int {
	t.Helper()
	port, release, err := ports.Reserve()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(release)
	return port
}
