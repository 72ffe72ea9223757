package chaos

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/voyo-music/caddy-voyo/internal/byterange"
)

// candidate is a version that an answer may be of.
type candidate struct {
	path string
	claim
}

// candidates are those versions that upstreams have claimed, that the answer's entity tag
// names if it has one, and that may still be used.
func (l *Ledger) candidates(a Answer, fits func(claim) bool) (list []candidate) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, path := range a.Visit.Paths {
		o := l.s.Object(path)
		named := a.named()
		for c := range l.claims[path] {
			version, ok := o.versionOf(named)
			if named != "" && (!ok || version != c.version) || !fits(c) || l.tooOld(a, o, c.version) != nil {
				continue
			}
			list = append(list, candidate{path, c})
		}
	}
	return list
}

// named returns the answer's entity tag, if it has one that is well formed.
func (a Answer) named() string {
	tag := a.Header.Get("Etag")
	if len(tag) < 2 || !strings.HasSuffix(tag, `"`) {
		return ""
	}
	return tag
}

// tooOld returns why a version may not be used for an answer any more. The caller holds
// l.mu.
func (l *Ledger) tooOld(a Answer, o Object, version int) error {
	if version < a.Since.floors[o.Path] {
		return errors.New("purged")
	}
	limit := controls[o.Control]
	if o.Control == "" {
		limit = l.s.Node.TTL
	}
	limit += max(l.s.Node.Revalidate, l.s.Node.IfError) + l.Lag
	if last := l.said[o.Path][version]; a.Since.at.Sub(last) > limit {
		return fmt.Errorf("stale for %s", a.Since.at.Sub(last)-limit)
	}
	return nil
}

// checkAsset checks an answer that is of a track or a cover.
func (l *Ledger) checkAsset(a Answer) error {
	anyOf := func(claim) bool { return true }
	if err := a.checkType(); err != nil {
		return err
	}
	switch a.Status {
	case http.StatusOK:
		return l.checkWhole(a)
	case http.StatusPartialContent:
		return l.checkParts(a)
	case http.StatusRequestedRangeNotSatisfiable:
		return l.checkUnsatisfied(a)
	case http.StatusNotModified:
		if a.Visit.Header.Get("If-None-Match") == "" && a.Visit.Header.Get("If-Modified-Since") == "" {
			return errors.New("status 304 unasked")
		}
	case http.StatusPreconditionFailed:
		if a.Visit.Header.Get("If-Match") == "" && a.Visit.Header.Get("If-Unmodified-Since") == "" {
			return errors.New("status 412 unasked")
		}
		return nil
	default:
		return fmt.Errorf("status %d", a.Status)
	}
	if len(l.candidates(a, anyOf)) == 0 {
		return fmt.Errorf("no version that may be used is %q", a.Header.Get("Etag"))
	}
	return nil
}

// checkType checks that what is of an object has a type that an object may have.
func (a Answer) checkType() error {
	mediaType, _, _ := mime.ParseMediaType(a.Header.Get("Content-Type"))
	top, _, _ := strings.Cut(mediaType, "/")
	if slices.Contains([]string{"", "audio", "image"}, top) ||
		slices.Contains([]string{"multipart/byteranges", "application/octet-stream"}, mediaType) {
		return nil
	}
	return fmt.Errorf("Content-Type: %q", a.Header.Get("Content-Type"))
}

// checkWhole checks an answer with all of an object.
func (l *Ledger) checkWhole(a Answer) error {
	if a.Header.Get("Content-Length") == "0" && a.Visit.Method == http.MethodHead && l.saidEmpty(a) {
		return nil
	}
	size := int64(-1)
	if length := a.Header.Get("Content-Length"); length != "" {
		var err error
		if size, err = strconv.ParseInt(length, 10, 64); err != nil {
			return err
		}
	} else if a.Whole && a.Marked && a.Visit.Method != http.MethodHead {
		size = int64(len(a.Body))
	}
	return l.compare(a, a.Body, 0, size)
}

// compare compares bytes from an offset on with all versions that they may be of. size is
// the object's, -1 if that is not said.
func (l *Ledger) compare(a Answer, body []byte, off, size int64) error {
	list := l.candidates(a, func(c claim) bool { return size < 0 || c.size == size })
	if len(list) == 0 {
		return fmt.Errorf("no version that may be used is %q, of %d bytes", a.Header.Get("Etag"), size)
	}
	furthest := -1
	for _, c := range list {
		at := differs(body, c.path, c.version, off)
		if at < 0 {
			return nil
		}
		furthest = max(furthest, at)
	}
	return fmt.Errorf("%d bytes from %d on of %d are of none of %v: %d are right", len(body), off, size, list, furthest)
}

// checkParts checks an answer with some of an object.
func (l *Ledger) checkParts(a Answer) error {
	specs, err := byterange.Parse(a.Visit.Header.Get("Range"))
	if err != nil {
		return fmt.Errorf("status 206 to Range: %q", a.Visit.Header.Get("Range"))
	}
	if !meetsIfRange(a) {
		return errors.New("status 206 though If-Range is not met")
	}
	mediaType, params, _ := mime.ParseMediaType(a.Header.Get("Content-Type"))
	if mediaType == "multipart/byteranges" {
		return l.checkMultipart(a, params["boundary"])
	}
	r, size, err := byterange.ParseContentRange(a.Header.Get("Content-Range"))
	if err != nil || size < 0 {
		return fmt.Errorf("Content-Range: %q", a.Header.Get("Content-Range"))
	}
	// What an upstream that lies of the size has cut off can be passed on past the cache.
	mayEnd := isPassed(a) && l.surprises(a.Visit.Paths) > 0
	want, _ := byterange.Resolve(specs, size)
	if len(want) != 1 || want[0].Start != r.Start || want[0].End != r.End && (!mayEnd || r.End > want[0].End) {
		return fmt.Errorf("range %v to Range: %q, of %d bytes", r, a.Visit.Header.Get("Range"), size)
	}
	if a.Header.Get("Content-Length") != strconv.FormatInt(r.Len(), 10) || int64(len(a.Body)) > r.Len() {
		return fmt.Errorf("Content-Length: %q with range %v", a.Header.Get("Content-Length"), r)
	}
	return l.compare(a, a.Body, r.Start, size)
}

// isPassed reports whether an answer is the upstream's to this request alone, of which
// nothing is kept.
func isPassed(a Answer) bool {
	status := a.Header.Get("Cache-Status")
	return strings.Contains(status, "fwd=") && !strings.Contains(status, "stored") && !strings.Contains(status, "collapsed")
}

// meetsIfRange reports whether an answer is of the version that its client has, as far as
// the answer says.
func meetsIfRange(a Answer) bool {
	cond, tag, date := a.Visit.Header.Get("If-Range"), a.Header.Get("Etag"), a.Header.Get("Last-Modified")
	return cond == "" || tag+date == "" || cond == tag || cond == date
}

// checkMultipart checks the parts of one version.
func (l *Ledger) checkMultipart(a Answer, boundary string) error {
	parts := multipart.NewReader(bytes.NewReader(a.Body), boundary)
	for {
		p, err := parts.NextPart()
		if err != nil {
			if a.Whole && err != io.EOF {
				return fmt.Errorf("parts: %w", err)
			}
			return nil
		}
		r, size, err := byterange.ParseContentRange(p.Header.Get("Content-Range"))
		if err != nil {
			return fmt.Errorf("Content-Range: %q", p.Header.Get("Content-Range"))
		}
		body, err := io.ReadAll(p)
		if a.Whole && (err != nil || int64(len(body)) != r.Len()) {
			return fmt.Errorf("range %v has %d bytes: %w", r, len(body), err)
		}
		if err := l.compare(a, body[:min(int64(len(body)), r.Len())], r.Start, size); err != nil {
			return err
		}
	}
}

// checkUnsatisfied checks that none of the ranges is there.
func (l *Ledger) checkUnsatisfied(a Answer) error {
	specs, err := byterange.Parse(a.Visit.Header.Get("Range"))
	if err != nil {
		return errors.New("status 416 unasked")
	}
	if a.Header.Get("Content-Range") == "" && l.saidEmpty(a) { // the upstream has not said more
		return nil
	}
	total, err := strconv.ParseInt(strings.TrimPrefix(a.Header.Get("Content-Range"), "bytes */"), 10, 64)
	if err != nil {
		return fmt.Errorf("Content-Range: %q", a.Header.Get("Content-Range"))
	}
	if list, _ := byterange.Resolve(specs, total); len(list) > 0 {
		return fmt.Errorf("status 416 of %d bytes", total)
	}
	if len(l.candidates(a, func(c claim) bool { return c.size == total })) == 0 {
		return fmt.Errorf("status 416: no version that may be used has %d bytes", total)
	}
	return nil
}
