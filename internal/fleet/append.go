package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// ErrUnavailable says that NATS has not acknowledged an entry, because it can't be reached
// or has no quorum. Nothing is known of the entry: it may be applied later, or never.
var ErrUnavailable = errors.New("NATS has not acknowledged it")

// ErrInvalid says that a draft can't be appended as it is; nothing was appended.
var ErrInvalid = errors.New("invalid entry")

// ErrUnknownNodes says that entries are in the log, but that it is not known which nodes
// there are to apply them.
var ErrUnknownNodes = errors.New("the nodes are not known")

// AppendPatience bounds how long Append waits for the acknowledgement of an entry. Within it
// the entry is sent again and again: an election in the cluster takes its time.
const AppendPatience = 5 * time.Second

// ReceiptPatience bounds how long Append waits for the nodes' answers.
const ReceiptPatience = 5 * time.Second

const (
	// maxAppends bounds the calls of Append that are in progress at a time.
	maxAppends = 64

	// attemptPatience bounds how long each of these times is.
	attemptPatience = 2 * time.Second

	// sureAfter is when a node that has not answered is looked at, as an operator may
	// have removed it.
	sureAfter = 250 * time.Millisecond

	retryEvery = 100 * time.Millisecond
)

// Receipt says what has become of entries that were appended together.
type Receipt struct {
	Appended int    // how many of them are in the log for good, which are the first ones
	Seq      uint64 // that of the last one of these; 0 if there is none

	// The names of all nodes that are registered, each in one of the lists, which are
	// sorted. Applied are those that have applied the last entry, and so all before it.
	// Failed are those that have said that they could not apply one of them, or could
	// not keep it: they go on trying, or see Follow. Pending are those that have not
	// answered in time: they are cut off, stopped, or slow, and will apply it once they
	// are back.
	Applied, Pending, Failed []string
}

// Append appends entries to the log, one after another, and waits until all nodes that
// are registered have answered, or for ReceiptPatience after the last acknowledgement,
// or until the context is done. Entries count as appended with JetStream's
// acknowledgement, which a quorum of servers stands behind. Without one for AppendPatience
// it ends with an error that is ErrUnavailable, and the context's if that is done; the
// receipt says how many were appended before. An entry is in the log at most once,
// however often it had to be sent. Other errors are ErrInvalid and ErrUnknownNodes. At
// most maxAppends calls are in progress at a time, the others wait.
func (l *Log) Append(ctx context.Context, drafts ...Draft) (Receipt, error) {
	var r Receipt
	if len(drafts) == 0 || len(drafts) > MaxDrafts {
		return r, fmt.Errorf("%w: %d entries at a time, 1 to %d can be", ErrInvalid, len(drafts), MaxDrafts)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()
	select {
	case l.tokens <- struct{}{}:
		defer func() { <-l.tokens }()
	case <-ctx.Done():
		return r, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
	}
	c, reply := l.begin()
	defer l.finish(reply)
	messages := make([]*nats.Msg, len(drafts))
	for i, d := range drafts {
		m, err := l.compose(d, reply)
		if err != nil {
			return r, err
		}
		if i < len(drafts)-1 {
			m.Header.Set(moreHeader, "1")
		}
		messages[i] = m
	}
	for _, m := range messages {
		seq, err := l.publish(ctx, m)
		if err != nil {
			return r, err
		}
		r.Appended++
		r.Seq = seq
	}
	return l.collect(ctx, c, r)
}

// compose returns the message of a draft, which fits into what the server takes.
func (l *Log) compose(d Draft, reply string) (*nats.Msg, error) {
	m, err := d.compose(reply)
	if err != nil {
		return nil, err
	}
	nc, _, err := l.link()
	if err == nil && int64(m.Size()) > nc.MaxPayload() {
		return nil, fmt.Errorf("%w: it has %d bytes with its headers, and NATS takes %d", ErrInvalid, m.Size(), nc.MaxPayload())
	}
	return m, nil
}

// publish sends a message until it is acknowledged, and returns its sequence number.
func (l *Log) publish(ctx context.Context, m *nats.Msg) (uint64, error) {
	patience, cancel := context.WithTimeout(ctx, AppendPatience)
	defer cancel()
	for {
		seq, err := l.attempt(patience, m)
		if err == nil {
			return seq, nil
		}
		if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.ErrorCode == jetstream.JSErrCodeStreamMessageExceedsMaximum {
			return 0, fmt.Errorf("%w: it is longer than the stream takes", ErrInvalid)
		}
		if !pause(patience, retryEvery) {
			if ctx.Err() != nil {
				return 0, fmt.Errorf("%w: %w", ErrUnavailable, ctx.Err())
			}
			return 0, fmt.Errorf("%w: %s", ErrUnavailable, reasonOf(err))
		}
	}
}

// attempt sends a message once.
func (l *Log) attempt(ctx context.Context, m *nats.Msg) (uint64, error) {
	_, js, err := l.link()
	if err != nil {
		return 0, err
	}
	l.mu.Lock()
	unfit := l.unfit
	l.mu.Unlock()
	if unfit {
		return 0, errUnfit
	}
	ctx, cancel := context.WithTimeout(ctx, attemptPatience)
	defer cancel()
	ack, err := js.PublishMsg(ctx, m, jetstream.WithExpectStream(streamName), jetstream.WithRetryAttempts(0))
	if err != nil {
		return 0, err
	}
	return ack.Sequence, nil
}

// collect waits for the answers of all nodes that are registered.
func (l *Log) collect(ctx context.Context, c *call, r Receipt) (Receipt, error) {
	ctx, cancel := context.WithTimeout(ctx, ReceiptPatience)
	defer cancel()
	names, err := l.roll(ctx)
	if err != nil {
		return r, fmt.Errorf("%w: %s", ErrUnknownNodes, reasonOf(err))
	}
	answers := l.gather(ctx, c, names, func(instances [][]answer) bool { return verdict(instances, r.Seq) != pending })
	for name, instances := range answers {
		switch verdict(instances, r.Seq) {
		case applied:
			r.Applied = append(r.Applied, name)
		case failed:
			r.Failed = append(r.Failed, name)
		default:
			r.Pending = append(r.Pending, name)
		}
	}
	slices.Sort(r.Applied)
	slices.Sort(r.Failed)
	slices.Sort(r.Pending)
	return r, nil
}

// outcome is what has become of entries at a node.
type outcome int

const (
	pending outcome = iota
	applied
	failed
)

// verdict says what has become of entries up to a sequence number, from what the
// instances of a name have answered. There should be one.
func verdict(instances [][]answer, last uint64) outcome {
	result := pending
	for _, answers := range instances {
		result = max(result, judge(answers, last))
	}
	return result
}

// judge does so for one instance. If it has failed at an entry, but has then applied it,
// all is well.
func judge(answers []answer, last uint64) outcome {
	result := pending
	var complete, lost bool
	for _, a := range answers {
		complete = complete || a.Done && a.Seq == last
		lost = lost || a.Done && a.Failed
		if a.Failed {
			result = failed
		}
	}
	if complete && !lost {
		return applied
	}
	return result
}
