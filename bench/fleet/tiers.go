package main

import (
	"fmt"
	"io"

	"github.com/voyo-music/caddy-voyo/internal/plot"
)

// tiers that are compared: shields, and the disk of each.
var kinds = []struct {
	shields int
	disk    int64
}{{0, 0}, {1, 200e9}, {1, 500e9}, {1, 1000e9}, {2, 200e9}, {2, 500e9}, {4, 200e9}, {4, 500e9}, {8, 200e9}}

// fleets are the numbers of edges that are compared.
var fleets = []int{1, 4, 16, 64}

// shield prints how much is asked of the origin with and without shields, and draws it.
func (o options) shield(w io.Writer) plot.Panel {
	shares := make([][]float64, len(fleets)) // of the bytes that are sent, by tier
	edges := make([]tally, len(fleets))
	sent := 0.0 // bytes for a second that somebody hears
	var work []func()
	for i, n := range fleets {
		work = append(work, func() {
			r := newRegion(o.world, n)
			for _, k := range kinds {
				l := o.Shield
				l.disk = k.disk
				r.addTier(k.shields, l)
			}
			var heard float64
			edges[i], heard = r.measure(max(o.plays, 10_000*n))
			if n == 1 {
				sent = float64(edges[i].asked) / heard
			}
			for _, t := range r.tiers {
				shares[i] = append(shares[i], ratio(t.origin.asked, edges[i].asked))
			}
		})
	}
	parallel(work)
	all := sent * o.Listeners * 8 / 1e9
	fmt.Fprintf(w, "%s listeners are sent %.0f Gbit/s.\n\n", thousands(o.Listeners), all)
	headByFleet(w, "shields")
	for j, k := range kinds {
		cells := []string{kindName(k.shields, k.disk)}
		for i := range fleets {
			cells = append(cells, gbits(all*shares[i][j])+", "+percent(shares[i][j]))
		}
		row(w, cells...)
	}
	p := plot.Panel{Title: "share of the bytes sent that the origin is asked for, by edges", Format: percent, Tall: 2}
	for j, k := range kinds {
		if k.shields != 0 && k.disk != 200e9 {
			continue
		}
		l := plot.Line{Name: kindName(k.shields, k.disk)}
		for i := range fleets {
			l.Points = append(l.Points, plot.Point{X: along(fleets, i), Y: shares[i][j]})
		}
		p.Lines = append(p.Lines, l)
	}
	for i, n := range fleets {
		p.Ticks = append(p.Ticks, plot.Tick{X: along(fleets, i), Text: count(n, "edge")})
	}
	return p
}

// mesh prints how much is asked of the origin where the edges are each other's shields.
func (o options) mesh(w io.Writer) {
	sizes := []int64{50e9, 100e9, 200e9, 500e9}
	shares := make([][]float64, len(sizes))
	var work []func()
	for i, disk := range sizes {
		shares[i] = make([]float64, len(fleets))
		for j, n := range fleets {
			work = append(work, func() {
				w := o.world
				w.Edge.disk = disk
				r := newRegion(w, n)
				t := r.mesh()
				r.settle()
				plays := max(o.plays, 10_000*n)
				r.run(plays)
				origin, sent := t.origin.asked, r.sent
				r.run(plays / 2)
				shares[i][j] = ratio(t.origin.asked-origin, r.sent-sent)
			})
		}
	}
	parallel(work)
	headByFleet(w, "disk of each")
	for i, disk := range sizes {
		cells := []string{gigabytes(disk)}
		for _, share := range shares[i] {
			cells = append(cells, percent(share))
		}
		row(w, cells...)
	}
}

// headByFleet prints the head of a table with a column for each number of edges.
func headByFleet(w io.Writer, first string) {
	columns := []string{first}
	for _, n := range fleets {
		columns = append(columns, count(n, "edge"))
	}
	head(w, columns...)
}

func kindName(n int, disk int64) string {
	if n == 0 {
		return "none"
	}
	return fmt.Sprintf("%d of %s", n, gigabytes(disk))
}
