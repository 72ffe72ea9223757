package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
)

// figures are a result, or the mean of several, as it is printed.
type figures struct {
	below   float64             // bytes asked of upstream or disk, for each byte that listeners asked for
	worst   float64             // how much more of these than the best contender's, where it is most
	written float64             // bytes written into memory, likewise
	hit     float64             // share of the bytes that came out of memory
	found   float64             // share of the slices that were there when a listener came to them
	phase   [phases]float64     // the same, by phase
	starts  float64             // share of the plays whose first byte was in memory
	sizes   map[float64]float64 // below, by size of memory
}

func (r result) figures() figures {
	var f figures
	var all tally
	for p := before; p < phases; p++ {
		t := r.phase[p]
		all.asked, all.hit = all.asked+t.asked, all.hit+t.hit
		all.plays, all.ready = all.plays+t.plays, all.ready+t.ready
		all.visits, all.found = all.visits+t.visits, all.found+t.found
		f.phase[p] = ratio(t.found, t.visits)
	}
	f.below, f.written = ratio(r.below, all.asked), ratio(r.written, all.asked)
	f.hit, f.found, f.starts = ratio(all.hit, all.asked), ratio(all.found, all.visits), ratio(all.ready, all.plays)
	return f
}

func ratio(a, b int64) float64 { return float64(a) / float64(max(b, 1)) }

// results are what came of all contenders, in their order, by setting.
type results map[setting][]result

// report prints the mean of all settings, and where every is true each by itself.
func (rs results) report(out io.Writer, cs []contender, every bool) {
	all := slices.SortedFunc(maps.Keys(rs), func(a, b setting) int { return strings.Compare(a.String(), b.String()) })
	fmt.Fprintf(out, "Mean of %d settings\n\n", len(all))
	rs.table(out, cs, all)
	for _, s := range all {
		if every {
			fmt.Fprintf(out, "\n%s\n\n", s)
			rs.table(out, cs, []setting{s})
		}
	}
}

func (rs results) table(out io.Writer, cs []contender, of []setting) {
	fmt.Fprint(out, "| policy | below | worst | written | hit | found | before | during | after | starts |")
	for _, m := range memories {
		fmt.Fprintf(out, " %g%% |", m)
	}
	fmt.Fprintf(out, "\n|%s\n", strings.Repeat(" --- |", 10+len(memories)))
	for i, c := range cs {
		f := rs.mean(cs, of, i)
		fmt.Fprintf(out, "| %s | %.3f | +%.2f | %.2f | %.1f | %.1f | %.1f | %.1f | %.1f | %.1f |", c.name, f.below, f.worst, f.written,
			100*f.hit, 100*f.found, 100*f.phase[before], 100*f.phase[during], 100*f.phase[after], 100*f.starts)
		for _, m := range memories {
			if x, ok := f.sizes[m]; ok {
				fmt.Fprintf(out, " %.3f |", x)
			} else {
				fmt.Fprint(out, " |")
			}
		}
		fmt.Fprintln(out)
	}
}

// mean returns the mean of a contender's figures over some settings.
func (rs results) mean(cs []contender, of []setting, i int) figures {
	sum := figures{sizes: make(map[float64]float64)}
	count := make(map[float64]float64)
	n := float64(len(of))
	for _, s := range of {
		f := rs[s][i].figures()
		sum.below += f.below / n
		sum.written += f.written / n
		sum.hit += f.hit / n
		sum.found += f.found / n
		sum.starts += f.starts / n
		for p := range f.phase {
			sum.phase[p] += f.phase[p] / n
		}
		sum.sizes[s.memory] += f.below
		count[s.memory]++
		for j, other := range rs[s] {
			if cs[i].disk || !cs[j].disk { // without a disk, nothing can be left on it
				sum.worst = max(sum.worst, f.below-other.figures().below)
			}
		}
	}
	for m := range sum.sizes {
		sum.sizes[m] /= count[m]
	}
	return sum
}
