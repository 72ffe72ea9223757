package cache

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"

	"github.com/voyo-music/caddy-voyo/internal/byterange"
	"github.com/voyo-music/caddy-voyo/internal/contain"
)

// buffers hold what is on its way from an upstream to one client.
var buffers = sync.Pool{New: func() any { return new([64 << 10]byte) }}

// Forward answers a GET or HEAD with what the upstream has, uncached: the range
// and the preconditions are the upstream's to evaluate. The exchange ends with the
// request. Its errors are those of Serve.
func Forward(w http.ResponseWriter, r *http.Request, req Request) (Status, error) {
	header := forwardHeader(r)
	if req.Policy.Admit != nil { // it has to see the beginning
		header.Del("Range")
		header.Del("If-Range")
	}
	a, err := ask(r.Context(), req.Fetch, header)
	w.Header().Set("Cache-Status", outcome{bypass: true}.String())
	if err != nil {
		return Failed, err
	}
	defer a.close()
	if err := a.admit(req.Policy); err != nil {
		return Failed, err
	}

	p := &response{w: w, status: a.StatusCode, header: clientHeader(a.Header, req.Policy), annotate: req.Annotate}
	switch a.StatusCode {
	case http.StatusNotModified:
		p.header.Del("Content-Type")
		p.begin()
		return Pass, nil
	case http.StatusRequestedRangeNotSatisfiable:
		if r.Method == http.MethodHead { // of something empty
			p.status, a.size = http.StatusOK, 0
			break
		}
		_, size, err := byterange.ParseContentRange(a.Header.Get("Content-Range"))
		if !errors.Is(err, byterange.ErrUnsatisfied) {
			size = -1
		}
		p.unsatisfied(size)
		p.begin()
		return Pass, nil
	}
	if r.Method == http.MethodHead {
		p.status = http.StatusOK
		if a.size >= 0 {
			p.header.Set("Content-Length", strconv.FormatInt(a.size, 10))
		}
		p.begin()
		return Pass, nil
	}
	if a.StatusCode == http.StatusPartialContent {
		p.header.Set("Content-Range", a.Header.Get("Content-Range"))
	}
	if a.end >= 0 {
		p.header.Set("Content-Length", strconv.FormatInt(a.end-a.begin, 10))
	}
	if err := p.end(pipe(p, a)); err != nil {
		return Failed, err
	}
	return Pass, nil
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
	h := make(http.Header)
	names := []string{"Range", "If-Range", "If-None-Match", "If-Modified-Since"}
	if specs, err := byterange.Parse(r.Header.Get("Range")); err != nil || len(specs) > 1 {
		names = names[2:] // the whole will do (RFC 9110, section 14.2)
	}
	if r.Method == http.MethodHead {
		h.Set("Range", "bytes=0-0")
		names = names[len(names)-2:]
	}
	for _, name := range names {
		if v := r.Header[name]; len(v) > 0 {
			h[name] = v
		}
	}
	return h
}

// pipe sends the body as it comes, and makes sure that it is as long as it says.
func pipe(p *response, a *answer) error {
	buf := buffers.Get().(*[64 << 10]byte)
	defer buffers.Put(buf)
	var total int64
	for {
		n, err := a.Read(buf[:])
		if total += int64(n); a.end >= 0 && total > a.end-a.begin {
			return fmt.Errorf("%w: body is too long", ErrBadAnswer)
		}
		if n > 0 {
			if werr := p.write(buf[:n]); werr != nil {
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
