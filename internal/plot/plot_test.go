package plot

import (
	"bytes"
	"encoding/xml"
	"fmt"
	"io"
	"strings"
	"testing"
)

// What is drawn is well-formed, within its frame, and has a line and a name for each.
func TestSVG(t *testing.T) {
	format := func(y float64) string { return fmt.Sprintf("%g <&", y) }
	svg := SVG(
		Panel{Title: "a & b", Format: format, Lines: []Line{{Points: []Point{{0, 5}, {1, 10}}}}},
		Panel{
			Title: "two", Format: format, Most: 100, Tall: 2, Ticks: []Tick{{0.5, "half"}, {1, "end"}},
			Lines: []Line{{"first", []Point{{0, 0}, {1, 50}}}, {"second", []Point{{0, 100}}}},
		},
		Panel{Title: "nothing", Format: format, Lines: []Line{{}}},
	)
	lines, texts := map[string]int{}, ""
	for dec := xml.NewDecoder(bytes.NewReader(svg)); ; {
		token, err := dec.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch e := token.(type) {
		case xml.StartElement:
			for _, a := range e.Attr {
				if e.Name.Local == "polyline" && a.Name.Local == "points" {
					lines[a.Value]++
				}
			}
		case xml.CharData:
			texts += string(e)
		}
	}
	for _, want := range []string{
		"64.0,64.0 784.0,24.0",   // from half to the top of a frame of 80 that begins at 24
		"64.0,298.0 784.0,218.0", // from the bottom to half of one of 160 that begins at 138
		"64.0,138.0",
		"",
	} {
		if lines[want] != 1 {
			t.Errorf("%q is drawn %d times: %v", want, lines[want], lines)
		}
	}
	for _, want := range []string{"a & b", "10 <&", "100 <&", "1 <&", "first", "second", "half", "end"} {
		if !strings.Contains(texts, want) {
			t.Errorf("%q is not written", want)
		}
	}
}
