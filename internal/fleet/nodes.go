package fleet

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"
)

const (
	// statusPatience bounds how long Nodes waits for what the nodes answer.
	statusPatience = 2 * time.Second

	// maxLookups bounds how many registrations are looked up together.
	maxLookups = 8
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
func (l *Log) Nodes(ctx context.Context) ([]Node, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()
	names, err := l.names(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnknownNodes, ctx.Err())
		}
		return nil, fmt.Errorf("%w: %s", ErrUnknownNodes, reasonOf(err))
	}
	c, reply := l.begin()
	defer l.finish(reply)
	asked := time.Now()
	if err := l.ask(reply); err != nil {
		return nil, fmt.Errorf("%w: %s", ErrUnknownNodes, reasonOf(err))
	}
	patience, end := context.WithTimeout(ctx, statusPatience)
	defer end()
	answers := l.gather(patience, c, names, func(instances [][]answer) bool { return len(instances) > 0 })
	pause(ctx, time.Until(asked.Add(sureAfter))) // there may be two of a name
	list, err := l.describe(ctx, l.answersTo(c, slices.Collect(maps.Keys(answers))))
	if err != nil {
		return nil, err
	}
	slices.SortFunc(list, func(a, b Node) int {
		if a.Name != b.Name {
			return strings.Compare(a.Name, b.Name)
		}
		return a.Since.Compare(b.Since)
	})
	return list, nil
}

// ask calls all nodes for their status.
func (l *Log) ask(reply string) error {
	nc, _, err := l.link()
	if err != nil {
		return err
	}
	m := nats.NewMsg(statusSubject)
	m.Header.Set(replyHeader, reply)
	return nc.PublishMsg(m)
}

// describe returns the nodes with what they have registered and answered.
func (l *Log) describe(ctx context.Context, answers map[string][][]answer) ([]Node, error) {
	lookups, ctx := errgroup.WithContext(ctx)
	lookups.SetLimit(maxLookups)
	found := make(chan []Node, len(answers))
	for name, instances := range answers {
		lookups.Go(func() error {
			m, err := l.lookUp(ctx, name)
			if err != nil {
				return fmt.Errorf("%w: %s", ErrUnknownNodes, reasonOf(err))
			}
			var r record
			var renewed time.Time
			if m != nil {
				r, renewed = parseRecord(m.Data), m.Time
			}
			var list []Node
			for _, of := range instances {
				n := Node{name, of[0].Version, of[0].Instance, of[0].Since, time.Time{}, true, of[0].Status}
				if n.Instance == r.Instance {
					n.Renewed = renewed
				}
				list = append(list, n)
			}
			if len(list) == 0 && m != nil {
				list = []Node{{name, r.Version, r.Instance, r.Since, renewed, false, nil}}
			}
			found <- list
			return nil
		})
	}
	if err := lookups.Wait(); err != nil {
		return nil, err
	}
	close(found)
	var list []Node
	for some := range found {
		list = append(list, some...)
	}
	return list, nil
}

// roll returns the names that are registered, for which it asks until the context is
// done.
func (l *Log) roll(ctx context.Context) ([]string, error) {
	for {
		names, err := l.names(ctx)
		if err == nil || !pause(ctx, retryEvery) {
			return names, err
		}
	}
}
