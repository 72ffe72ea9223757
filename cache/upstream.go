package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/voyo-music/caddy-voyo/internal/byterange"
)

// maxSize is how large an object can be, in bytes. It keeps the arithmetic of
// slices from overflowing, whatever an upstream claims.
const maxSize = 1 << 60

// openTimeout bounds a Fetch, with all the places that it tries in turn.
const openTimeout = 30 * time.Second

// answer is an upstream's answer, whose body is given up when it stalls.
type answer struct {
	*http.Response
	part
	cancel context.CancelCauseFunc
	ctx    context.Context
	timer  *time.Timer // runs while the upstream is waited for
	head   []byte      // peeked, and not read yet

	sealed  bool // what part the body is can't be told: it can be passed on, and nothing else
	patient bool // its one client decides how long the body is waited for
}

// part says which bytes of an object a body holds.
type part struct {
	begin, end int64 // -1 for an end that is not known
	size       int64 // of the object; -1 if not known
}

// maxSlices is how many slices an object can have whose slices are smaller than others'.
// Each takes some 250 bytes that nobody counts, and so many still are within what there is
// for an entry: see bytesPerEntry.
const maxSlices = 32

// sliceSize returns the size for slices, at most the one given, that the part can be
// cut into without a rest; 0 if there is none, or the object would have too many.
func (p part) sliceSize(most int64) int64 {
	size := gcd(p.begin, most) // which is most itself if the part is at the beginning
	if p.end != p.size {
		if size = gcd(p.begin, p.end); size > most {
			size = gcd(size, most)
		}
	} else if 0 < p.begin && p.begin <= most {
		size = p.begin
	}
	if p.size/size >= maxSlices && size < most {
		return 0
	}
	return size
}

func gcd(a, b int64) int64 {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// ask sends a request upstream. The caller must close the answer.
func ask(ctx context.Context, req Request, fetch Fetch, header http.Header) (*answer, error) {
	a := &answer{}
	a.ctx, a.cancel = context.WithCancelCause(ctx)
	a.timer = time.AfterFunc(openTimeout, func() { a.cancel(ErrStalled) })

	defer func() {
		if a.Response == nil { // an error, or a panic
			a.timer.Stop()
			a.cancel(nil)
		}
	}()
	resp, err := fetch(a.ctx, header) //nolint:bodyclose // answer.close does
	a.timer.Stop()
	if err != nil {
		return nil, a.cause(err)
	}
	a.Response = resp
	a.part, err = bodyPart(resp, header.Get("Range"))
	if err == nil && !req.Policy.Gateway && !isOfObject(resp.StatusCode) {
		err = fmt.Errorf("%w: status %d", ErrBadAnswer, resp.StatusCode)
	}
	switch {
	case err == nil && (!req.Policy.Gateway || resp.StatusCode != http.StatusRequestedRangeNotSatisfiable):
	case req.Policy.Gateway: // it is for the client to judge
		a.part, a.sealed = part{0, resp.ContentLength, -1}, true
	default:
		a.close()
		return nil, err
	}
	return a, nil
}

// askAnew asks for an object whose upstream has answered the question alone: a range
// that one client has made up says nothing of the object to others, nor does a 304 about
// another version than the stored one (RFC 9111, section 4.3.4). Behind a range that
// begins after the end it asks for the first slice, so that no client has an upstream
// send what nobody wants.
func askAnew(ctx context.Context, fl *flight, req Request, last *answer) (*answer, error) {
	last.close()
	fl.sent = make(http.Header)
	if last.StatusCode == http.StatusRequestedRangeNotSatisfiable && saysSize(last) && !req.Policy.Gateway && req.Policy.Admit == nil {
		fl.sent.Set("Range", openingRange(byterange.Spec{First: 0, Last: 0}, fl.slice, 0))
		a, err := ask(ctx, req, req.Fetch, fl.sent)
		if err != nil || isOfBytes(a.StatusCode) {
			return a, err
		}
		a.close()
		fl.sent = make(http.Header)
	}
	return ask(ctx, req, req.Fetch, fl.sent)
}

// saysSize reports whether a 416 has the size of an object that is not empty.
func saysSize(a *answer) bool {
	_, size, err := byterange.ParseContentRange(a.Header.Get("Content-Range"))
	return errors.Is(err, byterange.ErrUnsatisfied) && size > 0
}

// isOfBytes reports whether an answer with the status has bytes of the object.
func isOfBytes(status int) bool {
	return status == http.StatusOK || status == http.StatusPartialContent
}

// isOfObject reports whether a status says something of an object that there is, and
// nothing else.
func isOfObject(status int) bool {
	switch status {
	case http.StatusOK, http.StatusPartialContent, http.StatusNotModified, http.StatusRequestedRangeNotSatisfiable:
		return true
	}
	return false
}

// Read reads the body.
func (a *answer) Read(p []byte) (int, error) {
	if len(a.head) > 0 {
		n := copy(p, a.head)
		a.head = a.head[n:]
		return n, nil
	}
	if !a.patient {
		a.timer.Reset(StallTimeout)
	}
	n, err := a.Body.Read(p)
	a.timer.Stop()
	if err != nil && err != io.EOF {
		err = a.cause(err)
	}
	return n, err
}

// peek returns the first n bytes of the body, or all of a shorter one, without
// taking them out of it.
func (a *answer) peek(n int) ([]byte, error) {
	head := make([]byte, n)
	have := 0
	for have < n {
		m, err := a.Read(head[have:])
		have += m
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
	}
	a.head = head[:have]
	return a.head, nil
}

// cause returns why the exchange was given up, or else err.
func (a *answer) cause(err error) error {
	if cause := context.Cause(a.ctx); cause != nil {
		return cause
	}
	return err
}

// close ends the exchange. A body that was read to its end leaves its connection
// to the next request.
func (a *answer) close() {
	_ = a.Body.Close()
	a.timer.Stop()
	a.cancel(nil)
}

// bodyPart returns what the body of an answer to a request with the Range field
// holds (RFC 9110, sections 14.4 and 15.3.7).
func bodyPart(resp *http.Response, asked string) (part, error) {
	switch resp.StatusCode {
	case http.StatusPartialContent:
		r, size, ok := byterange.Answer(asked, resp.Header.Get("Content-Range"), resp.ContentLength)
		if !ok || size > maxSize {
			return part{}, fmt.Errorf("%w: not the range that was asked for", ErrBadAnswer)
		}
		return part{r.Start, r.End, size}, nil
	case http.StatusNotModified, http.StatusRequestedRangeNotSatisfiable:
		return part{0, 0, -1}, nil
	default:
		if resp.ContentLength > maxSize {
			return part{}, fmt.Errorf("%w: Content-Length", ErrBadAnswer)
		}
		return part{0, resp.ContentLength, resp.ContentLength}, nil
	}
}
