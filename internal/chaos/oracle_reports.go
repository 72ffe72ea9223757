package chaos

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// checkReport checks an answer that is about tracks and not of them.
func (l *Ledger) checkReport(a Answer) error {
	if !a.Whole || a.Visit.Method == http.MethodHead {
		return nil
	}
	var said struct {
		Exists *bool
		Size   int64
		URL    string
		Status string
	}
	if err := json.Unmarshal(a.Body, &said); err != nil {
		return fmt.Errorf("%w: %.200q", err, a.Body)
	}
	var right bool
	switch a.Visit.What {
	case "exists":
		denied := l.checkDenial(a) == nil || l.saidEmpty(a)
		right = said.Exists != nil && (*said.Exists || denied) && (said.Size == 0 || l.claimed(a, said.Size))
	case "locate":
		right = strings.HasPrefix(said.URL, "http://edge.example/cdn/stream/vyo_")
	default:
		right = a.Status == http.StatusAccepted && (said.Status == "warming" || said.Status == "busy")
	}
	if !right {
		return fmt.Errorf("status %d says %s", a.Status, a.Body)
	}
	return nil
}

// claimed reports whether an upstream has ever claimed a size: who asks may join an older
// question.
func (l *Ledger) claimed(a Answer, size int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, path := range a.Visit.Paths {
		for c := range l.claims[path] {
			if c.size == size {
				return true
			}
		}
	}
	return false
}

// saidEmpty reports whether an upstream has said that what is asked for has no bytes, as
// no track has.
func (l *Ledger) saidEmpty(a Answer) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(a.Visit.Paths, func(path string) bool { return l.empty[path] })
}
