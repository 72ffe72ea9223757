package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/voyo-music/caddy-voyo/internal/byterange"
	"github.com/voyo-music/caddy-voyo/internal/contain"
)

// forward answers a GET or HEAD with what the upstream has, uncached: the range
// and the preconditions are the upstream's to evaluate. The exchange ends with the
// request.
func (t *transaction) forward(w http.ResponseWriter, r *http.Request) (Status, error) {
	a, err := t.askAlone(r)
	if err == nil {
		defer a.close()
		err = a.admit(t.req.Policy)
	}
	if err != nil {
		w.Header().Set("Cache-Status", t.outcome.String())
		return Failed, err
	}
	policy, head := t.req.Policy, r.Method == http.MethodHead
	p := &t.response
	*p = response{t: t, w: w, status: a.StatusCode, outcome: &t.outcome, annotate: t.req.Annotate}
	if policy.Gateway {
		p.clientHeader = copyHeader(a.Header)
		err = p.relay(a, head)
	} else {
		p.clientHeader = newClientHeader(a.Header, policy)
		if t.req.Peer {
			p.set(PeerField, "no-store")
		}
		err = p.forward(a, head)
	}
	if err != nil {
		return Failed, p.end(err)
	}
	return Pass, nil
}

// askAlone returns an answer for this request alone, for as long as its client waits.
func (t *transaction) askAlone(r *http.Request) (*answer, error) {
	if a := t.own; a != nil {
		t.own, a.patient = nil, true
		context.AfterFunc(r.Context(), func() { a.cancel(context.Cause(r.Context())) })
		return a, nil
	}
	if err := t.permit(); err != nil {
		return nil, err
	}
	if t.req.Policy.Gateway {
		return t.askGateway(r)
	}
	header := forwardHeader(r)
	if t.req.Policy.Admit != nil { // it has to see the beginning
		header.Del("Range")
		header.Del("If-Range")
	}
	return ask(r.Context(), t.req, t.req.Fetch, header)
}

// askGateway asks as the client did.
func (t *transaction) askGateway(r *http.Request) (*answer, error) {
	fetch := t.req.Fetch
	if r.Method == http.MethodHead {
		fetch = t.req.Head
	}
	asked := time.Now()
	a, err := ask(r.Context(), t.req, fetch, pickFields(r.Header, ConditionFields))
	if err != nil {
		return nil, err
	}
	a.patient = true
	if r.Method == http.MethodHead {
		t.c.heard(t.req, a, asked)
	}
	return a, nil
}

// ConditionFields are those that the cache evaluates itself, where it can (RFC
// 9110, sections 13.1 and 14.2).
var ConditionFields = []string{
	"If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "If-Unmodified-Since", "Range",
}

func pickFields(h http.Header, names []string) http.Header {
	picked := make(http.Header)
	for _, name := range names {
		if v := h[name]; len(v) > 0 {
			picked[name] = v
		}
	}
	return picked
}

// forward sends an answer as the object's that it is about.
func (p *response) forward(a *answer, head bool) error {
	switch a.StatusCode {
	case http.StatusNotModified:
		p.del("Content-Type")
		p.begin()
		return nil
	case http.StatusRequestedRangeNotSatisfiable:
		_, size, err := byterange.ParseContentRange(a.Header.Get("Content-Range"))
		if !errors.Is(err, byterange.ErrUnsatisfied) {
			size = -1
		}
		if !head {
			p.unsatisfied(size)
			p.begin()
			return nil
		}
		if size > 0 { // it has a first byte, after all
			return fmt.Errorf("%w: status 416 to its first byte", ErrBadAnswer)
		}
		// It is empty. What the header describes is the page about that.
		p.del("Content-Type")
		p.status, a.size = http.StatusOK, 0
	}
	if head {
		p.status = http.StatusOK
		if a.size >= 0 {
			p.set("Content-Length", strconv.FormatInt(a.size, 10))
		}
		p.begin()
		return nil
	}
	if a.StatusCode == http.StatusPartialContent {
		p.set("Content-Range", a.Header.Get("Content-Range"))
	}
	if a.end >= 0 {
		p.set("Content-Length", strconv.FormatInt(a.end-a.begin, 10))
	}
	return pipe(p, a)
}

// relay sends an answer as it is, with its trailers.
func (p *response) relay(a *answer, head bool) error {
	if !hasContent(a.StatusCode) {
		p.del("Content-Length")
	}
	if head || a.StatusCode == http.StatusNotModified || !hasContent(a.StatusCode) {
		p.begin()
		return nil
	}
	announced := slices.Sorted(maps.Keys(a.Trailer))
	for _, name := range announced {
		p.add("Trailer", name)
	}
	if a.end < 0 { // it may be long until there is something to say
		p.begin()
		p.flush()
	}
	if err := pipe(p, a); err != nil {
		return err
	}
	for name, values := range a.Trailer {
		if !slices.Contains(announced, name) {
			name = http.TrailerPrefix + name
		}
		p.w.Header()[name] = values
	}
	return nil
}

// admit has the policy look at the beginning of the body, if it wants to.
func (a *answer) admit(p *Policy) error {
	if p.Admit == nil || a.StatusCode != http.StatusOK {
		return nil
	}
	head, err := a.peek(SniffLen)
	if err != nil {
		return err
	}
	return contain.Do(func() error { return p.Admit(a.Header, head) })
}

// forwardHeader returns the fields that the upstream is sent. A HEAD asks for one
// byte, since a signed URL is good for GET alone.
func forwardHeader(r *http.Request) http.Header {
	names := []string{"Range", "If-Range", "If-None-Match", "If-Modified-Since"}
	if specs, err := byterange.Parse(r.Header.Get("Range")); err != nil || len(specs) > 1 {
		names = names[2:] // the whole will do (RFC 9110, section 14.2)
	}
	if r.Method != http.MethodHead {
		return pickFields(r.Header, names)
	}
	h := pickFields(r.Header, names[len(names)-2:])
	h.Set("Range", "bytes=0-0")
	return h
}

// pipe sends the body as it comes, and makes sure that it is as long as it says.
func pipe(p *response, a *answer) error {
	buf := newBuffer()
	var werr error
	defer func() { buf.release(werr) }()
	var total int64
	for {
		n, err := a.Read(buf[:])
		if total += int64(n); a.end >= 0 && total > a.end-a.begin {
			return fmt.Errorf("%w: body is too long", ErrBadAnswer)
		}
		if n > 0 {
			werr = p.write(buf[:n])
			p.t.count()
			if werr != nil {
				return werr
			}
		}
		switch {
		case err == io.EOF && a.end >= 0 && total < a.end-a.begin:
			return io.ErrUnexpectedEOF
		case err == io.EOF:
			p.begin() // the body may be empty
			return nil
		case err != nil:
			return err
		case n < len(buf):
			p.idle() // the upstream has no more for now
		}
	}
}
