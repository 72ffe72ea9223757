package voyo

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/voyo-music/caddy-voyo/cache"
	"github.com/voyo-music/caddy-voyo/internal/contain"
	"github.com/voyo-music/caddy-voyo/resolver"
)

// dial returns the error of Caddy's own dial function, which hides what it wraps.
func dial(t *testing.T, timeout time.Duration, addr string) error {
	t.Helper()
	caddyCtx, cancelCaddy := caddy.NewContext(caddy.Context{Context: t.Context()})
	defer cancelCaddy()
	transport, err := new(reverseproxy.HTTPTransport).NewTransport(caddyCtx)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	_, err = transport.DialContext(ctx, "tcp", addr)
	if !isA[reverseproxy.DialError](err) || errors.Unwrap(err) != nil {
		t.Fatalf("%s: got %v", addr, err)
	}
	return err
}

// All of these errors name the upstream, and none of what they become does.
func TestFailureOf(t *testing.T) {
	const secret = "upstream.example"
	op := func(op string, err error) error {
		return &net.OpError{Op: op, Net: "tcp", Addr: &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1)}, Err: err}
	}
	for _, c := range []struct {
		err  error
		want reason
	}{
		{fmt.Errorf("%w: %s", resolver.ErrForbidden, secret), reasonForbidden},
		{op("dial", os.NewSyscallError("connect", syscall.ECONNREFUSED)), reasonRefused},
		{op("dial", os.NewSyscallError("connect", syscall.EHOSTUNREACH)), reasonRefused},
		{op("dial", &net.DNSError{Name: secret, IsNotFound: true}), reasonDNS},
		{op("dial", &net.DNSError{Name: secret, IsTimeout: true}), reasonTimeout},
		{op("dial", os.ErrDeadlineExceeded), reasonTimeout},
		{op("read", os.NewSyscallError("read", syscall.ECONNRESET)), reasonReset},
		{op("read", errors.New(secret)), reasonReset},
		{dial(t, time.Minute, unused(t)), reasonRefused},
		{dial(t, time.Minute, secret+"..invalid:80"), reasonDNS},
		{dial(t, -1, "192.0.2.1:80"), reasonTimeout},
		{io.EOF, reasonReset},
		{io.ErrUnexpectedEOF, reasonReset},
		{&tls.CertificateVerificationError{Err: x509.HostnameError{Host: secret, Certificate: &x509.Certificate{}}}, reasonTLS},
		{tls.RecordHeaderError{Msg: secret}, reasonTLS},
		{op("remote error", tls.AlertError(40)), reasonTLS},
		{http.ErrSchemeMismatch, reasonTLS},
		{context.DeadlineExceeded, reasonTimeout},
		{fmt.Errorf("lookup: %w", context.DeadlineExceeded), reasonTimeout},
		{cache.ErrStalled, reasonTimeout},
		{errRedirects, reasonRedirects},
		{errBadAnswer, reasonBadAnswer},
		{failure{reasonStatus, 503}, reasonStatus},
		{&contain.PanicError{Value: secret}, reasonPanic},
		{errors.New(secret), reasonOther},
	} {
		got := failureOf(&url.Error{Op: "Get", URL: "https://" + secret + "/?X-Amz-Signature=1", Err: c.err})
		if got.reason != c.want {
			t.Errorf("%v: got %s, want %s", c.err, got.reason, c.want)
		}
		for _, word := range []string{secret, "Signature", "192.0.2.1"} {
			if strings.Contains(got.Error(), word) {
				t.Errorf("%v: says %q", c.err, got)
			}
		}
		if errors.Is(got, context.DeadlineExceeded) != (c.want == reasonTimeout) {
			t.Errorf("%v: wrongly known as a timeout, or not", c.err)
		}
	}
}

func TestFailureCounts(t *testing.T) {
	for f, want := range map[failure]bool{
		{reason: reasonRefused}:             true,
		{reason: reasonBadAnswer}:           true,
		{reason: reasonStatus, status: 500}: true,
		{reason: reasonStatus, status: 503}: true,
		{reason: reasonStatus, status: 429}: true,
		{reason: reasonStatus, status: 400}: false,
		{reason: reasonStatus, status: 412}: false,
		{reason: reasonStatus, status: 431}: false,
		{reason: reasonStatus, status: 508}: false,
	} {
		if got := f.counts(); got != want {
			t.Errorf("%s: got %t", f, got)
		}
	}
}
