package chaos

import (
	"cmp"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
)

// Sound judges a plain answer after all has been well for a while: it must be whole. Where
// an edge can learn only on the way that what it has is not what there is, or that it can't
// keep it, an answer may be broken, once for each of these, and is to be asked for again.
// broken counts those before this one that were.
func (l *Ledger) Sound(a Answer, broken int) (again bool, err error) {
	verdict, err := l.Check(a)
	if err != nil {
		return false, err
	}
	there := slices.ContainsFunc(a.Visit.Paths, func(path string) bool { return !l.s.Object(path).Missing })
	switch {
	case there && verdict == Broken && broken < l.surprises(a.Visit.Paths):
		return true, nil
	case there && (a.Status != http.StatusOK || !a.Whole):
		return false, fmt.Errorf("status %d and %d bytes of what is there", a.Status, len(a.Body))
	case !there && a.Status != http.StatusNotFound:
		return false, fmt.Errorf("status %d of what is not there", a.Status)
	}
	return false, nil
}

// surprises returns how often what is at one of the paths can be other than an edge had to
// think: it does not say how large it is, has lied about that, or has changed; and then
// does not say that it is too large to be kept.
func (l *Ledger) surprises(paths []string) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, path := range paths {
		n = max(n, l.surprisesAt(path))
	}
	return n
}

// surprisesAt is surprises of one path. The caller holds l.mu.
func (l *Ledger) surprisesAt(path string) int {
	o := l.s.Object(path)
	misleads := l.versions[path] > 0
	for c := range l.claims[path] {
		misleads = misleads || c.size >= 0 && c.size != o.SizeOf(c.version)
	}
	switch unknown := o.Framing == "chunked"; {
	case misleads && unknown && l.s.Node.mostOfUnknown(path) < o.SizeOf(l.versions[path]):
		return 2
	case misleads || unknown:
		return 1
	}
	return 0
}

// mostOfUnknown is how large what is at a path may be for a node to keep it that is not
// told before it has all of it. Covers are never too large.
func (n Node) mostOfUnknown(path string) int64 {
	if strings.HasPrefix(path, "/art/") {
		return math.MaxInt64
	}
	return min(n.Memory, cmp.Or(n.MaxObject, math.MaxInt64))
}

// Plain returns a visit that asks for what is at a path, or the next best, and no more.
func (s Script) Plain(path string) Visit {
	for _, id := range s.Tracks {
		paths := pathsOf(id)
		v := Visit{What: "stream", Paths: paths[:2], Method: http.MethodGet, Proto: "1.1", Manner: "reads"}
		switch i := slices.Index(paths, path); {
		case i == 0:
			v.Target = "/cdn/stream/" + id
			return v
		case i == 1:
			v.Target = "/cdn/stream/" + id + "?quality=low"
			return v
		case i > 1:
			v.What, v.Paths, v.Target = "cover", paths[i:], "/cdn/art/"+id+"?quality="+covers[i-2]
			return v
		}
	}
	panic("no path of the script: " + path)
}
