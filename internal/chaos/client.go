package chaos

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// readMost is how many bytes of an answer a client takes. What is longer has no end.
const readMost = 2 << 20

// Client makes visits to an edge.
type Client struct {
	Dial     func(ctx context.Context) (net.Conn, error)
	Patience time.Duration // how long an answer may take at the most
	Scale    time.Duration // what a second of slowness takes, one each if it is zero
}

// Answer is what a visit has brought.
type Answer struct {
	Visit  Visit
	Since  Moment // before it was asked for
	Status int    // 0: there is none
	Header http.Header
	Body   []byte
	Whole  bool  // it has ended as it says that it would
	Marked bool  // its end can be told from that of the connection
	Left   bool  // the client has not waited for its end
	Err    error // why it ended otherwise
}

// Visit makes a visit, and returns the answers to it.
func (c Client) Visit(ctx context.Context, v Visit, now func() Moment) []Answer {
	ctx, cancel := context.WithTimeout(ctx, c.Patience)
	defer cancel()
	if v.Proto == "2" {
		return []Answer{c.visit2(ctx, v, now)}
	}
	a := Answer{Visit: v, Since: now()}
	conn, err := c.Dial(ctx)
	if err != nil {
		a.Err = err
		return []Answer{a}
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) })()
	in := bufio.NewReader(conn)
	if a.Err = c.ask(ctx, conn, v); a.Err == nil {
		c.receive(ctx, conn, in, &a)
	}
	answers := []Answer{a}
	again := v.Manner == "asks again" || v.Manner == "asks twice at once"
	if again && a.Whole && a.Header.Get("Connection") != "close" && v.Proto == "1.1" {
		b := Answer{Visit: v, Since: now()}
		if v.Manner == "asks again" {
			b.Err = c.ask(ctx, conn, v)
		} else {
			b.Since = a.Since
		}
		c.receive(ctx, conn, in, &b)
		answers = append(answers, b)
	}
	return answers
}

// ask sends the request.
func (c Client) ask(ctx context.Context, conn net.Conn, v Visit) error {
	b := v.request()
	switch v.Manner {
	case "asks twice at once":
		b = append(b, b...)
	case "is slow to ask":
		for _, half := range [][]byte{b[:len(b)/2], b[len(b)/2:]} {
			if _, err := conn.Write(half); err != nil {
				return err
			}
			c.sleep(ctx, 3*time.Second)
		}
		return nil
	case "asks without HTTP":
		b = []byte("\x16\x03\x01\x00\xff hello\r\n\r\n")
	}
	_, err := conn.Write(b)
	if half, ok := conn.(interface{ CloseWrite() error }); ok && v.Manner == "says no more" {
		_ = half.CloseWrite()
	}
	return err
}

// request is the request as it is sent.
func (v Visit) request() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/%s\r\nHost: edge.example\r\n", v.Method, v.Target, v.Proto)
	switch v.Manner {
	case "has a huge header":
		fmt.Fprintf(&b, "X-Huge: %s\r\n", strings.Repeat("x", 2<<20))
	case "has a bad field":
		b.WriteString("no colon\r\n\x00: x\r\n")
	case "has a bad length":
		b.WriteString("Content-Length: -5\r\nContent-Length: 7\r\n")
	}
	_ = v.Header.Write(&b)
	b.WriteString("\r\n")
	return b.Bytes()
}

// receive reads the answer in the visit's manner.
func (c Client) receive(ctx context.Context, conn net.Conn, in *bufio.Reader, a *Answer) {
	switch a.Visit.Manner {
	case "leaves before the answer":
		a.Left = true
		return
	case "leaves soon":
		a.Left = true
		c.sleep(ctx, time.Duration(a.Visit.After)*time.Millisecond/10)
		return
	}
	resp, err := http.ReadResponse(in, &http.Request{Method: a.Visit.Method})
	if err != nil {
		a.Err = err
		return
	}
	defer resp.Body.Close()
	a.Status, a.Header = resp.StatusCode, resp.Header
	a.Marked = resp.ContentLength >= 0 || len(resp.TransferEncoding) > 0
	c.read(ctx, resp.Body, a)
	if a.Visit.Manner == "resets in the body" && a.Left {
		Reset(conn)
	}
}

// read reads the body in the visit's manner.
func (c Client) read(ctx context.Context, body io.Reader, a *Answer) {
	most := int64(readMost)
	if a.Visit.Manner == "leaves in the body" || a.Visit.Manner == "resets in the body" {
		most = a.Visit.After
	}
	block := make([]byte, 32<<10)
	for int64(len(a.Body)) < most {
		n, err := body.Read(block[:min(int64(len(block)), most-int64(len(a.Body)))])
		a.Body = append(a.Body, block[:n]...)
		if err == io.EOF {
			a.Whole = true
			return
		}
		if err != nil {
			a.Err = err
			return
		}
		if a.Visit.Manner == "reads slowly" {
			c.sleep(ctx, 500*time.Millisecond)
		}
	}
	a.Left = true
}

// visit2 makes a visit by HTTP/2.
func (c Client) visit2(ctx context.Context, v Visit, now func() Moment) (a Answer) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // which resets the stream
	t := &http.Transport{
		DisableCompression: true,
		Protocols:          new(http.Protocols),
		DialContext:        func(ctx context.Context, _, _ string) (net.Conn, error) { return c.Dial(ctx) },
		IdleConnTimeout:    time.Second, // of what is dialled, or comes to its end, when this has returned
	}
	t.Protocols.SetUnencryptedHTTP2(true)
	defer t.CloseIdleConnections()
	a = Answer{Visit: v, Since: now(), Marked: true}
	switch v.Manner {
	case "leaves before the answer":
		a.Left = true
		defer time.AfterFunc(time.Millisecond, cancel).Stop()
	case "leaves soon":
		a.Left = true
		defer time.AfterFunc(time.Duration(v.After)*time.Millisecond/10, cancel).Stop()
	}
	u, err := url.Parse("http://edge.example" + v.Target)
	if err != nil {
		a.Err, a.Left = err, true
		return a
	}
	resp, err := t.RoundTrip((&http.Request{Method: v.Method, URL: u, Host: u.Host, Header: v.Header.Clone()}).WithContext(ctx))
	if err != nil {
		a.Err = err
		return a
	}
	defer resp.Body.Close()
	a.Status, a.Header = resp.StatusCode, resp.Header
	c.read(ctx, resp.Body, &a)
	return a
}

func (c Client) sleep(ctx context.Context, d time.Duration) {
	if c.Scale > 0 {
		d = time.Duration(d.Seconds() * float64(c.Scale))
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// late reports whether an answer has taken longer than a client has patience.
func (a Answer) late() bool {
	ne, ok := errors.AsType[net.Error](a.Err)
	return errors.Is(a.Err, context.DeadlineExceeded) || ok && ne.Timeout()
}
