package fleet

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"regexp"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// causes are the reasons that are given for errors. The text of an error is not one of them,
// as it may have an address, a user's name or a path in it.
var causes = []struct {
	err  error
	text string
}{
	{errLapsed, "the log can't be read"},
	{errReplaced, "the log is another one than before"},
	{errUncertain, "entries of the log seem to be missing"},
	{errUnfit, "the stream " + streamName + " is set up to lose entries: it must have the retention limits, no max_age, " +
		"and no max_bytes or max_msgs but with discard new"},
	{nats.ErrAuthorization, "NATS refuses the credentials"},
	{nats.ErrAuthExpired, "the credentials have expired"},
	{nats.ErrAuthRevoked, "the credentials have been revoked"},
	{nats.ErrAccountAuthExpired, "the credentials of the account have expired"},
	{nats.ErrSecureConnRequired, "NATS asks for TLS"},
	{nats.ErrSecureConnWanted, "NATS does not offer TLS"},
	{nats.ErrStaleConnection, "NATS does not answer any more"},
	{nats.ErrMaxPayload, "it is longer than NATS takes"},
	{nats.ErrConnectionClosed, "the log is closed"},
	{nats.ErrDisconnected, "there is no connection to NATS"},
	{nats.ErrNoResponders, "JetStream is not there"},
	{jetstream.ErrNoStreamResponse, "JetStream is not there, or does not keep the stream " + streamName},
	{jetstream.ErrNoHeartbeat, "JetStream does not tell what is in the log any more"},
	{jetstream.ErrConsumerDeleted, "JetStream does not tell what is in the log any more"},
	{context.DeadlineExceeded, "JetStream does not answer: it may have no quorum"},
	{nats.ErrTimeout, "JetStream does not answer: it may have no quorum"},
}

// refusals are what is said of errors of JetStream, by their codes, for which nats.go has no
// names.
var refusals = map[jetstream.ErrorCode]string{
	10002: "the limits of JetStream are reached",
	10004: "JetStream is not there at the moment",
	10005: "JetStream has too few servers for the replicas",
	10008: "JetStream is not there at the moment",
	10009: "JetStream is not there at the moment",
	10023: "the limits of JetStream are reached",
	10026: "the limits of JetStream are reached",
	10027: "the limits of JetStream are reached",
	10028: "the limits of JetStream are reached",
	10039: "JetStream is not enabled",
	10047: "the limits of JetStream are reached",
	10065: "another stream has the subjects of the log",
	10076: "JetStream is not enabled",
	10077: "JetStream could not store it",
	10118: "the stream is offline",
	10120: "the limits of JetStream are reached",
}

// reason says why something is not as it should be.
type reason struct {
	text   string // one of a fixed set, for everyone to read
	detail string // what more is known, for operators; mostly empty
}

// String returns all that is known.
func (r reason) String() string {
	if r.detail == "" {
		return r.text
	}
	return r.text + ": " + r.detail
}

// quoted is the subject in the text of a permissions violation.
var quoted = regexp.MustCompile(`"([\w.$*>=/-]+)"`)

// reasonOf says why something failed. It has no URLs, users or files of the node's.
func reasonOf(err error) reason {
	if err == nil {
		return reason{}
	}
	if errors.Is(err, nats.ErrPermissionViolation) {
		r := reason{text: "NATS does not permit what a node must do"}
		if m := quoted.FindStringSubmatch(err.Error()); m != nil {
			r.detail = m[1]
		}
		return r
	}
	for _, c := range causes {
		if errors.Is(err, c.err) {
			return reason{text: c.text}
		}
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		text := cmp.Or(refusals[api.ErrorCode], "JetStream refuses what a node must do")
		return reason{text, fmt.Sprintf("%s (%d)", api.Description, api.ErrorCode)} // which may have paths of the server
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return reason{text: "the certificate of NATS is not accepted"}
	}
	return reason{text: "NATS can't be reached"}
}
