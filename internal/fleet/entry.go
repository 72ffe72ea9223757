package fleet

import "time"

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
}

// Entry is one of the log, as it is told to followers.
type Entry struct {
	Position

	Kind Kind
	ID   string    // of the track; of Takedown and Lift
	Data []byte    // as it was appended
	Time time.Time // at which the servers of NATS have got it; that of Reset and Skip is zero
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
