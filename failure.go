package voyo

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/voyo-music/caddy-voyo/cache"
	"github.com/voyo-music/caddy-voyo/internal/contain"
	"github.com/voyo-music/caddy-voyo/resolver"
)

// reason says why an upstream could not be used, in the words of logs and of
// /health. It is all that is kept of an error: Go's own name URLs, hosts and
// addresses, and a URL may be signed.
type reason string

const (
	reasonForbidden reason = "forbidden"  // the guard does not let it be fetched
	reasonDNS       reason = "dns"        // its name is not known
	reasonRefused   reason = "refused"    // no connection to it
	reasonTLS       reason = "tls"        // no trust in it
	reasonReset     reason = "reset"      // the connection broke
	reasonTimeout   reason = "timeout"    // no answer in time
	reasonStatus    reason = "status"     // it says that it failed
	reasonBadAnswer reason = "bad answer" // it can't mean what it says
	reasonRedirects reason = "redirects"  // it sends us round and round
	reasonPanic     reason = "panic"      // the resolver has a bug
	reasonOther     reason = "other"
)

// failure is an upstream's, or a resolver's that could not tell where it is.
type failure struct {
	reason reason
	status int // of the answer, where that is the reason
}

// String is what logs show.
func (f failure) String() string {
	if f.reason == reasonStatus {
		return fmt.Sprintf("status %d", f.status)
	}
	return string(f.reason)
}

// label is what metrics show, which has few values.
func (f failure) label() string {
	if f.reason == reasonStatus {
		return fmt.Sprintf("status %dxx", f.status/100)
	}
	return string(f.reason)
}

func (f failure) Error() string { return "upstream failed: " + f.String() }

// counts reports whether the failure says something of the upstream's health. A
// refusal need not: a client's precondition that makes no sense is enough for it, or
// a CDN-Loop that it has made up, and no client may have the node declared degraded.
func (f failure) counts() bool {
	switch {
	case f.reason != reasonStatus, f.status == http.StatusTooManyRequests:
		return true
	default:
		return f.status >= 500 && f.status != http.StatusLoopDetected
	}
}

// Is lets a timeout be known as one.
func (f failure) Is(target error) bool {
	return f.reason == reasonTimeout && target == context.DeadlineExceeded
}

var (
	errBadAnswer = failure{reason: reasonBadAnswer}
	errRedirects = failure{reason: reasonRedirects}
)

// failureOf reduces an error to a failure.
func failureOf(err error) failure {
	if f, ok := errors.AsType[failure](err); ok {
		return f
	}
	return failure{reason: reasonOf(err)}
}

func reasonOf(err error) reason {
	// the first that fits counts: a look-up of a name can time out, for instance
	for _, c := range []struct {
		is     bool
		reason reason
	}{
		{errors.Is(err, resolver.ErrForbidden), reasonForbidden},
		{isTimeout(err), reasonTimeout},
		{isA[*net.DNSError](err), reasonDNS},
		{errors.Is(err, syscall.ECONNREFUSED), reasonRefused},
		{isA[*tls.CertificateVerificationError](err) || isA[tls.RecordHeaderError](err) || isA[tls.AlertError](err), reasonTLS},
		{isReset(err), reasonReset},
		{isA[*contain.PanicError](err), reasonPanic},
		{errors.Is(err, http.ErrSchemeMismatch), reasonTLS},
		{isOp(err, "dial"), reasonRefused}, // unreachable, in one way or another
		{isA[reverseproxy.DialError](err), dialReason(err)},
		{isA[*net.OpError](err), reasonReset},
	} {
		if c.is {
			return c.reason
		}
	}
	return reasonOther
}

// dialReason reads the text of an error of Caddy's dial function, which has
// nothing else to tell them apart by: it hides the error that it wraps.
func dialReason(err error) reason {
	switch text := err.Error(); {
	case strings.HasSuffix(text, "i/o timeout"):
		return reasonTimeout
	case strings.Contains(text, ": lookup "):
		return reasonDNS
	default:
		return reasonRefused
	}
}

func isTimeout(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) || errors.Is(err, cache.ErrStalled) {
		return true
	}
	netErr, ok := errors.AsType[net.Error](err)
	return ok && netErr.Timeout()
}

func isReset(err error) bool {
	for _, target := range []error{io.EOF, io.ErrUnexpectedEOF, net.ErrClosed, syscall.ECONNRESET, syscall.EPIPE} {
		if errors.Is(err, target) {
			return true
		}
	}
	return false
}

func isA[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

func isOp(err error, op string) bool {
	opErr, ok := errors.AsType[*net.OpError](err)
	return ok && opErr.Op == op
}
