package voyo_test

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/tabwriter"
	"time"
)

// reading is what is read of an edge at one moment.
type reading struct {
	usage

	resident     int64 // bytes
	hits, misses float64
}

// figures reads them all.
func (c *child) figures(t *testing.T) reading {
	t.Helper()
	s := c.series(t)
	f := reading{usage: usage{int(s["go_goroutines"]), len(c.descriptors(t))}, resident: int64(s["process_resident_memory_bytes"])}
	f.hits = s.sum("requests_total", `cache="hit"`)
	f.misses = s.sum("requests_total") - f.hits
	return f
}

// sample is a row of a soak's record.
type sample struct {
	at time.Duration
	reading

	hitRatio                float64 // since the sample before
	requests, honest, wrong int64   // since then
}

// record is what has been noted of a soak.
type record struct {
	began   time.Time
	samples []sample
	last    reading
	counted [3]int64
}

// add notes what there is now.
func (r *record) add(f reading, s *soak) {
	counted := [3]int64{s.requests.Load(), s.honest.Load(), s.wrong.Load()}
	row := sample{at: time.Since(r.began), reading: f}
	if all := f.hits + f.misses - r.last.hits - r.last.misses; all > 0 {
		row.hitRatio = (f.hits - r.last.hits) / all
	}
	row.requests, row.honest, row.wrong = counted[0]-r.counted[0], counted[1]-r.counted[1], counted[2]-r.counted[2]
	r.samples, r.last, r.counted = append(r.samples, row), f, counted
}

// column is one of a record's.
type column struct {
	name, unit string
	digits     int
	value      func(sample) float64
}

var columns = []column{
	{"resident memory", "MiB", 1, func(s sample) float64 { return float64(s.resident) / (1 << 20) }},
	{"goroutines", "", 0, func(s sample) float64 { return float64(s.goroutines) }},
	{"descriptors", "", 0, func(s sample) float64 { return float64(s.files) }},
	{"hit ratio", "%", 1, func(s sample) float64 { return 100 * s.hitRatio }},
	{"requests", "", 0, func(s sample) float64 { return float64(s.requests) }},
	{"honest errors", "", 0, func(s sample) float64 { return float64(s.honest) }},
	{"wrong answers", "", 0, func(s sample) float64 { return float64(s.wrong) }},
}

// values returns a column, from top to bottom.
func (r *record) values(c column) (list []float64) {
	for _, s := range r.samples {
		list = append(list, c.value(s))
	}
	return list
}

func (c column) format(v float64) string { return strconv.FormatFloat(v, 'f', c.digits, 64) }

// csv is the record, a line for each sample.
func (r *record) csv() []byte {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	head := []string{"seconds"}
	for _, c := range columns {
		head = append(head, strings.TrimSpace(c.name+" "+c.unit))
	}
	_ = w.Write(head) // to memory
	for _, s := range r.samples {
		row := []string{strconv.FormatFloat(s.at.Seconds(), 'f', 1, 64)}
		for _, c := range columns {
			row = append(row, c.format(c.value(s)))
		}
		_ = w.Write(row)
	}
	w.Flush()
	return b.Bytes()
}

// table is the record in short: of each column the least, the median, the most and the
// last, and the sum of what is counted.
func (r *record) table() string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\n%d samples in %s\t\tleast\tmedian\tmost\tlast\tsum\t\n", len(r.samples), time.Since(r.began).Round(time.Second))
	for i, c := range columns {
		values := r.values(c)
		last, sum := values[len(values)-1], ""
		if i >= len(columns)-len(r.counted) {
			sum = strconv.FormatInt(r.counted[i-len(columns)+len(r.counted)], 10)
		}
		slices.Sort(values)
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", c.name, c.unit, c.format(values[0]), c.format(values[len(values)/2]), c.format(values[len(values)-1]), c.format(last), sum)
	}
	_ = w.Flush() // to memory
	return b.String()
}

// judge says what grows that should not: resident memory beyond the bound, or in the last
// third of the time beyond the first, by more than the garbage collector makes of it.
func (r *record) judge(bound float64) error {
	const margin = 1.25
	resident := r.values(columns[0])
	if len(resident) < 9 {
		return errors.New("too few samples to judge by")
	}
	bound /= 1 << 20
	third := len(resident) / 3
	first, last, most := slices.Max(resident[:third]), slices.Max(resident[len(resident)-third:]), slices.Max(resident)
	switch {
	case most > bound:
		return fmt.Errorf("%.0f MiB were resident, which is more than %.0f", most, bound)
	case last > first*margin:
		return fmt.Errorf("resident memory grows: at most %.0f MiB in the first third, %.0f in the last", first, last)
	}
	return nil
}
