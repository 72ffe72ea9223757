package fleet

import (
	"context"
	"errors"
)

// ErrUnavailable says that NATS has not acknowledged an entry, because it can't be reached
// or has no quorum. Nothing is known of the entry: it may be applied later, or never.
var ErrUnavailable = errors.New("NATS has not acknowledged it")

// ErrInvalid says that a draft can't be appended as it is; nothing was appended.
var ErrInvalid = errors.New("invalid entry")

// ErrUnknownNodes says that entries are in the log, but that it is not known which nodes
// there are to apply them.
var ErrUnknownNodes = errors.New("the nodes are not known")

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
// are registered have answered, or for receiptPatience after the last acknowledgement,
// or until the context is done. Entries count as appended with JetStream's
// acknowledgement, which a quorum of servers stands behind. Without one for appendPatience
// it ends with an error that is ErrUnavailable, or the context's; the receipt
// says how many were appended before. An entry is in the log at most once, however often it had
// to be sent. Other errors are ErrInvalid and ErrUnknownNodes. At most maxAppends calls are in
// progress at a time, the others wait.
func (l *Log) Append(ctx context.Context, drafts ...Draft) (Receipt, error) {
	return Receipt{}, ErrUnavailable
}
