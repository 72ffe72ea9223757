package voyo

import (
	"bufio"
	"context"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httputil"
	"slices"
	"strconv"
	"sync"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/voyo-music/caddy-voyo/cache"
)

// What the cache can't answer goes past it: other methods than GET and HEAD, requests
// with a body or for events, and those that switch to another protocol.

// pass has the origin answer, both bodies streaming.
func (h *Handler) pass(w http.ResponseWriter, r *http.Request, f *forwarding) error {
	if answered, err := answerHere(w, r); answered {
		return err
	}
	if f.upgrade != "" {
		// It may last for days. Nobody waits for it to end when Caddy loads another
		// configuration, and it must not keep this one's caches.
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer context.AfterFunc(h.origin.ended, cancel)()
		r = r.WithContext(ctx)
	}
	defer h.expect(r.Method, f)()
	up := new(upload)
	relayed := &relayWriter{
		ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w},
		header:                make(http.Header),
		r:                     r,
	}
	if expectsContinue(r) {
		relayed.awaited = up
	}
	var failed error
	proxy := httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			f.rewrite(p.Out)
			up.watch(p.Out, p.In.Trailer)
		},
		Transport:      h.client,
		FlushInterval:  -1,
		BufferPool:     &passBuffers,
		ErrorLog:       silent,
		ModifyResponse: func(resp *http.Response) error { return h.passing(r, f, resp, relayed) },
		ErrorHandler:   func(_ http.ResponseWriter, _ *http.Request, err error) { failed = err },
	}
	proxy.ServeHTTP(relayed, r)
	if relayed.tunnel != nil {
		relayed.tunnel.end()
		return nil
	}
	if failed == nil {
		return nil
	}
	setCacheStatus(r, cache.Failed)
	switch {
	case r.Context().Err() != nil:
		return clientGone(r)
	case up.failed() != nil:
		return uploadError(up.failed())
	default:
		countFetch(r.Context(), kindPage, originSource, nil, failed)
		return pageError(h.originFailed(r.Method, failed))
	}
}

// answerHere answers what is not for the origin: a tunnel, and a request that may go
// no further.
func answerHere(w http.ResponseWriter, r *http.Request) (answered bool, err error) {
	left, bounded := maxForwards(r)
	switch {
	case r.Method == http.MethodConnect:
		return true, caddyhttp.Error(errTunnel.status, errTunnel)
	case !bounded || left > 0:
		return false, nil
	case r.Method == http.MethodTrace:
		return true, caddyhttp.Error(errMethod.status, errMethod)
	}
	w.WriteHeader(http.StatusNoContent)
	return true, nil
}

// maxForwards returns through how many more hands a request may go, if there is a
// bound (RFC 9110, section 7.6.2).
func maxForwards(r *http.Request) (left int, bounded bool) {
	if r.Method != http.MethodOptions && r.Method != http.MethodTrace {
		return 0, false
	}
	left, err := strconv.Atoi(r.Header.Get("Max-Forwards"))
	return left, err == nil && left >= 0
}

// expectsContinue reports whether a client waits before it sends the body (RFC 9110,
// section 10.1.1).
func expectsContinue(r *http.Request) bool {
	return r.ProtoMajor == 1 && slices.Contains(listed(r.Header["Expect"]), "100-continue")
}

// rewrite makes a request the one that the origin is sent.
func (f *forwarding) rewrite(out *http.Request) {
	target := f.url
	out.URL, out.Host, out.Header = &target, target.Host, f.header
	if f.upgrade != "" {
		out.Header["Connection"], out.Header["Upgrade"] = []string{"Upgrade"}, []string{f.upgrade}
	}
	if left, bounded := maxForwards(out); bounded {
		out.Header.Set("Max-Forwards", strconv.Itoa(left-1))
	}
}

// passing completes the header of the origin's answer, and lets the cache know of
// what has changed by it, before the client does.
func (h *Handler) passing(r *http.Request, f *forwarding, resp *http.Response, w *relayWriter) error {
	if resp.StatusCode < http.StatusContinue {
		return errBadAnswer // net/http reads such a status, but panics rather than send it
	}
	countFetch(r.Context(), kindPage, originSource, resp, nil)
	addVia(resp.Header, resp.ProtoMajor, resp.ProtoMinor)
	if resp.StatusCode == http.StatusSwitchingProtocols {
		w.header = resp.Header.Clone() // of which net/http's proxy tells too late
		return nil
	}
	h.invalidate(r.Method, f, resp)
	resp.Body = h.keeping(f, resp)
	resp.Body = &download{ReadCloser: resp.Body, ctx: r.Context(), failed: func(err error) { _ = h.originFailed(r.Method, err) }}
	forward := "voyo; fwd=method"
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		forward = "voyo; fwd=bypass"
	}
	resp.Header.Add("Cache-Status", forward)
	return nil
}

// relayWriter keeps the header of the final answer apart from those of the interim
// ones (RFC 9110, section 15.2), which net/http's proxy mixes up and then clears:
// what other handlers have set is for the final one.
type relayWriter struct {
	*caddyhttp.ResponseWriterWrapper

	header  http.Header // nil as soon as the final one is out
	r       *http.Request
	awaited *upload // what the client may not have sent; nil if it does not ask
	tunnel  *tunnel // nil until the connection is upgraded
}

// Header implements http.ResponseWriter.
func (w *relayWriter) Header() http.Header {
	if w.header == nil {
		return w.ResponseWriter.Header()
	}
	return w.header
}

// WriteHeader implements http.ResponseWriter.
func (w *relayWriter) WriteHeader(status int) {
	if status < 200 && status != http.StatusSwitchingProtocols {
		w.writeInterim(status)
		return
	}
	final := w.ResponseWriter.Header()
	for name, values := range w.header {
		final[name] = slices.Concat(final[name], values)
	}
	if _, ok := final["Content-Type"]; !ok {
		final["Content-Type"] = nil // or else net/http guesses, for whoever did not want to say
	}
	w.header = nil
	if w.awaited != nil && !w.awaited.ended.Load() {
		// What the client sends next may be the body as well as another request. And
		// net/http would wait for the body now, as Caddy hides from it that the client
		// waits for this answer before it sends any.
		final.Set("Connection", "close")
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *relayWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	passedBytes.Add(int64(n))
	return n, err
}

func (w *relayWriter) writeInterim(status int) {
	switch {
	case !w.r.ProtoAtLeast(1, 1):
		return // it would take it for the final one
	case status == http.StatusContinue:
		return // the server says that when the body is read, and need not say it twice
	}
	final := w.ResponseWriter.Header()
	saved := maps.Clone(final)
	clear(final)
	maps.Copy(final, w.header)
	cache.RemoveHopByHop(final)
	w.ResponseWriter.WriteHeader(status)
	clear(final)
	maps.Copy(final, saved)
}

// Hijack implements http.Hijacker. From then on nobody can be told of an error. The
// header goes the way of all others, for Caddy to log its status; net/http's proxy
// writes one to the connection itself, which comes to nothing.
func (w *relayWriter) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.WriteHeader(http.StatusSwitchingProtocols)
	w.header = make(http.Header)
	conn, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	w.tunnel = &tunnel{Conn: conn, from: rw.Reader}
	return w.tunnel, bufio.NewReadWriter(rw.Reader, bufio.NewWriter(io.Discard)), nil
}

// tunnel is the client's end of an upgraded connection. net/http's proxy leaves while
// it may still copy in one direction; and Caddy counts what is copied, for its log.
type tunnel struct {
	net.Conn

	from *bufio.Reader // has what the client sent early

	mu   sync.RWMutex // held while something is copied
	over bool
}

// Read implements io.Reader.
func (t *tunnel) Read(p []byte) (int, error) { return t.copying(t.from.Read, p) }

// Write implements io.Writer.
func (t *tunnel) Write(p []byte) (int, error) { return t.copying(t.Conn.Write, p) }

func (t *tunnel) copying(do func([]byte) (int, error), p []byte) (int, error) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if t.over {
		return 0, net.ErrClosed
	}
	return do(p)
}

// end waits until nothing is copied any more.
func (t *tunnel) end() {
	t.Close()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
}

// silent is for net/http's proxy, whose errors name addresses. They are logged here.
var silent = zap.NewStdLog(zap.NewNop())
