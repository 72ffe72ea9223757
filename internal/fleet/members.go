package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// renewEvery is how often a node renews its registration, and so how soon it finds out
// that another one has its name. A test may shorten it.
var renewEvery = 15 * time.Second

// record is what a node registers under its name.
type record struct {
	Version  string    `json:"version"`
	Instance string    `json:"instance"`
	Since    time.Time `json:"since"`
}

// register writes this node's record to the bucket, or renews it. As each write names the
// one before, a node finds out if another one of its name has written meanwhile. It
// is called by one goroutine.
func (l *Log) register(ctx context.Context, js jetstream.JetStream) error {
	bucket, err := ensureBucket(ctx, js)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	value, err := json.Marshal(record{l.config.Version, l.instance, l.opened.UTC()})
	if err != nil {
		return err
	}
	var seen bool
	for range 3 { // the other one writes at times
		revision, err := bucket.Update(ctx, l.config.Node, value, l.revision)
		if err == nil {
			l.revision = revision
			l.sawNamesake(seen)
			l.isRegistered(ctx)
			return nil
		}
		if !errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
			return err
		}
		known, last := l.revision, uint64(0)
		m, err := l.message(ctx, bucketStream, query{Last: nodeSubject + l.config.Node})
		if err != nil && !errors.Is(err, jetstream.ErrMsgNotFound) {
			return err
		}
		if err == nil {
			last = m.Seq
			// a node that has just been started finds what was before it
			seen = seen || known != 0 && len(m.Data) > 0 && parseRecord(m.Data).Instance != l.instance
		}
		l.revision = last
	}
	return fmt.Errorf("registering: %w", jetstream.ErrKeyRevisionMismatch)
}

// leavePatience bounds how long it may take to unregister, or to be registered by another name
// before.
const leavePatience = time.Second

// sawNamesake takes note of whether another node of this name has written lately.
func (l *Log) sawNamesake(seen bool) {
	l.mu.Lock()
	switch {
	case seen:
		l.namesake = time.Now()
	case time.Since(l.namesake) > 2*renewEvery:
		l.namesake = time.Time{}
	}
	l.mu.Unlock()
	l.announce()
}

// parseRecord returns a record, which has nothing in it if it is not one.
func parseRecord(data []byte) (r record) {
	if json.Unmarshal(data, &r) != nil {
		return record{}
	}
	return r
}

// names asks the bucket's leader for the names that are registered, sorted. Among them
// may be some that an operator has removed: see lookUp.
func (l *Log) names(ctx context.Context) ([]string, error) {
	l.mu.Lock()
	s := l.session
	l.mu.Unlock()
	if s == nil {
		return nil, nats.ErrDisconnected
	}
	info, err := look(ctx, s.nodes, jetstream.WithSubjectFilter(nodeSubject+everySubject))
	if err != nil {
		return nil, err
	}
	names := make([]string, 0, len(info.State.Subjects))
	for subject := range info.State.Subjects {
		names = append(names, strings.TrimPrefix(subject, nodeSubject))
	}
	slices.Sort(names)
	return names, nil
}

// lookUp returns what a node has registered, nil if it has not. An entry that was
// deleted leaves one without data behind.
func (l *Log) lookUp(ctx context.Context, name string) (*message, error) {
	m, err := l.message(ctx, bucketStream, query{Last: nodeSubject + name})
	if errors.Is(err, jetstream.ErrMsgNotFound) || err == nil && len(m.Data) == 0 {
		return nil, nil //nolint:nilnil // that there is none is no failure
	}
	return m, err
}
