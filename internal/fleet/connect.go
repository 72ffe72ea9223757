package fleet

import (
	"cmp"
	"context"
	"errors"
	"net"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	// dialPatience bounds the connecting to one server, and each step of the handshake.
	dialPatience = 2 * time.Second

	// reconnectWait is between two rounds of attempts. A node that was cut off is to
	// know soon what it has missed.
	reconnectWait = 250 * time.Millisecond

	// pingEvery and maxPings say when a connection that is silent counts as lost: after
	// 3 to 4.5 s. That is less than ReceiptPatience, so that a node which a purge names as
	// pending because it is cut off has found that out itself, and says so.
	pingEvery = 1500 * time.Millisecond
	maxPings  = 2

	// pauseMax bounds the pauses between attempts that fail for other reasons.
	pauseMax = 2 * time.Second
)

// options are those of a connection, which closes finished when it is closed for good.
func (l *Log) options(finished chan<- struct{}) []nats.Option {
	list := []nats.Option{
		func(o *nats.Options) error {
			o.Servers = l.config.URLs
			return nil
		},
		nats.Name("caddy-voyo " + l.config.Node),
		nats.SetCustomDialer(dialer{l.dialing}),
		nats.SkipHostLookup(), // the dialer's
		nats.Timeout(dialPatience),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(reconnectWait),
		nats.ReconnectJitter(reconnectWait/2, reconnectWait/2),
		nats.ReconnectBufSize(-1), // what can't be sent now has an error now
		nats.IgnoreAuthErrorAbort(),
		nats.PingInterval(pingEvery),
		nats.MaxPingsOutstanding(maxPings),
		nats.ConnectHandler(l.connectedTo),
		nats.ReconnectHandler(l.connectedTo),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { l.disconnected(err) }),
		nats.ReconnectErrHandler(func(_ *nats.Conn, err error) { l.trouble(err) }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { l.trouble(err) }),
		nats.ClosedHandler(func(*nats.Conn) { close(finished) }),
	}
	if l.config.Credentials != "" {
		list = append(list, nats.UserCredentials(l.config.Credentials))
	}
	return list
}

// dialer dials for as long as the log may. nats.go can't be told to give up.
type dialer struct{ ctx context.Context }

func (d dialer) Dial(network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{Timeout: dialPatience}).DialContext(d.ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &conn{c, context.AfterFunc(d.ctx, func() { c.Close() })}, nil
}

// conn is closed with the dialer's context.
type conn struct {
	net.Conn

	stop func() bool
}

func (c *conn) Close() error {
	c.stop()
	return c.Conn.Close()
}

// connect connects, or begins to. It returns nil if the log is closed.
func (l *Log) connect() *nats.Conn {
	for {
		finished := make(chan struct{})
		l.mu.Lock()
		l.finished = finished
		l.mu.Unlock()
		nc, err := nats.Connect("", l.options(finished)...)
		if err == nil {
			l.mu.Lock()
			l.nc = nc
			l.mu.Unlock()
			return nc
		}
		l.trouble(err) // it is not one of the network, which is tried again anyway
		if !pause(l.ctx, pauseMax) {
			return nil
		}
	}
}

// connectedTo takes note of a connection, which may be the first one.
func (l *Log) connectedTo(nc *nats.Conn) {
	ctx, cancel := context.WithCancel(l.ctx)
	l.mu.Lock()
	l.nc = nc
	l.connection, l.cut = ctx, cancel
	l.why, l.denied = reason{}, reason{}
	l.refresh()
	l.mu.Unlock()
	l.announce()
}

// disconnected takes note that there is no connection any more.
func (l *Log) disconnected(err error) {
	l.mu.Lock()
	if l.cut != nil {
		l.cut()
	}
	l.connection, l.session = nil, nil
	l.why = reasonOf(cmp.Or(err, nats.ErrDisconnected))
	l.refresh()
	l.mu.Unlock()
	l.announce()
}

// trouble takes note of why there is no connection, or why the log can't be used.
func (l *Log) trouble(err error) {
	l.mu.Lock()
	l.why = reasonOf(err)
	if errors.Is(err, nats.ErrPermissionViolation) {
		l.denied = l.why
	} else if errors.Is(err, context.DeadlineExceeded) { // the answer to what is denied
		l.why = cmp.Or(l.denied, l.why)
	}
	l.mu.Unlock()
	l.announce()
}

// link returns the connection if there is one.
func (l *Log) link() (*nats.Conn, jetstream.JetStream, error) {
	l.mu.Lock()
	nc, ready := l.nc, l.connection != nil
	l.mu.Unlock()
	if !ready {
		return nil, nil, nats.ErrDisconnected
	}
	js, err := jetstream.New(nc)
	return nc, js, err
}

// pause waits, and returns whether the context is not done.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
