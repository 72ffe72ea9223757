package chaos

import (
	"fmt"
	"net/http"
	"slices"
)

// Sound judges a plain answer after all has been well for a while: it must be whole. Where
// an edge can learn only on the way that what it has is not what there is, an answer may be
// broken, once, and is to be asked for again.
func (l *Ledger) Sound(a Answer) (again bool, err error) {
	verdict, err := l.Check(a)
	if err != nil {
		return false, err
	}
	there := slices.ContainsFunc(a.Visit.Paths, func(path string) bool { return !l.s.Object(path).Missing })
	switch {
	case there && verdict == Broken && slices.ContainsFunc(a.Visit.Paths, l.surprises):
		return true, nil
	case there && (a.Status != http.StatusOK || !a.Whole):
		return false, fmt.Errorf("status %d and %d bytes of what is there", a.Status, len(a.Body))
	case !there && a.Status != http.StatusNotFound:
		return false, fmt.Errorf("status %d of what is not there", a.Status)
	}
	return false, nil
}

// surprises reports whether what is at a path can be other than an edge had to think: it
// does not say how large it is, has lied about that, or has changed.
func (l *Ledger) surprises(path string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := l.s.Object(path)
	if o.Framing == "chunked" || l.versions[path] > 0 {
		return true
	}
	for c := range l.claims[path] {
		if c.size != o.SizeOf(c.version) {
			return true
		}
	}
	return false
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
