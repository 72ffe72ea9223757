// Package tools finds the programs that tests run against.
package tools

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Path returns the path of a program that .ci/tools installs. The test fails if it is
// missing.
func Path(t testing.TB, program string) string {
	t.Helper()
	if path, err := exec.LookPath(program); err == nil {
		return path
	}
	dir := os.Getenv("VOYO_TOOLS")
	if dir == "" {
		home, err := os.UserHomeDir()
		if err != nil {
			t.Fatal(err)
		}
		dir = filepath.Join(home, ".cache", "caddy-voyo", "tools")
	}
	path := filepath.Join(dir, program)
	if _, err := os.Stat(path); err != nil { // #nosec G703 -- named by the test
		t.Fatalf("%s is neither in PATH nor in %s: run .ci/tools to install it", program, dir)
	}
	return path
}
