package voyo

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/voyo-music/caddy-voyo/internal/chaos"
)

// chaosSum is what has happened in all runs together.
type chaosSum struct {
	runs, failed atomic.Int64

	mu     sync.Mutex
	counts map[string]int // "kind: name"
}

func newChaosSum() *chaosSum { return &chaosSum{counts: make(map[string]int)} }

func (s *chaosSum) count(what string, times int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts[what] += times
}

// String is the sum as a person reads it.
func (s *chaosSum) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var b strings.Builder
	fmt.Fprintf(&b, "%d runs", s.runs.Load())
	last := ""
	for _, what := range slices.Sorted(maps.Keys(s.counts)) {
		kind, name, _ := strings.Cut(what, ": ")
		if kind != last {
			fmt.Fprintf(&b, "\n%s:", kind)
		}
		fmt.Fprintf(&b, " %d %s;", s.counts[what], name)
		last = kind
	}
	return b.String()
}

// missing returns what there is and has not happened: it has not been tried.
func (s *chaosSum) missing() (what []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for kind, names := range map[string][]string{
		"faults": slices.Concat(chaos.Faults(), []string{"connection refused", "connection closed", "connection reset", "connection ignored"}),
		"events": chaos.Events, "clients": chaos.Manners, "asked for": chaos.Kinds,
		"answers": {"right", "broken", "left", "nothing", "error 400", "error 404", "error 405", "error 416", "error 502", "error 504"},
	} {
		for _, name := range names {
			if s.counts[kind+": "+name] == 0 {
				what = append(what, kind+": "+name)
			}
		}
	}
	return what
}
