package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
)

// record is what came of a turn.
type record struct {
	server, workload string
	figures          map[string]float64
	failed           map[string]int
}

// report writes all tables.
func report(w io.Writer, of []record) {
	for _, k := range workloads {
		if rows := rowsOf(of, k); len(rows) > 0 {
			k.table(w, rows)
		}
	}
}

// rowsOf returns the records of a workload by server.
func rowsOf(of []record, k workload) map[string][]record {
	rows := make(map[string][]record)
	for _, r := range of {
		if r.workload == k.name {
			rows[r.server] = append(rows[r.server], r)
		}
	}
	return rows
}

// table writes a line for each server.
func (k workload) table(w io.Writer, rows map[string][]record) {
	reference := cmp.Or(k.reference, referenceName)
	fmt.Fprintf(w, "\n## %s: %s\n\n| server |", k.name, k.title)
	var rule strings.Builder
	for _, c := range k.columns {
		fmt.Fprintf(w, " %s |", c.head)
		rule.WriteString(" ---: |")
		if c.spread {
			fmt.Fprintf(w, " least–most | / %s |", reference)
			rule.WriteString(" ---: | ---: |")
		}
	}
	fmt.Fprintf(w, " failures |\n| --- |%s --- |\n", &rule)
	key := k.columns[slices.IndexFunc(k.columns, func(c column) bool { return c.spread })]
	for _, name := range k.order(rows, key) {
		fmt.Fprintf(w, "| %s |", name)
		for _, c := range k.columns {
			c.cells(w, rows[name], rows[reference])
		}
		fmt.Fprintf(w, " %s |\n", failures(rows[name]))
	}
}

// isRate reports whether a figure is the better the more it is.
func (c column) isRate() bool { return strings.HasSuffix(c.head, "/s") }

// order returns the servers by a figure: the most of what is a rate, the least of what is a
// time or a size.
func (k workload) order(rows map[string][]record, key column) []string {
	sign := 1.0
	if key.isRate() {
		sign = -1
	}
	return slices.SortedFunc(maps.Keys(rows), func(a, b string) int {
		x, y := values(rows[a], key.figure), values(rows[b], key.figure)
		if len(x) == 0 || len(y) == 0 {
			return cmp.Or(cmp.Compare(len(y), len(x)), cmp.Compare(a, b))
		}
		return cmp.Or(cmp.Compare(sign*median(x), sign*median(y)), cmp.Compare(a, b))
	})
}

// cells writes the median of the rounds and, if that is wanted, the least and the most and
// how it is to the reference's.
func (c column) cells(w io.Writer, of, reference []record) {
	v := values(of, c.figure)
	switch {
	case len(v) == 0 && c.spread:
		fmt.Fprint(w, " - | - | - |")
		return
	case len(v) == 0:
		fmt.Fprint(w, " - |")
		return
	}
	fmt.Fprintf(w, " %s |", show(median(v)))
	if !c.spread {
		return
	}
	fmt.Fprintf(w, " %s–%s |", show(slices.Min(v)), show(slices.Max(v)))
	if r := values(reference, c.figure); len(r) > 0 && median(r) != 0 {
		fmt.Fprintf(w, " %.2f |", median(v)/median(r))
	} else {
		fmt.Fprint(w, " - |")
	}
}

// show writes a number with no more digits than it is worth.
func show(v float64) string {
	digits := 2
	switch {
	case v >= 100 || v == math.Trunc(v):
		digits = 0
	case v >= 10:
		digits = 1
	}
	return strconv.FormatFloat(v, 'f', digits, 64)
}

// values returns a figure of each round that has it.
func values(of []record, figure string) []float64 {
	var v []float64
	for _, r := range of {
		if f, ok := r.figures[figure]; ok {
			v = append(v, f)
		}
	}
	return v
}

// failures says what went wrong in all rounds.
func failures(of []record) string {
	all := make(map[string]int)
	for _, r := range of {
		for what, n := range r.failed {
			all[what] += n
		}
	}
	var s []string
	for _, what := range slices.Sorted(maps.Keys(all)) {
		s = append(s, strconv.Itoa(all[what])+" × "+what)
	}
	return strings.Join(s, ", ")
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}

// quantile returns the smallest of them that at least a share of them is not above.
func quantile(d []time.Duration, share float64) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[int(math.Ceil(float64(len(d))*share))-1]
}
