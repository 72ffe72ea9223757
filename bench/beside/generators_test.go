package main

import (
	"maps"
	"testing"
)

func newTurn() *turn {
	return &turn{figures: make(map[string]float64), failed: make(map[string]int)}
}

// What h2load 1.52.0 says of a server each tenth of whose answers is a 404.
const h2loadOutput = `starting benchmark...
progress: 100% of clients started
Application protocol: http/1.1

finished in 1.01s, 17692.00 req/s, 3.67MB/s
requests: 17692 total, 17693 started, 17692 done, 15923 succeeded, 1769 failed, 0 errored, 0 timeout
status codes: 15923 2xx, 0 3xx, 1769 4xx, 0 5xx
traffic: 3.67MB (3851547) total, 1.45MB (1521598) headers (space savings 0.00%), 1.69MB (1769300) data
                     min         max         mean         sd        +/- sd
time for request:       20us     93.13ms        56us       773us    99.90%
time for connect:        6us         6us         6us         0us   100.00%
`

func TestReadH2load(t *testing.T) {
	k := newTurn()
	if err := k.readH2load([]byte(h2loadOutput)); err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{"rate": 17692, "served": 15923, "mean": 0.056}
	if !maps.Equal(k.figures, want) || k.failed["h2load's failures"] != 1769 {
		t.Error(k.figures, k.failed)
	}
	if err := k.readH2load([]byte("finished in 1.00s, 0.00 req/s")); err == nil {
		t.Error("half of its output will do")
	}
}

func TestReadWrk(t *testing.T) {
	const line = `{"Requests": 3000, "Duration": 2000000, "Failed": 2, "P50": 700.000000, "P99": 9100.000000}` + "\n"
	k := newTurn()
	if err := k.readWrk([]byte("Requests/sec:  1500.00\nTransfer/sec:      1.00MB\n" + line)); err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{"served": 3000, "rate": 1500, "total p50": 0.7, "total p99": 9.1}
	if !maps.Equal(k.figures, want) || k.failed["wrk's failures"] != 2 {
		t.Error(k.figures, k.failed)
	}
	if err := k.readWrk([]byte("Requests/sec:  1500.00\n")); err == nil {
		t.Error("output without figures will do")
	}
}
