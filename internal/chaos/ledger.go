package chaos

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

// Ledger is what an upstream has said, which is all that an edge can know. Its versions
// change when they are told to.
type Ledger struct {
	// Lag is how long what is said may be on its way, until the edge knows it. Who asks
	// meanwhile joins those who wait for it. None on a network in memory.
	Lag time.Duration

	s Script

	mu       sync.Mutex
	versions map[string]int // by path
	floors   map[string]int // before which everything was purged
	claims   map[string]map[claim]bool
	said     map[string]map[int]time.Time // when a version was last said to be there
	denials  map[string]time.Time
	empty    map[string]bool // by path: it was once said to have no bytes
	counts   map[string]int
	wrong    []error // with what the upstream was asked
}

// claim is that there is a version, and how large it is.
type claim struct {
	version int
	size    int64
}

func newLedger(s Script) *Ledger {
	return &Ledger{
		s: s, versions: make(map[string]int), floors: make(map[string]int),
		claims: make(map[string]map[claim]bool), said: make(map[string]map[int]time.Time),
		denials: make(map[string]time.Time), empty: make(map[string]bool), counts: make(map[string]int),
	}
}

// Change makes a new version of what is at the paths.
func (l *Ledger) Change(paths ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, path := range paths {
		l.versions[path]++
	}
}

// Purged notes that the edge has acknowledged a purge of the paths, at whose beginning
// the versions were those of a Moment: who asks from now on gets none from before.
func (l *Ledger) Purged(at Moment, paths ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, path := range paths {
		l.floors[path] = max(l.floors[path], at.versions[path])
	}
}

// Moment is what was known at some time.
type Moment struct {
	at               time.Time
	versions, floors map[string]int
}

// Now returns this moment.
func (l *Ledger) Now() Moment {
	l.mu.Lock()
	defer l.mu.Unlock()
	return Moment{time.Now(), maps.Clone(l.versions), maps.Clone(l.floors)}
}

// Counts returns how often each fault has happened.
func (l *Ledger) Counts() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.counts)
}

// Wrong returns what was wrong with the requests that the upstream got.
func (l *Ledger) Wrong() []error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.wrong)
}

func (l *Ledger) version(path string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.versions[path]
}

func (l *Ledger) count(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[what]++
}

// claim notes that a version is there, of a size; -1 if that is not said.
func (l *Ledger) claim(o Object, version int, size int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.said[o.Path] == nil {
		l.said[o.Path], l.claims[o.Path] = make(map[int]time.Time), make(map[claim]bool)
	}
	l.said[o.Path][version] = time.Now()
	if size == 0 { // which no track has
		l.empty[o.Path], l.denials[o.Path] = true, time.Now()
	}
	l.claims[o.Path][claim{version, size}] = true
}

func (l *Ledger) denied(path string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.denials[path] = time.Now()
}

func (l *Ledger) saysEmpty(path string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.empty[path] = true
}

// asked are the fields that an edge may send.
var asked = []string{
	"Accept", "Accept-Encoding", "Cdn-Loop", "If-Modified-Since", "If-None-Match", "If-Range", "Range", "User-Agent", "Via",
}

// checkRequest notes what a request has that is none of an upstream's business.
func (l *Ledger) checkRequest(r *http.Request) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, values := range r.Header {
		if !slices.Contains(asked, name) || strings.Contains(strings.Join(values, "\n"), clientSecret) {
			l.wrong = append(l.wrong, fmt.Errorf("the upstream was sent %s: %q", name, values))
		}
	}
	if r.Method != http.MethodGet {
		l.wrong = append(l.wrong, fmt.Errorf("the upstream was asked to %s", r.Method))
	}
}
