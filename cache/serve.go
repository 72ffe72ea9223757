package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/voyo-music/caddy-voyo/internal/byterange"
)

// Serve answers a GET or HEAD out of the cache, and brings into it what is
// missing. On an error nothing has been written but Cache-Status, and what another
// cache is told, and the caller is to answer; unless the error wraps ErrAborted.
func (c *Cache) Serve(w http.ResponseWriter, r *http.Request, req Request) (Status, error) {
	t := &transaction{c: c, req: req, headOnly: r.Method == http.MethodHead, sendfile: canSendfile(w, r)}
	defer t.finish()
	if req.Policy.Gateway {
		t.tell = teller(w, r)
	}
	specs, want := wanted(r)

	err := errSuperseded
	for attempt := 0; errors.Is(err, errSuperseded) && !errors.Is(err, ErrAborted); attempt++ {
		// Another version that shows itself before the first byte is a new start. If
		// that goes on the client gets an answer of its own.
		if attempt == maxOpenings {
			t.pass, t.outcome = true, outcome{bypass: true}
		} else if err = t.open(r.Context(), want); err != nil {
			break
		}
		if t.pass {
			return t.forward(w, r)
		}
		err = t.answer(w, r, specs)
		want = whole // where the object can't be resumed, and more of it is needed
	}
	if err != nil && !errors.Is(err, ErrAborted) {
		t.outcome.stored = false // which was a promise: nothing has come that could be
		w.Header().Set("Cache-Status", t.outcome.String())
		t.tellMissing(w.Header(), err)
		return Failed, err
	}
	return t.outcome.status(), err
}

// finish closes a transaction that has answered, and counts it.
func (t *transaction) finish() {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	t.letGo()
	if t.outcome.hit {
		t.c.hits++
	} else {
		t.c.misses++
	}
}

// wanted returns the ranges that a request asks for, nil for the whole object,
// and what to open the object with. A field that can't be read is ignored (RFC
// 9110, section 14.2).
func wanted(r *http.Request) (specs []byterange.Spec, want byterange.Spec) {
	if r.Method == http.MethodHead {
		return nil, byterange.Spec{First: 0, Last: 0}
	}
	field := r.Header.Get("Range")
	if field == "" {
		return nil, whole
	}
	specs, err := byterange.Parse(field)
	if err != nil {
		return nil, whole
	}
	return specs, specs[0]
}

// response is one answer on its way to the client.
type response struct {
	*clientHeader // to be added to w's with the first byte

	t      *transaction // which counts what is sent
	w      http.ResponseWriter
	status int
	sent   bool // the status has been written
	behind bool // bytes were written since the last flush

	outcome  *outcome                  // for Cache-Status
	annotate func(Status, http.Header) // may be nil
	sendfile bool                      // the kernel can copy from files to the connection
}

// begin writes the header, once.
func (p *response) begin() {
	if p.sent {
		return
	}
	p.sent = true
	h := p.w.Header()
	if !p.has("Cache-Status") { // what caches on the way have entered (RFC 9211, section 2)
		for _, line := range h["Cache-Status"] {
			p.add("Cache-Status", line)
		}
	}
	p.add("Cache-Status", p.outcome.String())
	vary, varies := h["Vary"], p.has("Vary")
	p.moveTo(h)
	p.clientHeader = nil
	if varies { // besides what other handlers' answers vary by
		h["Vary"] = slices.Concat(vary, h["Vary"])
	}
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // or else net/http guesses, for whoever did not want to say
	}
	if p.annotate != nil {
		p.annotate(p.outcome.status(), h)
	}
	p.w.WriteHeader(p.status)
}

func (p *response) write(b []byte) error {
	p.begin()
	p.behind = true
	n, err := p.w.Write(b)
	p.t.sent.all += int64(n)
	return err
}

// writeFile takes the n bytes of a file from off on, and returns how many the client
// was sent.
func (p *response) writeFile(f *os.File, off, n int64) (sent int64, err error) {
	p.begin()
	p.behind = true
	defer func() { p.t.sent.addFromDisk(sent) }()
	if p.sendfile {
		return sendfile(p.w.(io.ReaderFrom), f, off, n)
	}
	buf := newBuffer()
	var werr error
	defer func() { buf.release(werr) }()
	for sent < n {
		b := buf[:min(n-sent, int64(len(buf)))]
		if _, err := f.ReadAt(b, off+sent); err != nil {
			return sent, unexpected(err)
		}
		var written int
		written, werr = p.w.Write(b)
		sent += int64(written)
		if werr != nil {
			return sent, werr
		}
	}
	return sent, nil
}

// idle sends what has been written, so that a listener who has to wait has all
// that there is.
func (p *response) idle() {
	if p.behind {
		p.behind = false
		p.flush()
	}
}

func (p *response) flush() {
	_ = http.NewResponseController(p.w).Flush() // not every writer can
}

// end turns an error after the first byte into ErrAborted.
func (p *response) end(err error) error {
	if err != nil && p.sent {
		return fmt.Errorf("%w: %w", ErrAborted, err)
	}
	return err
}

// answer sends the object, or the parts of it that are asked for. The header is
// written together with the first byte, so that what fails before can still be
// answered in another way.
func (t *transaction) answer(w http.ResponseWriter, r *http.Request, specs []byterange.Spec) error {
	p := &t.response
	*p = response{t: t, w: w, status: http.StatusOK, outcome: &t.outcome, annotate: t.req.Annotate, sendfile: t.sendfile}
	size, verdict, ranged := t.prepare(p, r)
	switch {
	case verdict == notModified:
		p.status = http.StatusNotModified
		p.dropMetadata()
		t.sendHeader(p)
		return nil
	case verdict == failed:
		p.status = http.StatusPreconditionFailed
		p.clear()
		t.sendHeader(p)
		return nil
	case r.Method == http.MethodHead:
		if size >= 0 && hasContent(p.status) {
			p.set("Content-Length", strconv.FormatInt(size, 10))
		}
		t.sendHeader(p)
		return nil
	}
	ctx := r.Context()
	if specs == nil || size <= 0 || p.status != http.StatusOK || !ranged {
		return t.sendWhole(ctx, p, size)
	}
	ranges, _ := byterange.Resolve(specs, size)
	if len(ranges) == 0 { // none is satisfiable
		p.unsatisfied(size)
		t.sendHeader(p)
		return nil
	}
	if !t.serves(ranges) {
		return errSuperseded
	}
	p.status = http.StatusPartialContent
	if len(ranges) > 1 {
		return t.sendParts(ctx, p, ranges, size)
	}
	rng := ranges[0]
	p.set("Content-Range", byterange.ContentRange(rng, size))
	p.set("Content-Length", strconv.FormatInt(rng.Len(), 10))
	return p.end(t.copy(ctx, rng.Start, rng.End, p))
}

// prepare sets the header of an answer with the whole object, and evaluates the
// request's preconditions, and whether ranges may be sent.
func (t *transaction) prepare(p *response, r *http.Request) (size int64, v verdict, ranged bool) {
	t.c.mu.Lock()
	o := t.obj
	now := time.Now()
	stored, age, stale := o.header, o.currentAge(now), o.staleFor(now)
	size, p.status = o.size, o.status
	t.c.mu.Unlock()

	if t.full != nil {
		stored = t.full
	}
	p.clientHeader = newClientHeader(stored, t.req.Policy)
	// It says that the upstream was not asked for this request (RFC 9111, section 5.1).
	if t.stored || stored.Get("Age") != "" {
		p.set("Age", seconds(age))
	}
	if t.req.Peer {
		p.tellPeer(t.req.Policy, stored, age, stale)
	}
	if p.status == http.StatusOK { // RFC 9110, section 13.2.1
		v = precondition(r, stored)
	}
	return size, v, ifRangeHolds(r, stored)
}

// hasContent reports whether answers with a status can have content (RFC 9110, section
// 8.6).
func hasContent(status int) bool { return status != http.StatusNoContent }

// sendHeader answers without a body. If the object was stored, so was all that
// is sent.
func (t *transaction) sendHeader(p *response) {
	if t.stored && !t.outcome.failed {
		t.outcome.partial, t.outcome.collapsed, t.outcome.hit = false, false, true
	}
	p.begin()
}

// serves reports whether all of the ranges can be had of the object, and notes
// how, now that it is known what is sent.
func (t *transaction) serves(ranges []byterange.Range) bool {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	here, promised := true, true
	for _, r := range ranges {
		here = here && r.End >= 0 && t.obj.holds(r.Start, r.End)
		promised = promised && t.obj.promised(r.Start, r.End)
	}
	if !promised && !t.obj.resumable() {
		return false
	}
	if t.stored && t.outcome.hit && !here {
		t.outcome.hit, t.outcome.collapsed, t.outcome.partial, t.outcome.stored = false, promised, !promised, !promised
	}
	return true
}

func (t *transaction) sendWhole(ctx context.Context, p *response, size int64) error {
	if !t.serves([]byterange.Range{{Start: 0, End: size}}) {
		return errSuperseded
	}
	if size >= 0 && hasContent(p.status) {
		p.set("Content-Length", strconv.FormatInt(size, 10))
	}
	if size == 0 {
		t.sendHeader(p)
		return nil
	}
	err := p.end(t.copy(ctx, 0, size, p))
	if err == nil {
		p.begin() // an object of unknown size may be empty
	}
	return err
}

// sendParts sends several ranges as multipart/byteranges (RFC 9110, section
// 14.6).
func (t *transaction) sendParts(ctx context.Context, p *response, ranges []byterange.Range, size int64) error {
	contentType := p.get("Content-Type")
	partHeader := func(r byterange.Range) textproto.MIMEHeader {
		h := textproto.MIMEHeader{"Content-Range": {byterange.ContentRange(r, size)}}
		if contentType != "" {
			h.Set("Content-Type", contentType)
		}
		return h
	}
	var length counter
	measure := multipart.NewWriter(&length)
	for _, r := range ranges {
		if _, err := measure.CreatePart(partHeader(r)); err != nil {
			return err
		}
		length += counter(r.Len())
	}
	if err := measure.Close(); err != nil {
		return err
	}
	p.set("Content-Type", "multipart/byteranges; boundary="+measure.Boundary())
	p.set("Content-Length", strconv.FormatInt(int64(length), 10))

	body := multipart.NewWriter(writerFunc(p.write))
	if err := body.SetBoundary(measure.Boundary()); err != nil {
		return err
	}
	for _, r := range ranges {
		// The first bytes come before anything is written.
		first, err := t.next(ctx, r.Start, r.End, p)
		if err != nil {
			return p.end(err)
		}
		if _, err := body.CreatePart(partHeader(r)); err != nil {
			first.close()
			return p.end(err)
		}
		n, err := t.send(first, wants(r.Start, r.End, first.len()), p)
		if err != nil {
			return p.end(err)
		}
		if err := t.copy(ctx, r.Start+n, r.End, p); err != nil {
			return p.end(err)
		}
	}
	return p.end(body.Close())
}

// unsatisfied makes the answer a 416 (RFC 9110, section 15.5.17). The size may be
// -1, for unknown.
func (p *response) unsatisfied(size int64) {
	p.status = http.StatusRequestedRangeNotSatisfiable
	p.clear()
	p.set("Cache-Control", "no-store")
	if size >= 0 {
		p.set("Content-Range", byterange.Unsatisfied(size))
	}
}

// counter is a writer that counts.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

// writerFunc makes a writer of a function.
type writerFunc func([]byte) error

func (f writerFunc) Write(p []byte) (int, error) {
	if err := f(p); err != nil {
		return 0, err
	}
	return len(p), nil
}
