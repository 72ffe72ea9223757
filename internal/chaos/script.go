package chaos

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Script is what is drawn from a seed. Of what happens at a path, and to one request
// there, it is drawn anew each time that it is asked for, with the same result: so an
// Upstream has an answer for any path, and the order of requests for different ones does
// not matter.
type Script struct {
	Seed    uint64
	Trouble int      // how many of 100 answers have a fault
	Themes  []string // the faults that half of those have
	Node    Node
	Tracks  []string // source IDs
	Visits  []Visit
	Events  []Event
}

// Node is how the edge is configured.
type Node struct {
	Slice, Memory int64
	Covers        int
	ReadAhead     int
	Disk          int64 // bytes; 0 for none
	TTL           time.Duration
	Negative      time.Duration
	Revalidate    time.Duration // stale_while_revalidate
	IfError       time.Duration // stale_if_error
	MaxObject     int64         // of streams; 0 for no bound
	Conns         int           // max_conns_per_host
	Remembered    bool          // a resolver that has its answers remembered comes first
}

// Event is what happens besides requests.
type Event struct {
	At    time.Duration
	Kind  string
	Track int
}

// Events are all that may happen to a node.
var Events = []string{
	"change", "purge", "purge all", "purge with change", "reload", "failed reload", "limits", "disk fails", "disk is lost",
}

const (
	trackCount  = 3
	visitsMost  = 24
	eventsMost  = 8
	scriptShown = 8 // answers of a path, in a script's text
)

// Draw returns the script of a seed.
func Draw(seed uint64) Script {
	r := draw(seed, "script")
	s := Script{
		Seed:    seed,
		Trouble: pick(r, 0, 10, 30, 50, 50, 80, 95),
		Node: Node{
			Slice:      pick[int64](r, 16<<10, 16<<10, 64<<10),
			Covers:     pick(r, 2, 100),
			ReadAhead:  pick(r, 0, 1, 2, 2),
			TTL:        pick(r, 5*time.Second, time.Minute, time.Hour),
			Negative:   pick(r, time.Second, time.Minute),
			Revalidate: pick(r, 0, 0, 10*time.Second),
			IfError:    pick(r, 0, 0, time.Minute),
			MaxObject:  pick[int64](r, 0, 0, 0, 100_000),
			Conns:      pick(r, 1, 2, 50, 50),
			Remembered: r.IntN(2) == 0,
		},
	}
	s.Node.Memory = s.Node.Slice * pick[int64](r, 8, 8, 12, 64)
	if r.IntN(2) == 0 {
		s.Node.Disk = 2<<20 + s.Node.Slice*pick[int64](r, 80, 80, 400)
	}
	for range 1 + r.IntN(2) {
		s.Themes = append(s.Themes, faults[r.IntN(len(faults))].name)
	}
	for range trackCount {
		s.Tracks = append(s.Tracks, drawID(r))
	}
	for range 4 + r.IntN(visitsMost-4) {
		s.Visits = append(s.Visits, s.drawVisit(r))
	}
	for range r.IntN(eventsMost) {
		s.Events = append(s.Events, Event{At: drawMoment(r), Kind: pick(r, Events...), Track: r.IntN(trackCount)})
	}
	slices.SortStableFunc(s.Visits, func(a, b Visit) int { return int(a.At - b.At) })
	slices.SortStableFunc(s.Events, func(a, b Event) int { return int(a.At - b.At) })
	return s
}

// drawMoment returns one at which something happens: mostly at about the same time as
// something else.
func drawMoment(r *rand.Rand) time.Duration {
	at := time.Duration(r.IntN(6)) * pick(r, 0, time.Millisecond, 40*time.Millisecond, 3*time.Second, 20*time.Second)
	return at + time.Duration(r.IntN(3))*time.Millisecond
}

func drawID(r *rand.Rand) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	id := make([]byte, 11)
	for i := range id {
		id[i] = alphabet[r.IntN(len(alphabet))]
	}
	return string(id)
}

// Paths lists where the files of the tracks are, as the edge's resolvers have it.
func (s Script) Paths() (paths []string) {
	for _, id := range s.Tracks {
		paths = append(paths, pathsOf(id)...)
	}
	return paths
}

// PathsOf lists those of one track.
func (s Script) PathsOf(track int) []string { return pathsOf(s.Tracks[track]) }

// Reply is what an upstream does with one request.
type Reply struct {
	Fault string        // empty for none
	At    float64       // where in the body, as a part of it
	Delay time.Duration // before anything is sent
	Times int           // that the fault does what it may do several times
}

func (r Reply) String() string {
	text := r.Fault
	if text == "" {
		text = "right"
	}
	if r.Fault != "" {
		text += fmt.Sprintf(" at %.2f", r.At)
	}
	if r.Delay > 0 {
		text += fmt.Sprintf(" after %s", r.Delay)
	}
	return text
}

// Reply returns what an upstream does with the nth request for a path.
func (s Script) Reply(path string, n int) Reply {
	r := draw(s.Seed, "reply", path, fmt.Sprint(n))
	reply := Reply{At: r.Float64(), Times: 1 + r.IntN(9)}
	if r.IntN(8) == 0 { // at the edges of what is sent
		reply.At = float64(r.IntN(2))
	}
	if r.IntN(3) == 0 {
		reply.Delay = time.Duration(r.IntN(50)) * pick(r, time.Millisecond, 100*time.Millisecond)
	}
	switch {
	case r.IntN(100) >= s.Trouble:
	case r.IntN(2) == 0:
		reply.Fault = pick(r, s.Themes...)
	default:
		reply.Fault = faults[r.IntN(len(faults))].name
	}
	return reply
}

// Welcome returns what happens to the nth connection to an upstream. Only a Network can
// have it "refused".
func (s Script) Welcome(n int) string {
	r := draw(s.Seed, "welcome", fmt.Sprint(n))
	if r.IntN(400) >= s.Trouble {
		return ""
	}
	return pick(r, Welcomes...)
}

// Welcomes are all that may happen to a connection besides what happens to requests.
var Welcomes = []string{"refused", "closed", "reset", "ignored"}

// Guess returns what the nth answer is of a resolver that has its answers remembered: ""
// for a right one.
func (s Script) Guess(n int) string {
	r := draw(s.Seed, "guess", fmt.Sprint(n))
	if r.IntN(200) >= s.Trouble {
		return ""
	}
	return pick(r, "knows nothing", "fails", "hangs", "is wrong", "is wrong first")
}

// String is the script as a person reads it.
func (s Script) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %d%% of answers have a fault, half of those: %s\n", s.Seed, s.Trouble, strings.Join(s.Themes, ", "))
	fmt.Fprintf(&b, "node: %+v\n", s.Node)
	for _, path := range s.Paths() {
		fmt.Fprintf(&b, "%s\n\tanswers:", s.Object(path))
		for n := range scriptShown {
			fmt.Fprintf(&b, " %d. %s;", n+1, s.Reply(path, n))
		}
		b.WriteString("\n")
	}
	b.WriteString("connections:")
	for n := range 4 * scriptShown {
		if what := s.Welcome(n); what != "" {
			fmt.Fprintf(&b, " %d. %s;", n+1, what)
		}
	}
	b.WriteString("\n")
	for i, v := range s.Visits {
		fmt.Fprintf(&b, "client %d: %s\n", i, v)
	}
	for _, e := range s.Events {
		fmt.Fprintf(&b, "event: at %s %s, track %d\n", e.At, e.Kind, e.Track)
	}
	return b.String()
}

// draw returns the source of what is drawn from a seed for some purpose.
func draw(seed uint64, purpose ...string) *rand.Rand {
	return rand.New(rand.NewPCG(seed, hash(strings.Join(purpose, "\n")))) //nolint:gosec // it must be repeatable
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }
