package main

import (
	"bytes"
	"encoding/xml"
	"slices"
	"testing"
)

// The chart is well-formed, and its bars are as long as their medians are large.
func TestChart(t *testing.T) {
	var b bytes.Buffer
	chart(&b, []record{
		{server: "nginx", workload: "W5", figures: map[string]float64{"first p50": 50}},
		{server: "edge", workload: "W5", figures: map[string]float64{"first p50": 20}},
		{server: "edge", workload: "W5", figures: map[string]float64{"first p50": 30}},
		{server: "broken", workload: "W5", failed: map[string]int{"not measured": 1}},
		{server: "nginx", workload: "W1", figures: map[string]float64{"rate": 1, "cpu each": 0}},
	})
	var drawn struct {
		Bars []struct {
			Width string  `xml:"width,attr"`
			X     float64 `xml:"x,attr"`
		} `xml:"rect"`
		Texts []string `xml:"text"`
	}
	if err := xml.Unmarshal(b.Bytes(), &drawn); err != nil {
		t.Fatal(err)
	}
	var widths []string
	for _, bar := range drawn.Bars {
		widths = append(widths, bar.Width)
	}
	want := []string{"100%", "1.0", "280.0", "560.0"} // the ground, nginx in W1, the edge, nginx
	if !slices.Equal(widths, want) || len(drawn.Texts) != 2+2*3 {
		t.Errorf("bars of %q, not %q, and texts %q", widths, want, drawn.Texts)
	}
}
