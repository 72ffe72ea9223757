// Package resolver turns a VOYO track into the places its bytes can be fetched
// from. It holds what every resolver shares: the track ID, the asset that is
// asked for, the contract, the memo of answers and the guard that decides which
// upstream hosts may be talked to. It knows nothing of Caddy; the resolvers that
// are Caddy modules live in the packages below it.
package resolver

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"
)

// ErrNotFound is returned by a resolver that knows that it does not have the
// asset. Any other error means that it could not tell.
var ErrNotFound = errors.New("asset not found")

// A Resolver knows where some assets can be fetched.
//
// Resolve is called with a context of its own, not with a client's, and must
// return soon after that is done. It must be safe for concurrent use.
type Resolver interface {
	// Resolve returns where the asset can be fetched, the best place first, or
	// ErrNotFound. The answer is shared: neither side changes it afterwards.
	Resolve(ctx context.Context, a Asset) (*Answer, error)
}

// Answer is what a resolver knows about one asset.
type Answer struct {
	// Targets are candidates in the order in which to try them: the next one is
	// asked when one does not have the asset or fails. Never empty.
	Targets []Target

	// Expires is when the targets stop working; zero if the resolver can't say.
	// The memo keeps an answer no longer than that.
	Expires time.Time

	// Computed says that the targets follow from the configuration and the asset
	// alone, so that asking again after one was refused can't help.
	Computed bool
}

// Target is one place where an asset can be fetched. Its URL and header may
// hold credentials: neither may reach a client, a log or an error.
type Target struct {
	URL    *url.URL
	Header http.Header // sent along with the request; may be nil
}

// HostLister is a Resolver whose configuration names hosts. They may be fetched
// from even where their addresses are private.
type HostLister interface {
	// Hosts returns each host with its port, as in "127.0.0.1:9000".
	Hosts() []string
}

// Identifier is a Resolver that can say what it resolves to. Handlers whose
// resolvers have equal identities share cached content, across reloads too, so
// it holds all that decides which bytes an asset has, and no credentials, so
// that a rotated key does not cost the cache. A Resolver without it is
// identified by its whole configuration.
type Identifier interface {
	Identity() string
}

// TransportUser is a Resolver that makes HTTP requests of its own. It is given
// the handler's transport, which checks every host, before it is first asked.
type TransportUser interface {
	UseTransport(rt http.RoundTripper)
}
