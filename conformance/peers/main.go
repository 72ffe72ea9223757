// Command peers runs the suite of package conformance against caches of others, and
// prints what they pass as a table in Markdown: the one in conformance/README.md.
//
//	go run ./conformance/peers [-results <dir>] [-souin <program>] [peer...]
//
// It is run in the root of the checkout. Without names all peers are tested. A peer
// whose program is missing is an error: the table would be another one.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"time"

	"github.com/voyo-music/caddy-voyo/conformance"
)

func main() {
	results := flag.String("results", "", "directory to write each peer's results into, as JSON")
	souin := flag.String("souin", "", "Caddy built with Souin's handler")
	flag.Parse()
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, *souin, flag.Args(), *results)
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

// run tests the peers that are named, or all, one after the other: they would take
// the processor from each other, and the tests count seconds.
func run(ctx context.Context, souin string, names []string, results string) error {
	tmp, err := os.MkdirTemp("", "peers")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	caddy := filepath.Join(tmp, "caddy")
	build := exec.CommandContext(ctx, "go", "build", "-o", caddy, "./cmd/caddy") // #nosec G204 -- a file of its own
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building Caddy: %w\n%s", err, out)
	}
	suite, err := conformance.Install(ctx)
	if err != nil {
		return err
	}
	var columns []column
	for _, p := range peers(programs{caddy, souin}) {
		if len(names) > 0 && !slices.Contains(names, p.server.Name) {
			continue
		}
		if p.version.Command[0] == "" {
			return fmt.Errorf("%s: the option with its program is missing", p.server.Name)
		}
		version, err := p.version.Ask(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", p.server.Name, err)
		}
		fmt.Fprintln(os.Stderr, "testing", p.server.Name, version)
		tests, err := test(ctx, suite, p.server)
		if err != nil {
			return err
		}
		columns = append(columns, column{p.server.Name, version, tests})
		if results != "" {
			if err := save(filepath.Join(results, p.server.Name+".json"), tests); err != nil {
				return err
			}
		}
	}
	if len(columns) == 0 {
		return fmt.Errorf("none of %v is a peer", names)
	}
	fmt.Printf("%s %s, %s\n\n", conformance.SuitePackage, conformance.SuiteVersion, time.Now().UTC().Format(time.DateOnly))
	printTable(os.Stdout, columns)
	return nil
}

func test(ctx context.Context, suite *conformance.Suite, server conformance.Server) ([]conformance.Test, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	return suite.Run(ctx, server)
}

func save(path string, tests []conformance.Test) error {
	b, err := json.MarshalIndent(tests, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}
