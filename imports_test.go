package voyo

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// TestImportsGoOneWay holds the house's plan: the core of the cache and of the
// resolving is tested without Caddy, and neither knows the other.
func TestImportsGoOneWay(t *testing.T) {
	const module = "github.com/voyo-music/caddy-voyo"
	frameworks := []string{"github.com/caddyserver/", "go.uber.org/zap", "github.com/prometheus/"}
	rooms := []struct {
		path   string
		closed []string // what it must not import, nor anything that it imports
	}{
		{"/cache", append(frameworks, module+"/resolver")},
		{"/cache/disk", append(frameworks, module+"/resolver", module+"/cache", "net/http")},
		{"/resolver", append(frameworks, module+"/cache")},
		{"/resolver/template", []string{module + "/cache"}},
		{"/resolver/api", []string{module + "/cache"}},
		{"/resolver/s3", []string{module + "/cache"}},
		{"/internal/byterange", []string{module + "/", "github.com/", "go.uber.org/", "golang.org/"}},
		{"/internal/fleet", append(frameworks, module+"/cache", module+"/resolver")},
		{"/internal/contain", []string{module + "/", "github.com/", "go.uber.org/", "golang.org/"}},
	}
	for _, room := range rooms {
		t.Run(room.path, func(t *testing.T) {
			out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", module+room.path).CombinedOutput()
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			deps := strings.Fields(string(out))
			if !slices.Contains(deps, module+room.path) {
				t.Fatalf("go list did not list %s", room.path)
			}
			for _, dep := range deps {
				if dep == module || dep != module+room.path && slices.ContainsFunc(room.closed, func(p string) bool { return strings.HasPrefix(dep, p) }) {
					t.Errorf("imports %s", dep)
				}
			}
		})
	}
}
