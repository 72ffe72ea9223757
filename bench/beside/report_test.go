package main

import (
	"strings"
	"testing"
	"time"
)

func TestMedian(t *testing.T) {
	for want, of := range map[float64][]float64{7: {7}, 3: {9, 1, 3}, 4: {5, 1, 3, 100}} {
		if got := median(of); got != want {
			t.Errorf("the median of %v is %v, not %v", of, got, want)
		}
	}
}

func TestQuantile(t *testing.T) {
	d := make([]time.Duration, 200)
	for i := range d {
		d[len(d)-1-i] = time.Duration(i + 1)
	}
	for share, want := range map[float64]time.Duration{0.5: 100, 0.99: 198, 1: 200} {
		if got := quantile(d, share); got != want {
			t.Errorf("%v: %d, not %d", share, got, want)
		}
	}
	if got := quantile(d[:1], 0.5); got != 200 {
		t.Errorf("of one: %d", got)
	}
}

// What is best is first, what has no figure last; ratios are those of medians, and failures
// are summed up.
func TestReport(t *testing.T) {
	of := []record{
		{server: "nginx", workload: "W5", figures: map[string]float64{"first p50": 50, "upstream MiB": 1}},
		{server: "nginx", workload: "W5", figures: map[string]float64{"first p50": 52, "upstream MiB": 1}},
		{server: "broken", workload: "W5", failed: map[string]int{"not measured": 1}},
		{server: "edge", workload: "W5", figures: map[string]float64{"first p50": 25.5}, failed: map[string]int{"wrong bytes": 2}},
		{server: "edge", workload: "W5", figures: map[string]float64{"first p50": 25.5}, failed: map[string]int{"wrong bytes": 1}},
		{server: "nginx", workload: "W1", figures: map[string]float64{"rate": 2000}},
		{server: "edge", workload: "W1", figures: map[string]float64{"rate": 3000}},
	}
	var b strings.Builder
	report(&b, of)
	var rows []string
	for line := range strings.Lines(b.String()) {
		if strings.HasPrefix(line, "## ") || strings.HasPrefix(line, "| ") && !strings.HasPrefix(line, "| -") {
			rows = append(rows, strings.TrimSpace(line))
		}
	}
	want := []string{
		"## W1: 100 warm covers of 20 KiB, 64 connections (wrk)",
		"| server | requests/s | least–most | / nginx | CPU µs/request | least–most | / nginx | total p50 ms | p99 ms" +
			" | upstream requests | failures |",
		"| edge | 3000 | 3000–3000 | 1.50 | - | - | - | - | - | - |  |",
		"| nginx | 2000 | 2000–2000 | 1.00 | - | - | - | - | - | - |  |",
		"## W5: 128 KiB at 60 MiB of a cold video of 64 MiB (origin: 50 ms, 8 MiB/s)",
		"| server | first byte ms | least–most | / nginx | total ms | least–most | / nginx | upstream requests | upstream MiB" +
			" | failures |",
		"| edge | 25.5 | 25.5–25.5 | 0.50 | - | - | - | - | - | 3 × wrong bytes |",
		"| nginx | 51 | 50–52 | 1.00 | - | - | - | - | 1 |  |",
		"| broken | - | - | - | - | - | - | - | - | 1 × not measured |",
	}
	if got, want := strings.Join(rows, "\n"), strings.Join(want, "\n"); got != want {
		t.Errorf("the report is\n%s\nnot\n%s", got, want)
	}
}
