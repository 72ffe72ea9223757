package chaos

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/voyo-music/caddy-voyo/internal/byterange"
)

// Secret is in whatever an upstream says that no client may see.
const Secret = "upstream-s3cret"

// message is an answer of an upstream on its way out, for a fault to change.
type message struct {
	before  string // the status line
	status  int
	header  http.Header
	lines   []string // of the header, as they are
	chunked bool
	page    string // the body, if it is not of the object
	off, n  int64  // the body's part of the object; n is -1 for an endless one
	tail    string // what ends the body, where that is chunked
	after   string // the message
	close   bool   // the connection, when all is sent

	stage stage // where it breaks off, or is slow
	how   string
	at    int64 // the byte of the body
	pause time.Duration
	flood string // is sent for ever at the stage
}

// stage is a place in a message.
type stage int

const (
	atEnd stage = iota
	atStatus
	inHeader
	afterHeader
	inBody
)

// answer is what the upstream would say of the object if nothing went wrong.
func (o Object) answer(r *http.Request, version int) *message {
	m := &message{status: http.StatusOK, header: make(http.Header), tail: "0\r\n\r\n"}
	m.header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	m.header.Set("Server", Secret)
	if o.Missing {
		m.refuse(http.StatusNotFound)
		return m
	}
	o.setHeader(m.header, version)
	size := o.SizeOf(version)
	m.n = size
	if o.isConfirmed(r, m.header) {
		m.status, m.n = http.StatusNotModified, 0
		return m
	}
	m.header.Set("Accept-Ranges", "bytes")
	if specs, err := byterange.Parse(r.Header.Get("Range")); err == nil && len(specs) == 1 && o.Ranges && o.inRange(r, m.header) {
		rng, ok := specs[0].Resolve(size)
		if !ok {
			m.refuse(http.StatusRequestedRangeNotSatisfiable)
			m.header.Set("Content-Range", byterange.Unsatisfied(size))
			return m
		}
		m.status, m.off, m.n = http.StatusPartialContent, rng.Start, rng.Len()
		m.header.Set("Content-Range", byterange.ContentRange(rng, size))
	}
	switch o.Framing {
	case "chunked":
		m.chunked = true
		m.header.Set("Transfer-Encoding", "chunked")
	case "close":
		m.close = true
	default:
		m.header.Set("Content-Length", strconv.FormatInt(m.n, 10))
	}
	return m
}

// refuse makes a message one that has another page than the object.
func (m *message) refuse(status int) {
	m.status, m.chunked, m.close, m.n = status, false, false, 0
	for _, name := range []string{"Etag", "Last-Modified", "Content-Range", "Transfer-Encoding"} {
		m.header.Del(name)
	}
	m.page = "<html>" + Secret + "</html>"
	m.header.Set("Content-Type", "text/html")
	m.header.Set("Content-Length", strconv.Itoa(len(m.page)))
}

// isConfirmed reports whether a request's conditions are met by what it has.
func (o Object) isConfirmed(r *http.Request, h http.Header) bool {
	if tags := r.Header.Get("If-None-Match"); tags != "" {
		tag := strings.TrimPrefix(h.Get("Etag"), "W/")
		return tag != "" && strings.Contains(tags, tag)
	}
	since, err := http.ParseTime(r.Header.Get("If-Modified-Since"))
	modified, err2 := http.ParseTime(h.Get("Last-Modified"))
	return err == nil && err2 == nil && !modified.After(since)
}

// inRange reports whether a Range is to be heeded in view of If-Range.
func (o Object) inRange(r *http.Request, h http.Header) bool {
	cond := r.Header.Get("If-Range")
	return cond == "" || cond == h.Get("Etag") && !strings.HasPrefix(cond, "W/") || cond == h.Get("Last-Modified")
}

// hasBody reports whether a message has one, of the object.
func (m *message) hasBody() bool {
	return m.page == "" && (m.status == http.StatusOK || m.status == http.StatusPartialContent)
}

// ends reports whether the end of the body can be told from that of the connection.
func (m *message) ends() bool {
	return m.chunked || len(m.header["Content-Length"]) > 0 || m.status == http.StatusPartialContent
}

// head is the status line and the header.
func (m *message) head() []byte {
	var b bytes.Buffer
	b.WriteString(m.before)
	fmt.Fprintf(&b, "HTTP/1.1 %d %s\r\n", m.status, http.StatusText(m.status))
	for _, name := range slices.Sorted(maps.Keys(m.header)) {
		for _, value := range m.header[name] {
			fmt.Fprintf(&b, "%s: %s\r\n", name, value)
		}
	}
	for _, line := range m.lines {
		b.WriteString(line + "\r\n")
	}
	b.WriteString("\r\n")
	return b.Bytes()
}
