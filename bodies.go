package voyo

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/voyo-music/caddy-voyo/cache"
)

// upload is a request's body on its way to the origin. It passes on the trailers, which
// come with the body's end, and remembers whether it was the client that failed.
type upload struct {
	io.ReadCloser

	from, to http.Header

	// the origin's transport reads, and others ask
	ended atomic.Bool
	err   atomic.Pointer[error]
}

// watch puts the upload in the place of a request's body, whose trailers are given.
// Those that have been announced are passed on, unless a careless reader could take
// them for what this edge says in the header.
func (u *upload) watch(out *http.Request, trailer http.Header) {
	if out.Body == nil {
		return
	}
	u.ReadCloser, u.from, u.to = out.Body, trailer, make(http.Header)
	for name := range trailer {
		if !slices.Contains(cache.HopByHop, name) && !slices.Contains(ownFields, name) && !isForwarded(name) {
			u.to[name] = nil
		}
	}
	out.Body, out.Trailer = u, u.to
}

// Read implements io.Reader.
func (u *upload) Read(p []byte) (n int, err error) {
	n, err = u.ReadCloser.Read(p)
	switch {
	case err == io.EOF:
		for name := range u.to {
			u.to[name] = u.from[name]
		}
		u.ended.Store(true)
	case err != nil && !errors.Is(err, http.ErrBodyReadAfterClose):
		u.err.CompareAndSwap(nil, &err)
	}
	return n, err
}

// failed returns why the client's body could not be read, nil if it could.
func (u *upload) failed() error {
	if err := u.err.Load(); err != nil {
		return *err
	}
	return nil
}

// uploadError is what the client is told whose body could not be read. Handlers that
// come before may have said that already, as where they limit its size.
func uploadError(err error) error {
	if _, ok := errors.AsType[caddyhttp.HandlerError](err); ok {
		return err
	}
	if isReset(err) {
		return caddyhttp.Error(statusClientGone, err)
	}
	return caddyhttp.Error(errUpload.status, errUpload)
}

// download is an answer's body on its way to the client. It tells of the origin's
// failure, of which the client sees no more than that the connection breaks.
type download struct {
	io.ReadCloser

	ctx    context.Context // the client's
	failed func(error)
}

// Read implements io.Reader.
func (d *download) Read(p []byte) (n int, err error) {
	n, err = d.ReadCloser.Read(p)
	if err != nil && err != io.EOF && d.ctx.Err() == nil {
		d.failed(err)
	}
	return n, err
}

// kept is a body that is kept while it is passed on. done gets all of it, before the
// client gets the last of it.
type kept struct {
	io.ReadCloser

	length int
	body   []byte
	done   func(body []byte)
}

// Read implements io.Reader.
func (k *kept) Read(p []byte) (n int, err error) {
	n, err = k.ReadCloser.Read(p)
	if k.done == nil {
		return n, err
	}
	k.body = append(k.body, p[:n]...)
	if len(k.body) == k.length {
		k.done(k.body)
		k.done = nil
	}
	return n, err
}

// passBuffers are for copying answers.
var passBuffers bufferPool

type bufferPool struct{ pool sync.Pool }

const passBuffer = 32 << 10

// Get implements httputil.BufferPool.
func (b *bufferPool) Get() []byte {
	if buf, ok := b.pool.Get().(*[passBuffer]byte); ok {
		return buf[:]
	}
	return make([]byte, passBuffer)
}

// Put implements httputil.BufferPool.
func (b *bufferPool) Put(buf []byte) {
	b.pool.Put((*[passBuffer]byte)(buf))
}
