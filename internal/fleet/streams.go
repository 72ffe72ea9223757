package fleet

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	streamName = "VOYO_FLEET"
	bucketName = "VOYO_NODES"

	purgeSubject    = "voyo.fleet.purge"
	takedownSubject = "voyo.fleet.takedown."    // and the track ID
	nodeSubject     = "$KV." + bucketName + "." // and the node's name
	statusSubject   = "voyo.nodes.status"       // asks every node for its status
	replySubject    = "voyo.nodes.reply."       // and the instance, and the ID of its call
	bucketStream    = "KV_" + bucketName        // as NATS calls it
	messageRequest  = "$JS.API.STREAM.MSG.GET." // and the stream's name
	everySubject    = ">"
)

// replicas are those of the stream and the bucket in a cluster.
const replicas = 3

// errorNotClustered is the code of the error that a single server answers when it is asked
// for several replicas.
const errorNotClustered jetstream.ErrorCode = 10074

// What a test may lower.
var (
	// maxPurges is how many purges the stream keeps, which is one to two years of a
	// hundred a day, or a day of one every other second. A node that was away for longer
	// forgets everything.
	maxPurges int64 = 65_536

	// memberTTL is how long a node is registered after it was last seen.
	memberTTL = 7 * 24 * time.Hour
)

// ensureLog returns the stream, which is made if it is missing.
func ensureLog(ctx context.Context, js jetstream.JetStream) (jetstream.Stream, error) {
	return ensure(ctx, jetstream.ErrStreamNotFound, jetstream.ErrStreamNameAlreadyInUse,
		func(ctx context.Context) (jetstream.Stream, error) { return js.Stream(ctx, streamName) },
		func(ctx context.Context, replicas int) (jetstream.Stream, error) {
			return js.CreateStream(ctx, jetstream.StreamConfig{
				Name:              streamName,
				Description:       "caddy-voyo: purges and takedowns, for every node",
				Subjects:          []string{purgeSubject, takedownSubject + "*"},
				Storage:           jetstream.FileStorage,
				Replicas:          replicas,
				MaxMsgsPerSubject: maxPurges,
				Discard:           jetstream.DiscardOld,
			})
		})
}

// ensureBucket returns the bucket of the nodes, which is made if it is missing.
func ensureBucket(ctx context.Context, js jetstream.JetStream) (jetstream.KeyValue, error) {
	return ensure(ctx, jetstream.ErrBucketNotFound, jetstream.ErrBucketExists,
		func(ctx context.Context) (jetstream.KeyValue, error) { return js.KeyValue(ctx, bucketName) },
		func(ctx context.Context, replicas int) (jetstream.KeyValue, error) {
			return js.CreateKeyValue(ctx, jetstream.KeyValueConfig{
				Bucket:      bucketName,
				Description: "caddy-voyo: the nodes",
				TTL:         memberTTL,
				Storage:     jetstream.FileStorage,
				Replicas:    replicas,
			})
		})
}

// ensure gets something, or makes it with as many replicas as there can be. A cluster
// that has too few servers at the moment is waited for: its error is returned.
func ensure[T any](ctx context.Context, missing, exists error,
	get func(context.Context) (T, error), create func(context.Context, int) (T, error),
) (T, error) {
	reading, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	v, err := get(reading)
	if !errors.Is(err, missing) {
		return v, err
	}
	ctx, end := context.WithTimeout(ctx, makePatience)
	defer end()
	v, err = create(ctx, replicas)
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.ErrorCode == errorNotClustered {
		v, err = create(ctx, 1)
	}
	if errors.Is(err, exists) { // another node was faster
		return get(ctx)
	}
	return v, err
}

// unfit returns whether a stream that an operator has made is none to rely on: takedowns
// must stay, and every node must get each entry. Where its size is bounded the oldest entries
// must not make room for others.
func unfit(c jetstream.StreamConfig) bool {
	rolls := c.Discard == jetstream.DiscardOld && (c.MaxBytes > 0 || c.MaxMsgs > 0)
	return c.Retention != jetstream.LimitsPolicy || c.MaxAge != 0 || rolls
}

// query is which message of a stream is wanted.
type query struct {
	Seq  uint64 `json:"seq,omitempty"`          // it, or the first one behind it if there is Next
	Next string `json:"next_by_subj,omitempty"` // the first one from Seq on with this subject
	Last string `json:"last_by_subj,omitempty"` // the last one with this subject
}

// message is one of a stream.
type message struct {
	Subject string    `json:"subject"`
	Seq     uint64    `json:"seq"`
	Data    []byte    `json:"data"`
	Time    time.Time `json:"time"`
}

// message asks the leader of a stream for a message. The methods of jetstream.Stream ask
// any replica, where the stream allows it, and one that is late has not got
// everything. The error is jetstream.ErrMsgNotFound if there is none.
func (l *Log) message(ctx context.Context, stream string, q query) (*message, error) {
	nc, _, err := l.link()
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(q)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	reply, err := nc.RequestMsgWithContext(ctx, &nats.Msg{Subject: messageRequest + stream, Data: body})
	if err != nil {
		return nil, err
	}
	var answer struct {
		Message *message            `json:"message"`
		Error   *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(reply.Data, &answer); err != nil {
		return nil, err
	}
	switch {
	case answer.Error == nil && answer.Message != nil:
		return answer.Message, nil
	case answer.Error != nil && answer.Error.ErrorCode != jetstream.JSErrCodeMessageNotFound:
		return nil, answer.Error
	default:
		return nil, jetstream.ErrMsgNotFound
	}
}
