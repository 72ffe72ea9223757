package main

import (
	"fmt"
	"html"
	"io"
	"slices"
	"strings"
)

// The chart's measures, in its own units.
const (
	chartWidth = 760.0
	labelWidth = 120.0
	barHeight  = 14.0
	headHeight = 34.0
)

// chart draws a bar for each server in each workload, whose length is the median of the
// first figure that is the better the less it is.
func chart(w io.Writer, of []record) {
	var body strings.Builder
	height := 0.0
	for _, k := range workloads {
		if rows := rowsOf(of, k); len(rows) > 0 {
			height += k.draw(&body, rows, height)
		}
	}
	fmt.Fprintf(w, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" font-family="sans-serif" font-size="11">`,
		chartWidth, height+8)
	fmt.Fprintf(w, "\n"+`<rect width="100%%" height="100%%" fill="#fff"/>`+"\n%s</svg>\n", &body)
}

// draw draws a workload from top on, and returns how high that is.
func (k workload) draw(w io.Writer, rows map[string][]record, top float64) (height float64) {
	c := k.columns[slices.IndexFunc(k.columns, func(c column) bool { return c.spread && !c.isRate() })]
	medians, most := make(map[string]float64), 0.0
	for name, of := range rows {
		if v := values(of, c.figure); len(v) > 0 {
			medians[name] = median(v)
			most = max(most, medians[name])
		}
	}
	fmt.Fprintf(w, `<text x="8" y="%.0f" font-weight="bold">%s</text>`+"\n", top+22, html.EscapeString(k.name+": "+c.head))
	y := top + headHeight
	for _, name := range k.order(rows, c) {
		m, ok := medians[name]
		if !ok {
			continue
		}
		colour := "#aab4c8"
		if strings.HasPrefix(name, edgeName) {
			colour = "#2b5fd9"
		}
		length := 1.0 // where all are zero, too
		if m > 0 {
			length = max((chartWidth-labelWidth-80)*m/most, 1)
		}
		fmt.Fprintf(w, `<text x="%.0f" y="%.0f" text-anchor="end">%s</text>`, labelWidth-6, y+barHeight-4, html.EscapeString(name))
		fmt.Fprintf(w, `<rect x="%.0f" y="%.0f" width="%.1f" height="%.0f" fill="%s"/>`, labelWidth, y, length, barHeight-3, colour)
		fmt.Fprintf(w, `<text x="%.1f" y="%.0f" fill="#555">%s</text>`+"\n", labelWidth+length+5, y+barHeight-4, show(m))
		y += barHeight
	}
	return y - top
}
