package main

import (
	"fmt"
	"io"

	"github.com/voyo-music/caddy-voyo/internal/plot"
)

var (
	exponents = []float64{0.7, 0.9, 1.1}
	disks     = []int64{10e9, 20e9, 50e9, 100e9, 200e9, 500e9, 1000e9}
	memories  = []int64{256 << 20, 1 << 30, 4 << 30, 16 << 30}
)

// alone is what comes of one edge of the region.
func (o options) alone(change func(*world)) tally {
	w := o.world
	w.Listeners /= float64(o.edges)
	change(&w)
	edges := 1
	if !w.Sticky { // it takes several, to be sent from one to the other
		edges, w.Listeners = 4, w.Listeners*4
	}
	t, _ := newRegion(w, edges).measure(o.plays)
	return t
}

// disk prints what edges with disks of several sizes do, and draws it.
func (o options) disk(w io.Writer) plot.Panel {
	byExponent := make(map[float64][]tally)
	var work []func()
	for _, zipf := range exponents {
		byExponent[zipf] = make([]tally, len(disks))
		for i, disk := range disks {
			work = append(work, func() {
				byExponent[zipf][i] = o.alone(func(w *world) { w.Habits.Zipf, w.Edge.disk = zipf, disk })
			})
		}
	}
	parallel(work)
	columns := []string{"disk"}
	for _, zipf := range exponents {
		columns = append(columns, fmt.Sprintf("kept, %g", zipf), fmt.Sprintf("starts, %g", zipf))
	}
	head(w, columns...)
	for i, disk := range disks {
		cells := []string{gigabytes(disk)}
		for _, zipf := range exponents {
			t := byExponent[zipf][i]
			cells = append(cells, percent(t.kept()), percent(ratio(t.ready, t.plays)))
		}
		row(w, cells...)
	}
	p := plot.Panel{Title: "bytes kept from those above, by disk of an edge", Most: 1, Format: percent, Tall: 2.5}
	for _, zipf := range exponents {
		l := plot.Line{Name: fmt.Sprintf("exponent %g", zipf)}
		for i, t := range byExponent[zipf] {
			l.Points = append(l.Points, plot.Point{X: along(disks, i), Y: t.kept()})
		}
		p.Lines = append(p.Lines, l)
	}
	for i, disk := range disks {
		p.Ticks = append(p.Ticks, plot.Tick{X: along(disks, i), Text: gigabytes(disk)})
	}
	return p
}

// memory prints what memories of several sizes do above the same disk.
func (o options) memory(w io.Writer) {
	rows := make([]tally, len(memories))
	var work []func()
	for i, memory := range memories {
		work = append(work, func() { rows[i] = o.alone(func(w *world) { w.Edge.memory = memory }) })
	}
	parallel(work)
	head(w, "memory", "out of memory", "from disk", "fetched")
	for i, t := range rows {
		row(w, fmt.Sprintf("%g GiB", float64(memories[i])/(1<<30)),
			percent(ratio(t.memory, t.asked)), percent(ratio(t.hit-t.memory, t.asked)), percent(ratio(t.fetched, t.asked)))
	}
}

// sensitivity prints what changes with what can only be guessed.
func (o options) sensitivity(w io.Writer) {
	cases := []struct {
		name   string
		change func(*world)
	}{
		{"as above", func(*world) {}},
		{"40% of a track is heard", func(w *world) { w.Habits.Listened = 0.4 }},
		{"80% of a track is heard", func(w *world) { w.Habits.Listened = 0.8 }},
		{"60% of the plays are left at once", func(w *world) { w.Habits.Skip = 0.6 }},
		{"30% of the plays seek", func(w *world) { w.Habits.Seek = 0.3 }},
		{"players ask for 64 KiB at a time", func(w *world) { w.Habits.Range = 64 << 10 }},
		{"players have 120 s in advance", func(w *world) { w.Habits.Buffer = 120 }},
		{"nothing is read ahead", func(w *world) { w.ReadAhead = 0 }},
		{"each request goes to any edge", func(w *world) { w.Sticky = false }},
		{"1,000 listeners, half of the tracks change in a day", func(w *world) { w.Listeners, w.Drift = 1000, 0.5 }},
		{"1,000 listeners, nothing changes", func(w *world) { w.Listeners, w.Drift = 1000, 0 }},
	}
	rows := make([]tally, len(cases))
	var work []func()
	for i, c := range cases {
		work = append(work, func() { rows[i] = o.alone(c.change) })
	}
	parallel(work)
	head(w, "", "kept", "requests", "starts")
	for i, t := range rows {
		row(w, cases[i].name, percent(t.kept()), percent(ratio(t.hits, t.requests)), percent(ratio(t.ready, t.plays)))
	}
}
