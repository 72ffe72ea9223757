// Package plot draws lines over something as SVG, for what is measured and for documents.
package plot

import (
	"bytes"
	"fmt"
	"html"
	"io"
	"slices"
	"strings"
)

// The measures, in the picture's own units.
const (
	width, height, gap = 720.0, 80.0, 34.0
	left, top          = 64.0, 24.0
	right, bottom      = 16.0, 16.0
)

// Panel is a frame with lines, from zero to the most that one of them has.
type Panel struct {
	Title  string
	Most   float64                // what is at the top, if it is more than what is drawn
	Format func(y float64) string // how that is written
	Lines  []Line
	Ticks  []Tick  // below the frame
	Tall   float64 // how many times as high as others; 0 is 1
}

// Line is drawn through points. It has a name where there are several.
type Line struct {
	Name   string
	Points []Point
}

// Point is a point of a line: X from 0, at the left, to 1.
type Point struct{ X, Y float64 }

// Tick is a text below the frame, with X as a Point's.
type Tick struct {
	X    float64
	Text string
}

// colours are those of the lines, in their order.
var colours = []string{"#2b5fd9", "#d9822b", "#2b9d5c", "#a33fb5", "#c43a3a", "#667"}

// SVG draws panels, one below the other.
func SVG(panels ...Panel) []byte {
	var body bytes.Buffer
	y := top
	for _, p := range panels {
		p.draw(&body, y)
		y += p.height() + gap
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" font-family="sans-serif" font-size="11">`+"\n",
		left+width+right, y+bottom)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="#fff"/>`+"\n%s</svg>\n", &body)
	return b.Bytes()
}

func (p Panel) height() float64 { return height * max(p.Tall, 1) }

// draw draws a panel whose frame begins at y.
func (p Panel) draw(w io.Writer, y float64) {
	most, h := p.most(), p.height()
	fmt.Fprintf(w, `<text x="%.0f" y="%.1f" font-weight="bold">%s</text>`+"\n", left, y-6, html.EscapeString(p.Title))
	fmt.Fprintf(w, `<rect x="%.0f" y="%.1f" width="%.0f" height="%.0f" fill="#f6f7f9" stroke="#ccd"/>`+"\n", left, y, width, h)
	fmt.Fprintf(w, `<text x="%.0f" y="%.1f" text-anchor="end" fill="#555">%s</text>`+"\n", left-6, y+9, html.EscapeString(p.Format(most)))
	fmt.Fprintf(w, `<text x="%.0f" y="%.1f" text-anchor="end" fill="#555">0</text>`+"\n", left-6, y+h)
	for _, t := range p.Ticks {
		anchor := "middle"
		if t.X >= 1 {
			anchor = "end"
		}
		fmt.Fprintf(w, `<text x="%.1f" y="%.1f" text-anchor="%s" fill="#555">%s</text>`+"\n",
			left+width*t.X, y+h+14, anchor, html.EscapeString(t.Text))
	}
	for i, l := range p.Lines {
		var points strings.Builder
		for _, at := range l.Points {
			fmt.Fprintf(&points, "%.1f,%.1f ", left+width*at.X, y+h*(1-at.Y/most))
		}
		fmt.Fprintf(w, `<polyline points="%s" fill="none" stroke="%s" stroke-width="1.3"/>`+"\n",
			strings.TrimSpace(points.String()), colour(i))
	}
	p.names(w, y-6)
}

// names writes the lines' names in their colours, at the right of the title.
func (p Panel) names(w io.Writer, y float64) {
	const perLetter = 6.2 // about
	x := left + width
	for i, l := range slices.Backward(p.Lines) {
		if l.Name == "" {
			continue
		}
		fmt.Fprintf(w, `<text x="%.1f" y="%.1f" text-anchor="end" fill="%s">%s</text>`+"\n", x, y, colour(i), html.EscapeString(l.Name))
		x -= perLetter*float64(len([]rune(l.Name))) + 12
	}
}

func colour(i int) string { return colours[i%len(colours)] }

func (p Panel) most() float64 {
	most := p.Most
	for _, l := range p.Lines {
		for _, at := range l.Points {
			most = max(most, at.Y)
		}
	}
	if most <= 0 {
		return 1
	}
	return most
}
