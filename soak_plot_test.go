package voyo_test

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"
)

// The plot's measures, in its own units.
const (
	plotWidth, panelHeight, panelGap = 720.0, 80.0, 34.0
	plotLeft, plotTop                = 64.0, 24.0
)

// svg draws the record: a panel for each column, one below the other, over the same time.
func (r *record) svg() []byte {
	var b bytes.Buffer
	width, height := plotLeft+plotWidth+16, plotTop+float64(len(columns))*(panelHeight+panelGap)+16
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" font-family="sans-serif" font-size="11">`+"\n", width, height)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="#fff"/>`+"\n")
	end := r.samples[len(r.samples)-1].at.Seconds()
	for i, c := range columns {
		r.panel(&b, c, plotTop+float64(i)*(panelHeight+panelGap), end)
	}
	fmt.Fprintf(&b, `<text x="%.0f" y="%.0f" text-anchor="end" fill="#555">%s</text>`+"\n</svg>\n",
		plotLeft+plotWidth, height-8, time.Duration(end*float64(time.Second)).Round(time.Second))
	return b.Bytes()
}

// panel draws a column from zero to the most that it has.
func (r *record) panel(w io.Writer, c column, top, end float64) {
	values := r.values(c)
	most := max(slices.Max(values), 1)
	fmt.Fprintf(w, `<text x="%.0f" y="%.1f" font-weight="bold">%s</text>`+"\n", plotLeft, top-6, strings.TrimSpace(c.name+" "+c.unit))
	fmt.Fprintf(w, `<rect x="%.0f" y="%.1f" width="%.0f" height="%.0f" fill="#f6f7f9" stroke="#ccd"/>`+"\n", plotLeft, top, plotWidth, panelHeight)
	fmt.Fprintf(w, `<text x="%.0f" y="%.1f" text-anchor="end" fill="#555">%s</text>`+"\n", plotLeft-6, top+9, c.format(most))
	fmt.Fprintf(w, `<text x="%.0f" y="%.1f" text-anchor="end" fill="#555">0</text>`+"\n", plotLeft-6, top+panelHeight)
	var points strings.Builder
	for i, v := range values {
		fmt.Fprintf(&points, "%.1f,%.1f ", plotLeft+plotWidth*r.samples[i].at.Seconds()/end, top+panelHeight*(1-v/most))
	}
	fmt.Fprintf(w, `<polyline points="%s" fill="none" stroke="#2b5fd9" stroke-width="1.3"/>`+"\n", strings.TrimSpace(points.String()))
}

// grown returns a record of a soak whose resident memory is as given, in MiB.
func grown(mib ...int64) *record {
	r := &record{began: time.Now()}
	for i, n := range mib {
		r.samples = append(r.samples, sample{at: time.Duration(i+1) * time.Second, reading: reading{resident: n << 20}})
	}
	return r
}

// A record is drawn as one well-formed picture, and what grows is noticed.
func TestSoakRecord(t *testing.T) {
	steady := grown(50, 90, 80, 100, 70, 90, 95, 80, 100)
	for _, c := range []struct {
		r     *record
		bound float64
		want  string
	}{
		{steady, 100 << 20, ""},
		{steady, 99 << 20, "100 MiB were resident"},
		{grown(50, 60, 50, 60, 70, 80, 90, 100, 110), 200 << 20, "resident memory grows"},
		{grown(50, 60), 200 << 20, "too few samples"},
	} {
		if err := c.r.judge(c.bound); (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
	lines := 0
	for dec := xml.NewDecoder(bytes.NewReader(steady.svg())); ; {
		token, err := dec.Token()
		if err == io.EOF {
			break
		}
		must(t, err)
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "polyline" {
			lines++
		}
	}
	if lines != len(columns) {
		t.Errorf("%d lines are drawn for %d columns", lines, len(columns))
	}
	if rows := strings.Count(string(steady.csv()), "\n"); rows != len(steady.samples)+1 {
		t.Errorf("%d rows", rows)
	}
	if table := steady.table(); strings.Count(table, "\n") != len(columns)+2 || !strings.Contains(table, "100.0") {
		t.Error(table)
	}
}
