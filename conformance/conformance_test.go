package conformance

import (
	"context"
	_ "embed"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	// so that go test does not take an earlier result for that of another edge
	_ "github.com/voyo-music/caddy-voyo"
)

var (
	update  = flag.Bool("update", false, "write what the tests find into expected.txt")
	handler = flag.String("handler", Edge, "the handler that is tested, as in a Caddyfile; %s is the origin")
)

//go:embed expected.txt
var expected string

func TestConformance(t *testing.T) {
	list, err := ParseExpected(expected)
	if err != nil {
		t.Fatalf("expected.txt: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	suite, err := Install(ctx)
	if err != nil {
		t.Fatal(err)
	}
	tests, err := suite.Run(ctx, Caddy("caddy-voyo", build(ctx, t), "", *handler))
	if err != nil {
		t.Fatal(err)
	}
	for kind, c := range Counts(tests) {
		t.Logf("%s: %d of %d passed", kind, c.Passed, c.Of)
	}
	if *update {
		if err := os.WriteFile("expected.txt", []byte(list.Format(tests)), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	if problems := list.Compare(tests); len(problems) > 0 {
		t.Errorf("%d tests are not as expected:\n%s", len(problems), strings.Join(problems, "\n"))
	}
}

// build builds Caddy with this module and returns the program's path.
func build(ctx context.Context, t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "caddy")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", program, "./cmd/caddy")
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building Caddy: %v\n%s", err, out)
	}
	return program
}
