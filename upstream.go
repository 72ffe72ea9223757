package voyo

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"path"
	"sync/atomic"
	"time"

	"go.uber.org/zap"

	"github.com/voyo-music/caddy-voyo/cache"
	"github.com/voyo-music/caddy-voyo/internal/byterange"
	"github.com/voyo-music/caddy-voyo/resolver"
)

const (
	// maxRedirects is how many redirects of an upstream are followed.
	maxRedirects = 5

	// maxDrain is how large, in bytes, the body of an answer that is not used may
	// be to be read to its end, so that its connection can be used again.
	maxDrain = 16 << 10

	// maxDrainTime is how long that may take, while others wait.
	maxDrainTime = 100 * time.Millisecond
)

// upstream is where a request's asset comes from. A cache fetches through it,
// maybe for other clients as well and after this one has left. So it holds
// nothing of the client's request, except what cuts loops.
type upstream struct {
	h       *Handler
	asset   resolver.Asset
	came    time.Time // when the request did
	cdnLoop string
	source  atomic.Pointer[string] // the resolver that had it, or the other tier
	timing  atomic.Pointer[timing] // of the last fetch
	tiers   atomic.Pointer[string] // what the caches of the other tier did for that; nil if it was not asked
	peer    bool                   // another edge asks
}

func (h *Handler) upstream(r *http.Request, a resolver.Asset) *upstream {
	return &upstream{h: h, asset: a, came: time.Now(), cdnLoop: cdnLoop(r.Header), peer: len(passedEdges(r.Header)) > 0}
}

// request returns what a cache needs to know to serve the asset. permit may be nil, and
// so may be the link that the client has come by.
func (u *upstream) request(permit func() error, signed *link) cache.Request {
	policy := &u.h.streamPolicy
	if u.asset.Kind == resolver.Art {
		policy = &u.h.artPolicy
	}
	annotate := func(status cache.Status, header http.Header) {
		observeFirstByte(string(u.asset.Kind), u.came, status)
		if !isHit(header) { // or else what was fetched meanwhile is not what this answer has waited for
			u.setTiming(header)
			u.setTiers(header)
		}
		boundFreshness(header, policy.MaxAge, signed)
	}
	return cache.Request{Key: u.asset.Key(), Policy: policy, Fetch: u.fetch, Permit: permit, Peer: u.peer, Annotate: annotate}
}

// answeredBy returns the name of the resolver that the last fetch was answered
// by. It is empty if the cache needed none.
func (u *upstream) answeredBy() string {
	if name := u.source.Load(); name != nil {
		return *name
	}
	return ""
}

// fetch is the cache's Fetch: it brings the asset, or else the next best one that
// there is. The error is cache.ErrNotFound, a failure, or that of ctx.
func (u *upstream) fetch(ctx context.Context, header http.Header) (*http.Response, error) {
	// It may have been taken down since the request was let through. If that comes after
	// this, what is fetched is purged.
	if u.h.state.takedowns.has(u.asset.ID) {
		return nil, errTakenDown
	}
	t := new(timing)
	ctx = t.trace(ctx)
	defer u.timing.Store(t)
	u.tiers.Store(nil)
	if resp, err := u.askShields(ctx, header); resp != nil || err != nil {
		return resp, err
	}
	for i, a := range u.asset.Alternatives() {
		if i == 1 {
			header = header.Clone()
			header.Del("If-Modified-Since")
		}
		resp, err := u.fetchAsset(ctx, a, header)
		// Only what is known not to exist is replaced. If a merely failed just now,
		// 64 kbit/s would be kept in the place of 128.
		if errors.Is(err, resolver.ErrNotFound) {
			continue
		}
		// The same date can be that of several of them, and then neither must be
		// confirmed by another. Entity tags tell them apart.
		if err == nil && i > 0 && resp.Header.Get("Etag") == "" {
			resp.Header.Del("Last-Modified")
		}
		return resp, err
	}
	return nil, cache.ErrNotFound
}

// fetchAsset brings the asset and nothing else. The error is resolver.ErrNotFound
// if no resolver has it, a failure, or that of ctx.
func (u *upstream) fetchAsset(ctx context.Context, a resolver.Asset, header http.Header) (*http.Response, error) {
	var names, reasons []string
	err := resolver.ErrNotFound
	for i := range u.h.resolvers {
		r := &u.h.resolvers[i]
		resp, askErr := u.ask(ctx, r, a, header)
		if askErr == nil {
			u.source.Store(&r.display)
			return resp, nil
		}
		if errors.Is(askErr, resolver.ErrNotFound) {
			continue
		}
		if ctx.Err() != nil {
			askErr = context.Cause(ctx)
			if !isTimeout(askErr) {
				return nil, askErr // nobody waits any more, which is nobody's fault
			}
		}
		f := failureOf(askErr)
		if f.counts() {
			u.h.state.pulses.failed(r.name, f.reason)
		}
		names, reasons, err = append(names, r.display), append(reasons, f.String()), f
		if ctx.Err() != nil {
			break // out of time, which is not the next resolver's fault
		}
	}
	if len(reasons) > 0 {
		u.h.logger.Warn("could not fetch from upstream",
			zap.String("id", a.ID.VOYO()),
			zap.String("kind", string(a.Kind)),
			zap.Strings("resolvers", names),
			zap.Strings("reasons", reasons))
	}
	return nil, err
}

// ask asks one resolver, and then the places that it names. The error is
// resolver.ErrNotFound if neither has the asset.
func (u *upstream) ask(ctx context.Context, r *namedResolver, a resolver.Asset, header http.Header) (*http.Response, error) {
	memo := u.h.state.memo
	for first := true; ; first = false {
		resolved := resolving(ctx)
		ans, remembered, err := memo.Resolve(ctx, r.name, r.Resolver, a, u.h.memoTTL)
		resolved()
		countLookup(ctx, r.display, remembered, err)
		if err != nil {
			u.h.reportPanic(err)
			return nil, err
		}
		resp, refused, err := u.try(ctx, r, ans.Targets, a, header)
		if err == nil || errors.Is(err, resolver.ErrNotFound) {
			u.h.state.pulses.succeeded(r.name)
		}
		// A remembered place that refuses may be out of date. One that was just
		// named is not, nor is one that follows from the configuration.
		if err == nil || !refused || !remembered || ans.Computed || !first {
			return resp, err
		}
		memo.Forget(r.name, a, ans)
	}
}

// try asks the places in order. The error is resolver.ErrNotFound if all of them
// said so, or else the last failure; refused says whether any did.
func (u *upstream) try(
	ctx context.Context, r *namedResolver, targets []resolver.Target, a resolver.Asset, header http.Header,
) (resp *http.Response, refused bool, err error) {
	err = resolver.ErrNotFound
	for i, t := range targets {
		resp, getErr := u.get(ctx, t, a, header)
		countFetch(ctx, string(a.Kind), r.display, resp, getErr)
		switch {
		case getErr == nil:
			return resp, false, nil
		case errors.Is(getErr, resolver.ErrNotFound):
			refused = true
		case ctx.Err() != nil:
			return nil, refused, getErr
		default:
			f := failureOf(getErr)
			u.h.logger.Debug("upstream failed",
				zap.String("id", a.ID.VOYO()),
				zap.String("kind", string(a.Kind)),
				zap.String("quality", a.Quality()),
				zap.String("resolver", r.display),
				zap.Int("target", i),
				zap.Stringer("reason", f))
			err = f
		}
	}
	return nil, refused, err
}

// get asks one place. What it returns has been checked and stripped of all that
// is not for clients.
func (u *upstream) get(ctx context.Context, t resolver.Target, a resolver.Asset, header http.Header) (*http.Response, error) {
	own := upstreamHeader(a, header, u.cdnLoop)
	client := http.Client{Transport: u.h.client, CheckRedirect: checkRedirect(own)}
	resp, err := client.Do(newRequest(ctx, t, own))
	if err != nil {
		return nil, err
	}
	if err := accept(resp, a, path.Ext(t.URL.Path), own); err != nil {
		discard(resp)
		return nil, err
	}
	return resp, nil
}

// accept checks that an answer is one to the request, whose header is given, for a file
// with the extension, and strips it of all that is not for clients.
func accept(resp *http.Response, a resolver.Asset, ext string, sent http.Header) error {
	if err := checkAnswer(resp, a, ext, sent); err != nil {
		return err
	}
	if a.Kind == resolver.Stream && isEmpty(resp) {
		return resolver.ErrNotFound
	}
	if resp.StatusCode == http.StatusOK {
		if err := sniff(resp, a.Kind); err != nil {
			return err
		}
	}
	resp.Header = pick(resp.Header, responseFields)
	if hasContent(resp) {
		setContentType(resp.Header, a, ext)
	}
	// these hold what a client may not see, and are of no use from here on
	resp.Request, resp.Trailer = nil, nil
	return nil
}

// newRequest makes the request for a target: with our own header, and what the
// target wants to be sent. The answer that the target is of is shared, so both
// are copied.
func newRequest(ctx context.Context, t resolver.Target, own http.Header) *http.Request {
	target := *t.URL
	header := own.Clone()
	for name, values := range t.Header {
		header[http.CanonicalHeaderKey(name)] = values
	}
	r := &http.Request{Method: http.MethodGet, URL: &target, Host: target.Host, Header: header}
	return r.WithContext(ctx)
}

// checkRedirect bounds redirects, and keeps to itself what is for the target
// alone. net/http takes care only of header fields that it knows, and it adds a
// Referer, which would hand a signed URL to the next host.
func checkRedirect(own http.Header) func(*http.Request, []*http.Request) error {
	return func(r *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects {
			return errRedirects
		}
		if first := via[0].URL; r.URL.Scheme != first.Scheme || r.URL.Host != first.Host {
			r.Header = own.Clone()
		}
		r.Header.Del("Referer")
		return nil
	}
}

// checkAnswer checks that an answer is one to the request, whose header is given,
// for a file with the extension. A mislabelled answer is a failure like any other:
// the next place may do better.
func checkAnswer(resp *http.Response, a resolver.Asset, ext string, sent http.Header) error {
	switch resp.StatusCode {
	case http.StatusForbidden, http.StatusNotFound, http.StatusGone:
		// A bucket that may not be listed answers 403 for what it does not have.
		return resolver.ErrNotFound
	case http.StatusOK:
	case http.StatusPartialContent:
		if _, _, ok := byterange.Answer(sent.Get("Range"), resp.Header.Get("Content-Range"), resp.ContentLength); !ok {
			return errBadAnswer
		}
	case http.StatusRequestedRangeNotSatisfiable:
		if sent.Get("Range") == "" {
			return errBadAnswer
		}
	case http.StatusNotModified:
		if sent.Get("If-None-Match") == "" && sent.Get("If-Modified-Since") == "" {
			return errBadAnswer
		}
	default:
		return failure{reason: reasonStatus, status: resp.StatusCode}
	}
	if !hasContent(resp) {
		return nil
	}
	// We have asked for the object as it is (RFC 9110, section 12.5.3).
	for _, coding := range resp.Header.Values("Content-Encoding") {
		if coding != "identity" {
			return errBadAnswer
		}
	}
	if a.Kind == resolver.Stream && !isMedia(resp.Header.Get("Content-Type"), ext) {
		return errBadAnswer
	}
	return nil
}

// hasContent reports whether an answer has a body that is of the object.
func hasContent(resp *http.Response) bool {
	return resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusPartialContent
}

// isEmpty reports whether an answer says that the object has no bytes. That is no track: it
// may be what is left of an upload that failed, and would be kept like any other.
func isEmpty(resp *http.Response) bool {
	if resp.StatusCode == http.StatusRequestedRangeNotSatisfiable {
		_, size, _ := byterange.ParseContentRange(resp.Header.Get("Content-Range"))
		return size == 0
	}
	return hasContent(resp) && resp.ContentLength == 0
}

// sniff looks whether an answer has what its status promises, while there is a next
// place to ask.
func sniff(resp *http.Response, kind resolver.Kind) error {
	switch {
	case kind == resolver.Art:
		return sniffImage(resp)
	case resp.ContentLength < 0:
		return sniffStream(resp)
	default:
		return nil
	}
}

// sniffStream looks whether a body of unknown length has anything in it: that of a server
// that fails behind the header ends there, as if it were whole.
func sniffStream(resp *http.Response) error {
	head, err := peek(resp, 1)
	if err == nil && len(head) == 0 {
		return errBadAnswer
	}
	return err
}

// sniffImage looks whether a cover's place has an image. The cache will look again.
func sniffImage(resp *http.Response) error {
	head, err := peek(resp, cache.SniffLen)
	if err == nil && admitImage(make(http.Header), head) != nil {
		return errBadAnswer
	}
	return err
}

// peek waits for the first n bytes of an answer's body, or all of a shorter one, and leaves
// them in it.
func peek(resp *http.Response, n int) ([]byte, error) {
	body, peeked := resp.Body.(*peekedBody)
	if !peeked {
		body = &peekedBody{bufio.NewReader(resp.Body), resp.Body}
		resp.Body = body
	}
	head, err := body.buffered.Peek(n)
	if err != nil && err != io.EOF {
		return nil, err
	}
	return head, nil
}

// peekedBody is a body whose beginning has been looked at.
type peekedBody struct {
	buffered *bufio.Reader
	io.Closer
}

// Read implements io.Reader.
func (b *peekedBody) Read(p []byte) (int, error) { return b.buffered.Read(p) }

// discard gets rid of an answer. Its connection is worth some bytes, but no wait.
func discard(resp *http.Response) {
	if 0 <= resp.ContentLength && resp.ContentLength <= maxDrain {
		enough := time.AfterFunc(maxDrainTime, func() { _ = resp.Body.Close() })
		defer enough.Stop()
		_, _ = io.Copy(io.Discard, resp.Body)
	}
	_ = resp.Body.Close()
}
