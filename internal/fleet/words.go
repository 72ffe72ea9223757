package fleet

import (
	"context"
	"crypto/tls"
	"errors"
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
	{errUnfit, "the stream " + streamName + " is set up to forget or to hand out its entries"},
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

// quoted is the subject in the text of a permissions violation.
var quoted = regexp.MustCompile(`"([\w.$*>=/-]+)"`)

// words says why something failed, for everyone to read.
func words(err error) string {
	if err == nil {
		return ""
	}
	if errors.Is(err, nats.ErrPermissionViolation) {
		if m := quoted.FindStringSubmatch(err.Error()); m != nil {
			return "NATS does not permit " + m[1]
		}
		return "NATS does not permit what a node must do"
	}
	for _, c := range causes {
		if errors.Is(err, c.err) {
			return c.text
		}
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok {
		return "JetStream: " + api.Description // of the server's own constants
	}
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "the certificate of NATS is not accepted"
	}
	return "NATS can't be reached"
}
