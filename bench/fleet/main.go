// Command fleet simulates a region of edges and shields, to say how many nodes and how much
// disk it needs. README.md says how.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/voyo-music/caddy-voyo/internal/plot"
)

func main() {
	o := parse()
	if err := o.report(); err != nil {
		fmt.Fprintln(os.Stderr, "fleet:", err)
		os.Exit(1)
	}
}

// report prints all studies that are asked for, and draws them.
func (o options) report() error {
	out := os.Stdout
	for _, study := range []struct {
		name string
		do   func() []plot.Panel
	}{
		{"disk", func() []plot.Panel {
			fmt.Fprint(out, "## How much disk\n\n")
			p := o.disk(out)
			fmt.Fprintln(out)
			o.memory(out)
			fmt.Fprintln(out)
			o.sensitivity(out)
			return []plot.Panel{p}
		}},
		{"shield", func() []plot.Panel {
			fmt.Fprint(out, "\n## With and without a shield\n\n")
			return []plot.Panel{o.shield(out)}
		}},
		{"mesh", func() []plot.Panel {
			fmt.Fprint(out, "\n### Edges that are each other's shields\n\n")
			o.mesh(out)
			return nil
		}},
		{"nodes", func() []plot.Panel {
			fmt.Fprint(out, "\n## How many nodes\n\n")
			o.nodes(out)
			return nil
		}},
		{"loss", func() []plot.Panel {
			fmt.Fprint(out, "\n## When a node is lost\n\n")
			return o.loss(out)
		}},
		{"purge", func() []plot.Panel {
			fmt.Fprint(out, "\n## What a takedown costs\n\n")
			return o.purges(out)
		}},
	} {
		if len(o.only) > 0 && !slices.Contains(o.only, study.name) {
			continue
		}
		began := time.Now()
		panels := study.do()
		fmt.Fprintf(os.Stderr, "%s: %s\n", study.name, time.Since(began).Round(time.Second))
		if len(panels) == 0 {
			continue
		}
		path := filepath.Join(o.plots, "fleet-"+study.name+".svg")
		if err := os.WriteFile(path, plot.SVG(panels...), 0o644); err != nil { // #nosec G306 -- for everybody
			return err
		}
	}
	return nil
}
