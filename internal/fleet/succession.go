package fleet

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// former is a registration that this node has had under another name.
type former struct {
	name, instance string
}

// LeaveTo is Leave for a node that goes on by another log, which has another name. As long as
// that is not registered the node is missed under the name that it had: this log's
// registration is removed by the other one then.
func (l *Log) LeaveTo(next *Log) {
	patience := time.NewTimer(leavePatience)
	defer patience.Stop()
	select {
	case <-next.registered:
		l.Leave()
		return
	case <-patience.C:
	}
	l.Close()
	l.mu.Lock()
	list := l.formers
	l.mu.Unlock()
	select {
	case <-l.registered:
		list = append(list, former{l.config.Node, l.instance})
	default: // there is nothing to be removed
	}
	next.mu.Lock()
	next.formers = append(next.formers, list...)
	next.mu.Unlock()
	select {
	case <-next.registered: // by now
		ctx, cancel := context.WithTimeout(next.ctx, leavePatience)
		defer cancel()
		next.removeFormers(ctx)
	default:
	}
}

// isRegistered takes note that this node is.
func (l *Log) isRegistered(ctx context.Context) {
	select {
	case <-l.registered:
	default:
		close(l.registered)
	}
	l.removeFormers(ctx)
}

// removeFormers removes what this node was registered as before. What can't be removed now
// is tried again when the node next registers.
func (l *Log) removeFormers(ctx context.Context) {
	l.mu.Lock()
	list := l.formers
	l.formers = nil
	l.mu.Unlock()
	for _, f := range list {
		if err := l.remove(ctx, f); err != nil {
			l.mu.Lock()
			l.formers = append(l.formers, f)
			l.mu.Unlock()
		}
	}
}

// remove removes a registration, unless another one has taken its place.
func (l *Log) remove(ctx context.Context, f former) error {
	m, err := l.lookUp(ctx, f.name)
	if err != nil || m == nil || parseRecord(m.Data).Instance != f.instance {
		return err
	}
	return l.unregister(ctx, f.name, m.Seq)
}

// unregister removes a registration of a name that was written as a revision, and no later
// one.
func (l *Log) unregister(ctx context.Context, name string, revision uint64) error {
	ctx, cancel := context.WithTimeout(ctx, leavePatience)
	defer cancel()
	_, js, err := l.link()
	if err != nil {
		return err
	}
	bucket, err := js.KeyValue(ctx, bucketName)
	if err != nil {
		return err
	}
	err = bucket.Delete(ctx, name, jetstream.LastRevision(revision))
	if errors.Is(err, jetstream.ErrKeyRevisionMismatch) {
		return nil
	}
	return err
}
