package main

import (
	"fmt"
	"io"
	"math"

	"github.com/voyo-music/caddy-voyo/internal/plot"
)

// The tiers that are watched.
const (
	unshielded = iota // the origin is asked by the edges
	shielded
	byNumber // likewise, but who has a track follows from its number modulo that of the shields
)

// watched returns what came of some events.
func (o options) watched(events ...event) [][]minute {
	all := make([][]minute, len(events))
	var work []func()
	for i, e := range events {
		work = append(work, func() {
			r := newRegion(o.world, o.edges)
			for range byNumber + 1 {
				n := o.shields
				if len(r.tiers) == unshielded {
					n = 0
				}
				r.addTier(n, o.Shield)
			}
			t := r.tiers[byNumber]
			t.order = byModulo(t.lost, len(t.order))
			all[i] = r.watch(e)
		})
	}
	parallel(work)
	return all
}

// bill is what an event has cost.
type bill struct {
	fetched []float64 // GB more that were asked of the origin, by tier
	peak    []float64 // Gbit/s that it was asked for in the worst minute
	before  []float64 // Gbit/s that it was asked for without the event
	half    []int     // minutes after the worst one, until what it is asked for more is half of that
	edges   float64   // GB more that the edges have fetched
	worst   float64   // points of what the edges keep, in the worst minute
	minutes int       // until they keep what they would without it, but for a point
}

// bill compares a timeline with that in which nothing has happened.
func (o options) bill(nothing, ms []minute) bill {
	tiers := len(nothing[0].origin)
	b := bill{fetched: make([]float64, tiers), peak: make([]float64, tiers), before: make([]float64, tiers), half: make([]int, tiers)}
	scale := float64(o.Scale)
	for m := ahead; m < timeline; m++ {
		was, is := nothing[m], ms[m]
		for t := range tiers {
			b.fetched[t] += float64(is.origin[t]-was.origin[t]) * scale / 1e9
			b.peak[t] = max(b.peak[t], o.gbits(is.origin[t]))
			b.before[t] += o.gbits(was.origin[t]) / (timeline - ahead)
		}
		b.edges += float64(is.edges.fetched-was.edges.fetched) * scale / 1e9
		less := was.edges.kept() - is.edges.kept()
		b.worst = max(b.worst, less)
		if less > 0.01 {
			b.minutes = m + 1 - ahead
		}
	}
	for t := range tiers {
		b.half[t] = halved(nothing, ms, t)
	}
	return b
}

// halved returns how many minutes after the worst one a tier asks the origin for half as
// much more as in that.
func halved(nothing, ms []minute, tier int) int {
	more := func(m int) int64 { return ms[m].origin[tier] - nothing[m].origin[tier] }
	worst := ahead
	for m := ahead; m < timeline; m++ {
		if more(m) > more(worst) {
			worst = m
		}
	}
	for m := worst; m < timeline; m++ {
		if 2*more(m) <= more(worst) {
			return m - worst
		}
	}
	return timeline - worst
}

// gbits returns bytes of a minute, as simulated, in Gbit/s.
func (o options) gbits(bytes int64) float64 { return float64(bytes) * float64(o.Scale) * 8 / 60 / 1e9 }

// loss prints and draws what a lost node costs.
func (o options) loss(w io.Writer) []plot.Panel {
	lose := func(r *region, lost bool) {
		r.tiers[shielded].lose(lost, false)
		r.tiers[byNumber].lose(lost, true)
	}
	back := func(r *region) { r.lost[0] = false }
	events := []event{
		{"a shield, which is back with its disk", func(r *region) { lose(r, true) }, func(r *region) { lose(r, false) }},
		{"a shield, which is back empty", func(r *region) { lose(r, true) }, func(r *region) {
			lose(r, false)
			for _, t := range []int{shielded, byNumber} {
				r.tiers[t].shields[0].purge(r.c.all())
			}
		}},
		{"an edge, which is back with its disk", func(r *region) { r.lost[0] = true }, back},
		{"an edge, which is back empty", func(r *region) { r.lost[0] = true }, func(r *region) {
			back(r)
			r.edges[0].purge(r.c.all())
		}},
	}
	nothing, all := o.nothing(), o.watched(events...)
	fmt.Fprintf(w, "%s, %s of %s. Without a loss the origin is asked for %.2f Gbit/s.\n\n",
		count(o.edges, "edge"), count(o.shields, "shield"), gigabytes(o.Shield.disk), o.bill(nothing, nothing).before[shielded])
	head(w, fmt.Sprintf("lost for %d minutes", away), "edges keep less, worst minute", "edges fetch more",
		"origin sends more", "worst minute", "half of that after", "by modulo it sends more", "worst minute")
	for i, e := range events {
		b := o.bill(nothing, all[i])
		row(w, e.name, points(b.worst), gb(b.edges), gb(b.fetched[shielded]), gbits(b.peak[shielded]),
			fmt.Sprintf("%d min", b.half[shielded]), gb(b.fetched[byNumber]), gbits(b.peak[byNumber]))
	}
	return []plot.Panel{
		o.overTime("the origin is asked for, when a shield is lost and comes back, in Gbit/s", []plot.Line{
			{Name: "rendezvous", Points: o.asked(all[0], shielded)}, {Name: "modulo", Points: o.asked(all[0], byNumber)},
		}),
		o.overTime("the origin is asked for, when an edge is lost and comes back empty, in Gbit/s", []plot.Line{
			{Name: "with shields", Points: o.asked(all[3], shielded)}, {Name: "without", Points: o.asked(all[3], unshielded)},
		}),
	}
}

// purges prints and draws what purges and takedowns cost.
func (o options) purges(w io.Writer) []plot.Panel {
	thousand := 1000 / o.Scale
	label := max(o.Tracks/o.Scale/100, 1)
	events := []event{
		{name: fmt.Sprintf("%d tracks at random, a hundredth", label*o.Scale), begin: func(r *region) { r.purge(r.some(label)) }},
		{name: "the same, taken down", begin: func(r *region) { r.takeDown(r.some(label)) }},
		{name: fmt.Sprintf("the %d most played tracks", thousand*o.Scale), begin: func(r *region) {
			r.purge(r.listeners.ranked(thousand))
		}},
		{name: "everything at one edge", begin: func(r *region) { r.edges[0].purge(r.c.all()) }},
		{name: "everything", begin: func(r *region) { r.purge(r.c.all()) }},
	}
	nothing, all := o.nothing(), o.watched(events...)
	b := o.bill(nothing, nothing)
	fmt.Fprintf(w, "%s. Without a purge the origin is asked for %.1f Gbit/s, and for %.2f with %s of %s.\n\n",
		count(o.edges, "edge"), b.before[unshielded], b.before[shielded], count(o.shields, "shield"), gigabytes(o.Shield.disk))
	head(w, "purged", "edges keep less, worst minute", "by more than a point for", "edges fetch more", "origin sends more, with shields",
		"worst minute", "half of that after", "without", "worst minute")
	for i, e := range events {
		b := o.bill(nothing, all[i])
		minutes := fmt.Sprintf("%d min", b.minutes)
		if b.minutes == timeline-ahead {
			minutes = fmt.Sprintf("over %d min", b.minutes)
		}
		row(w, e.name, points(b.worst), minutes, gb(b.edges), gb(b.fetched[shielded]), gbits(b.peak[shielded]),
			fmt.Sprintf("%d min", b.half[shielded]), gb(b.fetched[unshielded]), gbits(b.peak[unshielded]))
	}
	everything := all[len(all)-1]
	return []plot.Panel{
		o.overTime("the origin is asked for, when everything is purged, in Gbit/s", []plot.Line{
			{Name: "with shields", Points: o.asked(everything, shielded)}, {Name: "without", Points: o.asked(everything, unshielded)},
		}),
	}
}

// asked returns what a tier asks the origin for, over the minutes.
func (o options) asked(ms []minute, tier int) (line []plot.Point) {
	for m, x := range ms {
		line = append(line, plot.Point{X: (float64(m) + 0.5) / timeline, Y: o.gbits(x.origin[tier])})
	}
	return line
}

// overTime returns a panel over the minutes.
func (o options) overTime(title string, lines []plot.Line) plot.Panel {
	p := plot.Panel{Title: title, Lines: lines, Tall: 1.5, Format: func(y float64) string { return fmt.Sprintf("%.3g", y) }}
	for m := -ahead; m < timeline-ahead; m += 10 {
		text := fmt.Sprintf("%d min", m)
		p.Ticks = append(p.Ticks, plot.Tick{X: math.Max(float64(m+ahead)/timeline, 0.01), Text: text})
	}
	return p
}
