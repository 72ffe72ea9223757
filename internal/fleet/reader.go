package fleet

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// readAhead and readAheadBytes bound what a follower has of the log that it has not
	// applied yet: there may be two requests for more at a time.
	readAhead      = 256
	readAheadBytes = 4 << 20

	// heartbeat is how often the server says that there is nothing new. If it does not
	// do so twice, another consumer is made.
	heartbeat = time.Second

	// readerTTL is how long a server keeps a consumer that nobody asks any more.
	readerTTL = 30 * time.Second

	// quietAfter is how long entries that are in the log may not be delivered, until
	// another consumer is made.
	quietAfter = 2 * checkEvery
)

var (
	errQuiet = errors.New("nothing was delivered")
	errLost  = errors.New("an entry was lost on its way")
)

// reader reads a stream by a consumer of its own, which ends with the stream. A consumer that
// makes itself anew, such as jetstream's ordered one, would go on in another
// stream of the same name.
type reader struct {
	s        *session
	consumer jetstream.Consumer
	messages jetstream.MessagesContext
	count    uint64 // of messages that were delivered
}

// read begins to read behind a position.
func (s *session) read(ctx context.Context, behind uint64) (*reader, error) {
	ctx, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	consumer, err := s.stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		AckPolicy:         jetstream.AckNonePolicy,
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       behind + 1,
		InactiveThreshold: readerTTL,
		MemoryStorage:     true,
		Replicas:          1,
	})
	if err != nil {
		return nil, err
	}
	messages, err := consumer.Messages(
		jetstream.PullMaxMessagesWithBytesLimit(readAhead, readAheadBytes),
		jetstream.PullHeartbeat(heartbeat),
	)
	if err != nil {
		return nil, err
	}
	return &reader{s: s, consumer: consumer, messages: messages}, nil
}

// next returns the next message, and its place in the stream. Without one for quietAfter
// the error is errQuiet.
func (r *reader) next(ctx context.Context) (jetstream.Msg, *jetstream.MsgMetadata, error) {
	wait, cancel := context.WithTimeout(ctx, quietAfter)
	defer cancel()
	m, err := r.messages.Next(jetstream.NextContext(wait))
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
			err = errQuiet
		}
		return nil, nil, err
	}
	meta, err := m.Metadata()
	if err != nil {
		return nil, nil, err
	}
	r.count++
	if meta.Sequence.Consumer != r.count {
		return nil, nil, errLost
	}
	return m, meta, nil
}

// close ends the reading.
func (r *reader) close() {
	r.messages.Stop()
	if r.s.ctx.Err() != nil {
		return // the server does so by itself
	}
	ctx, cancel := context.WithTimeout(r.s.ctx, heartbeat)
	defer cancel()
	_ = r.s.stream.DeleteConsumer(ctx, r.consumer.CachedInfo().Name) // likewise
}
