package voyo_test

import (
	"bytes"
	"encoding/xml"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/voyo-music/caddy-voyo/internal/plot"
)

// svg draws the record: a panel for each column, one below the other, over the same time.
func (r *record) svg() []byte {
	end := r.samples[len(r.samples)-1].at.Seconds()
	panels := make([]plot.Panel, len(columns))
	for i, c := range columns {
		points := make([]plot.Point, len(r.samples))
		for j, v := range r.values(c) {
			points[j] = plot.Point{X: r.samples[j].at.Seconds() / end, Y: v}
		}
		panels[i] = plot.Panel{
			Title: strings.TrimSpace(c.name + " " + c.unit), Most: 1, Format: c.format, Lines: []plot.Line{{Points: points}},
		}
	}
	panels[len(panels)-1].Ticks = []plot.Tick{{X: 1, Text: time.Duration(end * float64(time.Second)).Round(time.Second).String()}}
	return plot.SVG(panels...)
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
