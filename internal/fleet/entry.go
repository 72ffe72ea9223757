package fleet

import (
	"crypto/rand"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Kind is what an entry has to be applied as.
type Kind string

// The kinds of entries. Purge, Takedown and Lift are appended, the others are only told
// to followers.
const (
	// Purge makes the nodes forget what Data says.
	Purge Kind = "purge"

	// Takedown has the nodes refuse the track ID, until it is lifted.
	Takedown Kind = "takedown"

	// Lift ends the takedown of the track ID.
	Lift Kind = "lift"

	// Reset says that what was in the log behind the position that the follower had can
	// no longer be known: more than maxPurges were purged meanwhile, somebody has
	// removed entries, or the stream is another one. Everything that is stored must
	// count as purged. What there is in the stream of takedowns and lifts is then told
	// anew, from its beginning; purges that the reset has made needless are not.
	// Its position is that of the stream's beginning.
	//
	// If NATS is away it can also say that what this node has said to have applied is not
	// known to this follower. Its position is the follower's own then: see Follow.
	//
	// If the stream is another one than that of the position before, then takedowns
	// that were known need not be in it. It is safe to keep them: what was taken down
	// does not come back because somebody has deleted a stream.
	Reset Kind = "reset"

	// Skip says that there is nothing to do up to its position. It comes at the end of
	// what is told anew behind a Reset.
	Skip Kind = "skip"
)

// Position is a place in the log: that behind the entry of this number. The zero value is
// that of a follower that has never applied anything.
type Position struct {
	// Stream is the identity of the stream: the time at which it was made. Another one
	// of the same name has another one.
	Stream string `json:"stream"`

	// Seq is the sequence number of the entry in the stream, from 1 on.
	Seq uint64 `json:"seq"`

	// Time is when the servers of NATS got the entry, in nanoseconds of Unix time. It tells
	// it from another one of the same number: a stream that is restored from a backup goes
	// on from where that ends. 0: it is not known.
	Time int64 `json:"time,omitempty"`
}

// Reaches returns whether all is applied up to a position that is so up to another one.
func (p Position) Reaches(other Position) bool {
	return p.Stream == other.Stream && p.Seq >= other.Seq
}

// Entry is one of the log, as it is told to followers.
type Entry struct {
	Position

	Kind Kind
	ID   string    // of the track; of Takedown and Lift
	Data []byte    // as it was appended
	Time time.Time // at which the servers of NATS have got it; that of Reset and Skip is zero
	More bool      // others were appended together with it, behind it: nobody waits to hear of it alone

	// Covers is, of a Reset at the stream's beginning, up to which entry it has made purges
	// needless: the last one that there was.
	Covers uint64
}

// Draft is an entry to be appended.
type Draft struct {
	Kind Kind   // Purge, Takedown or Lift
	ID   string // for Takedown and Lift: 1 to 64 letters, digits, "-" and "_"
	Data []byte // at most MaxData bytes; may be nil
}

// MaxData is how many bytes the data of an entry may have, so that it, with its
// headers, is no longer than the megabyte that servers of NATS take by default.
const MaxData = 1<<20 - 4<<10

// MaxDrafts is how many entries can be appended together.
const MaxDrafts = 1000

const (
	kindHeader  = "Voyo-Kind"
	replyHeader = "Voyo-Reply" // the instance that waits for answers, a dot and the ID of its call
	moreHeader  = "Voyo-More"  // is there if there are more entries of this call: only failures are answered then
)

// trackID is what a subject's token may be made of.
var trackID = regexp.MustCompile(`^[-_A-Za-z0-9]{1,64}$`)

// compose returns the message of a draft.
func (d Draft) compose(reply string) (*nats.Msg, error) {
	m := nats.NewMsg(purgeSubject)
	switch d.Kind {
	case Purge:
		if d.ID != "" {
			return nil, fmt.Errorf("%w: a purge has no ID", ErrInvalid)
		}
	case Takedown, Lift:
		if !trackID.MatchString(d.ID) {
			return nil, fmt.Errorf("%w: ID %q", ErrInvalid, d.ID)
		}
		m.Subject = takedownSubject + d.ID
	default:
		return nil, fmt.Errorf("%w: kind %q", ErrInvalid, d.Kind)
	}
	if len(d.Data) > MaxData {
		return nil, fmt.Errorf("%w: it has %d bytes, and may have %d", ErrInvalid, len(d.Data), MaxData)
	}
	m.Data = d.Data
	m.Header.Set(kindHeader, string(d.Kind))
	m.Header.Set(replyHeader, reply)
	m.Header.Set(jetstream.MsgIDHeader, rand.Text()) // however often it is sent, it is in the log once
	return m, nil
}

// parse returns the entry that a message is, false if it is none that this version
// knows.
func parse(m jetstream.Msg, at Position, sent time.Time) (Entry, bool) {
	e := Entry{Position: at, Data: m.Data(), Time: sent, More: m.Headers().Get(moreHeader) != ""}
	id, takedown := strings.CutPrefix(m.Subject(), takedownSubject)
	kind := Kind(m.Headers().Get(kindHeader))
	switch {
	case m.Subject() == purgeSubject:
		e.Kind = Purge
	case takedown && kind == Lift:
		e.Kind, e.ID = Lift, id
	case takedown:
		e.Kind, e.ID = Takedown, id
	default:
		return e, false
	}
	return e, true
}
