// Package fleet is what the nodes of a fleet have in common: a log of what every one
// of them has to apply, in order and even if it was away, and a list of the nodes.
// Both are kept by NATS JetStream, in a stream and a key-value bucket that are
// replicated on three servers, where there are so many.
package fleet

import (
	"encoding/json"
	"time"
)

// Config says how to reach the fleet, and as whom.
type Config struct {
	// URLs are those of the servers of NATS, with one of the schemes nats, tls, ws and
	// wss, or without a scheme, which is nats. The user and the password, or the
	// token, that one of them has may be secrets.
	URLs []string

	// Credentials is the path of a file that has the JWT and the seed of a user, as
	// nsc makes it. Empty: there is none. It is read anew for each connection.
	Credentials string

	// Node is the name of this node, which no other one of the fleet has: see CheckNode.
	Node string

	// Version is that of the program, for those who look at the fleet.
	Version string

	// Status returns the JSON that this node answers when Nodes is called on any one of
	// the fleet; at most MaxStatus bytes. It is called by one goroutine at a time, and
	// may be nil.
	Status func() json.RawMessage

	Events Events
}

// MaxStatus is how many bytes the status of a node may have. A longer one is not
// answered.
const MaxStatus = 256 << 10

// Events are called when something happens. They are called in order, one at a time,
// by goroutines that wait for them, and must not call methods of the Log but Status.
// Each may be nil.
type Events struct {
	// Changed is called when a member of the Status other than Applied, Last and Lag
	// has changed.
	Changed func(Status)

	// Failed is called each time that an entry could not be applied. Its error may be
	// a *contain.PanicError.
	Failed func(Entry, error)

	// Panicked is called when Config.Status panicked, with a *contain.PanicError.
	Panicked func(error)
}

// Status is how this node stands in its fleet.
type Status struct {
	// Connected is whether there is a connection to a server of NATS.
	Connected bool

	// Current is whether this node is known to all the others, and has applied, with
	// all its followers, what was in the log when it last connected. It becomes false
	// with the connection, and also when the log can't be read for longer than
	// lapseAfter or when an entry can't be applied.
	Current bool

	// Reason says in words why it is not Current, or that another node has the same
	// name. It has no URLs, names of users or files, and is empty if all is well.
	Reason string

	// Applied is the sequence number up to which all followers have applied the log, 0
	// without one. Last is the last one that is known to be in the log, and Lag how many
	// are between them.
	Applied, Last, Lag uint64
}

// Log is a node's connection to its fleet. Its methods can be called by any number of
// goroutines.
type Log struct{}

// Validate checks the configuration without the network. Its errors tell URLs by their
// position and have nothing that could be secret. It reads the file of credentials.
func (c Config) Validate() error { return nil }

// Open returns a log that connects in the background, as often as it has to until it is
// closed. Its errors are those of Validate: what can be well later is none. The stream
// and the bucket are made if they are missing.
func Open(c Config) (*Log, error) { return new(Log), c.Validate() }

// Close ends the followers, waits for what they apply, whose context is done, and
// disconnects. The node stays registered, so that others know that it has to be told
// of what it misses, until it has not been seen for memberTTL.
func (l *Log) Close() {}

// Status returns how this node stands in its fleet.
func (l *Log) Status() Status { return Status{} }

// openPatience is how long after Open a follower's Await waits for NATS.
const openPatience = 5 * time.Second
