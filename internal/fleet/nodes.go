package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"time"
)

// Node is one that is registered, or one that has answered.
type Node struct {
	Name     string
	Version  string
	Instance string    // its process; random
	Since    time.Time // when that has opened the log
	Renewed  time.Time // when NATS last took its registration; zero if it has none

	// Answered is whether it has answered. Status is what: the JSON of its
	// Config.Status, or nil.
	Answered bool
	Status   json.RawMessage
}

// Nodes returns the nodes that are registered, sorted by name, after each has answered
// or statusPatience is over or the context is done. Two processes that have the
// same name and answer both are two nodes. Its errors are ErrUnknownNodes and the context's.
func (l *Log) Nodes(ctx context.Context) ([]Node, error) { return nil, ErrUnknownNodes }

// CheckNode checks a node's name: 1 to 128 letters, digits and "-", "_", ".", "=" and "/",
// neither beginning nor ending with a dot, nor with two in a row, as the keys of NATS'
// buckets.
func CheckNode(name string) error { return errors.New("not yet") }
