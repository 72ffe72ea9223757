package chaos

import (
	"bytes"
	"encoding/json"
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

// statusClientGone is what logs show of a client that has left, and it is not to see.
const statusClientGone = 499

// Verdict is what an answer that is not wrong comes to.
type Verdict string

// The verdicts besides "error <status>", for a refusal that says so.
const (
	Right  Verdict = "right"   // all bytes
	Broken Verdict = "broken"  // bytes that were right, until the connection broke
	None   Verdict = "nothing" // no answer, but a connection that broke
	Left   Verdict = "left"    // all that the client has waited for was right
)

// Check judges an answer. An error says what is wrong with it.
func (l *Ledger) Check(a Answer) (Verdict, error) {
	switch {
	case a.late():
		return "", fmt.Errorf("no end within the client's patience: %w", a.Err)
	case a.Status == 0 && a.Left:
		return Left, nil
	case a.Status == 0:
		return None, nil
	}
	if err := a.checkHeader(); err != nil {
		return "", err
	}
	if bytes.Contains(a.Body, []byte(Secret)) || bytes.Contains(a.Body, []byte(clientSecret)) {
		return "", errors.New("the body has what is not for the client")
	}
	verdict := a.verdict()
	switch {
	case a.malformed():
		return verdict, nil // net/http's own to refuse
	case a.Status == statusClientGone && a.Visit.Manner == "says no more":
		return verdict, nil // to a server that could be a client that has left
	case a.Status >= 400 && a.Status != http.StatusRequestedRangeNotSatisfiable && a.Status != http.StatusPreconditionFailed:
		return verdict, l.checkRefusal(a)
	case a.Visit.Method == http.MethodOptions:
		return verdict, nil
	case a.Visit.What == "stream" || a.Visit.What == "cover":
		return verdict, l.checkAsset(a)
	case a.Visit.What == "nonsense":
		return "", fmt.Errorf("status %d to nonsense", a.Status)
	default:
		return verdict, l.checkReport(a)
	}
}

func (a Answer) verdict() Verdict {
	switch {
	case a.Status >= 400:
		return Verdict("error " + strconv.Itoa(a.Status))
	case a.Whole:
		return Right
	case a.Left:
		return Left
	}
	return Broken
}

// malformed reports whether the request was no HTTP.
func (a Answer) malformed() bool {
	return strings.HasPrefix(a.Visit.Manner, "has a ") || a.Visit.Manner == "asks without HTTP" || strings.Contains(a.Visit.Target, "%00")
}

// sent are the fields that clients may be sent.
var sent = []string{
	"Accept-Ranges", "Access-Control-Allow-Headers", "Access-Control-Allow-Methods", "Access-Control-Allow-Origin", "Access-Control-Expose-Headers",
	"Access-Control-Max-Age", "Age", "Allow", "Cache-Control", "Cache-Status", "Connection", "Content-Length", "Content-Range", "Content-Type",
	"Cross-Origin-Resource-Policy", "Date", "Etag", "Last-Modified", "Retry-After", "Server-Timing", "Timing-Allow-Origin", "Transfer-Encoding",
	"Vary", "X-Content-Type-Options",
}

func (a Answer) checkHeader() error {
	for name, values := range a.Header {
		text := strings.Join(values, "\n")
		switch {
		case !slices.Contains(sent, name):
			return fmt.Errorf("the client was sent %s: %q", name, values)
		case strings.Contains(text, Secret), strings.Contains(text, clientSecret), strings.Contains(text, "example/"):
			return fmt.Errorf("what is not for the client is in %s: %q", name, values)
		}
	}
	return nil
}

// refusals are the messages of errors, by status.
var refusals = map[int][]string{
	http.StatusBadRequest:       {"Invalid VOYO track ID"},
	http.StatusNotFound:         {"Content not found in VOYO library", "Album art temporarily unavailable"},
	http.StatusMethodNotAllowed: {"Method not allowed"},
	http.StatusBadGateway:       {"VOYO stream temporarily unavailable", "Album art temporarily unavailable"},
	http.StatusGatewayTimeout:   {"VOYO stream temporarily unavailable"},
}

// checkRefusal checks an error: it says so in the form that it should have, and there is
// a reason for it.
func (l *Ledger) checkRefusal(a Answer) error {
	var said struct{ Error string }
	if a.Whole && a.Visit.Method != http.MethodHead {
		if err := json.Unmarshal(a.Body, &said); err != nil || !slices.Contains(refusals[a.Status], said.Error) {
			return fmt.Errorf("status %d says %.200q", a.Status, a.Body)
		}
	}
	if a.Header.Get("Content-Type") != "application/json" || a.Header.Get("Cache-Control") != "no-store" {
		return fmt.Errorf("status %d has the header %v", a.Status, a.Header)
	}
	nonsense := a.Visit.What == "nonsense"
	switch a.Status {
	case http.StatusBadRequest:
		if !nonsense {
			return errors.New("the ID is refused")
		}
	case http.StatusMethodNotAllowed:
		if a.Visit.Method != http.MethodPost {
			return errors.New("the method is refused")
		}
	case http.StatusNotFound:
		return l.checkDenial(a)
	}
	if _, ok := refusals[a.Status]; !ok {
		return fmt.Errorf("status %d", a.Status)
	}
	return nil
}

// checkDenial checks that an upstream has said that something does not exist.
func (l *Ledger) checkDenial(a Answer) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, path := range a.Visit.Paths {
		if at, ok := l.denials[path]; ok && !a.Since.at.After(at.Add(l.s.Node.Negative)) {
			return nil
		}
	}
	return errors.New("it is said not to exist, which no upstream has said lately")
}

// checkReport checks an answer that is about tracks and not of them.
func (l *Ledger) checkReport(a Answer) error {
	if !a.Whole || a.Visit.Method == http.MethodHead {
		return nil
	}
	var said struct {
		Exists *bool
		Size   int64
		URL    string
		Status string
	}
	if err := json.Unmarshal(a.Body, &said); err != nil {
		return fmt.Errorf("%w: %.200q", err, a.Body)
	}
	switch a.Visit.What {
	case "exists":
		if said.Exists == nil || !*said.Exists && l.checkDenial(a) != nil && !l.saidEmpty(a) {
			return fmt.Errorf("says %s", a.Body)
		}
		if said.Size > 0 && !l.claimed(a, said.Size) {
			return fmt.Errorf("nobody has said that its size is %d", said.Size)
		}
	case "locate":
		if !strings.HasPrefix(said.URL, "http://edge.example/cdn/stream/vyo_") {
			return fmt.Errorf("says %s", a.Body)
		}
	default:
		if a.Status != http.StatusAccepted || said.Status != "warming" && said.Status != "busy" {
			return fmt.Errorf("status %d says %s", a.Status, a.Body)
		}
	}
	return nil
}

// claimed reports whether an upstream has ever claimed a size: who asks may join an older
// question.
func (l *Ledger) claimed(a Answer, size int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, path := range a.Visit.Paths {
		for c := range l.claims[path] {
			if c.size == size {
				return true
			}
		}
	}
	return false
}

// saidEmpty reports whether an upstream has said that what is asked for has no bytes, as
// no track has.
func (l *Ledger) saidEmpty(a Answer) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(a.Visit.Paths, func(path string) bool { return l.empty[path] })
}

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
	limit += max(l.s.Node.Revalidate, l.s.Node.IfError)
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
	if slices.Contains([]string{"", "audio", "image"}, top) || mediaType == "multipart/byteranges" || mediaType == "application/octet-stream" {
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
	if cond := a.Visit.Header.Get("If-Range"); cond != "" && cond != a.Header.Get("Etag") && cond != a.Header.Get("Last-Modified") {
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
	if want, _ := byterange.Resolve(specs, size); len(want) != 1 || want[0] != r {
		return fmt.Errorf("range %v to Range: %q, of %d bytes", r, a.Visit.Header.Get("Range"), size)
	}
	if a.Header.Get("Content-Length") != strconv.FormatInt(r.Len(), 10) || int64(len(a.Body)) > r.Len() {
		return fmt.Errorf("Content-Length: %q with range %v", a.Header.Get("Content-Length"), r)
	}
	return l.compare(a, a.Body, r.Start, size)
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

// Sound judges a plain answer after all has been well for a while: it must be whole. Where
// an edge can learn only on the way that what it has is not what there is, an answer may be
// broken, once, and is to be asked for again.
func (l *Ledger) Sound(a Answer) (again bool, err error) {
	verdict, err := l.Check(a)
	if err != nil {
		return false, err
	}
	there := slices.ContainsFunc(a.Visit.Paths, func(path string) bool { return !l.s.Object(path).Missing })
	switch {
	case there && verdict == Broken && slices.ContainsFunc(a.Visit.Paths, l.surprises):
		return true, nil
	case there && (a.Status != http.StatusOK || !a.Whole):
		return false, fmt.Errorf("status %d and %d bytes of what is there", a.Status, len(a.Body))
	case !there && a.Status != http.StatusNotFound:
		return false, fmt.Errorf("status %d of what is not there", a.Status)
	}
	return false, nil
}

// surprises reports whether what is at a path can be other than an edge had to think: it
// does not say how large it is, has lied about that, or has changed.
func (l *Ledger) surprises(path string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	o := l.s.Object(path)
	if o.Framing == "chunked" || l.versions[path] > 0 {
		return true
	}
	for c := range l.claims[path] {
		if c.size != o.SizeOf(c.version) {
			return true
		}
	}
	return false
}

// Plain returns a visit that asks for a path's best alternative, and no more.
func (s Script) Plain(path string) Visit {
	for _, id := range s.Tracks {
		paths := pathsOf(id)
		i := slices.Index(paths, path)
		switch {
		case i < 0:
			continue
		case i < 2:
			return Visit{What: "stream", Paths: paths[:2], Method: "GET", Target: "/cdn/stream/" + id + []string{"", "?quality=low"}[i], Proto: "1.1", Manner: "reads"}
		}
		return Visit{What: "cover", Paths: paths[i:], Method: "GET", Target: "/cdn/art/" + id + "?quality=" + []string{"max", "high", "medium", "default"}[i-2],
			Proto: "1.1", Manner: "reads"}
	}
	panic("no path of the script: " + path)
}
