package cache

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"

	"github.com/voyo-music/caddy-voyo/internal/byterange"
)

// judge returns what is wrong with an answer, which must not be older than the version
// that was acknowledged and, if it must always be confirmed, the number of answers that
// there had been when it was asked for; whole says that it did not break off.
func (p *press) judge(v visit, got *httptest.ResponseRecorder, least int64, asked int, whole bool) error {
	h := got.Header()
	switch {
	case got.Code == http.StatusPreconditionFailed && v.header.Get("If-Match") != "", got.Code == http.StatusRequestedRangeNotSatisfiable && v.header.Get("Range") != "":
		return nil // without the rest of the header
	case h.Get("X-User") != "" && h.Get("X-User") != v.header.Get("Id"):
		return errors.New("it is another's")
	case h.Get("X-Selected") != (reply{vary: h.Get("Vary")}).selected(v.header):
		return errors.New("it is for other requests")
	}
	if n, err := strconv.Atoi(h.Get("X-Asked")); err != nil || n <= asked && h.Get("Cache-Control") == "no-cache" {
		return fmt.Errorf("it was not confirmed (%w)", err)
	}
	number, err := strconv.Atoi(h.Get("X-Edition"))
	if err != nil {
		return err
	}
	p.mu.Lock()
	e := p.editions[number]
	p.mu.Unlock()
	if e.version < least {
		return fmt.Errorf("version %d, and %d was acknowledged", e.version, least)
	}
	if tag := h.Get("Etag"); tag != "" && strings.TrimPrefix(tag, "W/") != e.tag() {
		return fmt.Errorf("edition %d as %s", number, tag)
	}
	return judgeBody(e, v, got, whole)
}

func judgeBody(e *edition, v visit, got *httptest.ResponseRecorder, whole bool) error {
	h := got.Header()
	rng := byterange.Range{End: int64(len(e.body))}
	switch got.Code {
	case e.status:
	case http.StatusNotModified:
		if v.header.Get("If-None-Match") == "" || !matchesTag(v.header["If-None-Match"], h.Get("Etag"), false) {
			return errors.New("the client does not have it")
		}
		rng.End = 0
	case http.StatusPartialContent:
		if strings.HasPrefix(h.Get("Content-Type"), "multipart/") {
			return nil // as the origin has made it
		}
		specs, err := byterange.Parse(v.header.Get("Range"))
		if err != nil {
			return errors.New("nobody has asked for a part")
		}
		if tag := v.header.Get("If-Range"); tag != "" && tag != h.Get("Etag") {
			return errors.New("a part of another version than the client has")
		}
		want, _ := specs[0].Resolve(int64(len(e.body)))
		part, size, err := byterange.ParseContentRange(h.Get("Content-Range"))
		if err != nil || size != int64(len(e.body)) || part.Start != want.Start || part.End > want.End {
			return fmt.Errorf("%s of %d bytes", h.Get("Content-Range"), len(e.body))
		}
		rng = part
	default:
		return fmt.Errorf("edition %d has status %d", e.number, e.status)
	}
	if im := v.header["If-Match"]; len(im) > 0 && e.status == http.StatusOK && !matchesTag(im, h.Get("Etag"), true) {
		return errors.New("it does not match")
	}
	want := e.body[rng.Start:rng.End]
	if v.kind == http.MethodHead {
		want = nil
	}
	if b := got.Body.Bytes(); !bytes.HasPrefix(want, b) || whole && len(b) != len(want) {
		return fmt.Errorf("%d bytes of %d, or wrong ones", len(b), len(want))
	}
	return nil
}
