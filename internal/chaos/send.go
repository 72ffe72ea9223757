package chaos

import (
	"fmt"
	"io"
	"net/http"
	"strings"
)

// send sends a message, as far as it goes, and notes what is claimed by it. An error
// says that the connection is not used any more.
func (x *exchange) send(m *message) error {
	x.held = m.after != "" && !m.close && !x.r.Close // so that it comes together with the end of what is before it
	if err := x.sendHead(m); err != nil {
		return err
	}
	x.note(m)
	if m.stage == afterHeader {
		return x.stop(m)
	}
	if err := x.sendBody(m); err != nil {
		return err
	}
	switch m.how {
	case "changes":
		x.u.Change(x.o.Path)
	case "resets":
		Reset(x.c)
		return errEnd
	}
	if m.close || x.r.Close {
		return errEnd
	}
	if m.after == "" {
		return nil
	}
	x.held = false
	return x.write(append(x.gathered, m.after...))
}

// note notes in the ledger what a message claims.
func (x *exchange) note(m *message) {
	switch {
	case m.status == http.StatusForbidden, m.status == http.StatusNotFound, m.status == http.StatusGone:
		x.u.denied(x.o.Path)
	case m.status == http.StatusRequestedRangeNotSatisfiable:
		x.u.saysEmpty(x.o.Path)
		if m.header.Get("Content-Range") != "" {
			x.u.claim(x.o, x.version, x.size)
		}
	case m.status == http.StatusNotModified && m.page == "":
		x.u.claim(x.o, x.version, -1)
	case m.hasBody():
		x.u.claim(x.o, x.version, x.size)
		if m.how == "closes" && !m.ends() { // where it ends is all that there is to tell
			switch m.stage {
			case afterHeader:
				x.u.claim(x.o, x.version, 0)
			case inBody:
				x.u.claim(x.o, x.version, m.at)
			}
		}
	}
}

func (x *exchange) sendHead(m *message) error {
	head := m.head()
	if m.stage == atStatus {
		if m.flood != "" {
			return x.flood(m.flood)
		}
		if m.before != "" {
			if err := x.write([]byte(m.before)); err != nil {
				return err
			}
		}
		return x.stop(m)
	}
	if m.stage != inHeader {
		x.note(m) // before anybody can know of it
		return x.write(head)
	}
	if m.how == "trickles" {
		return x.trickle(m, head)
	}
	if m.flood != "" {
		if err := x.write(head[:len(head)-len("\r\n")]); err != nil {
			return err
		}
		return x.flood(m.flood)
	}
	if err := x.write(head[:len(head)/2]); err != nil {
		return err
	}
	return x.stop(m)
}

// sendBody sends the body, and what ends it.
func (x *exchange) sendBody(m *message) error {
	if m.page != "" {
		return x.write([]byte(m.page))
	}
	if !m.hasBody() {
		return nil
	}
	most, trickles := m.n, m.stage == inBody && m.how == "trickles"
	if most < 0 {
		most = floodMost
	}
	if m.stage == inBody && !trickles {
		most = m.at
	}
	for sent := int64(0); sent < most; {
		n := min(m.step(), most-sent)
		if err := x.writePart(m, Body(x.o.Path, x.version, m.off+sent, n)); err != nil {
			return err
		}
		sent += n
		x.note(m)
		if trickles && !x.u.pause(m.pause) {
			return errEnd
		}
	}
	switch {
	case m.stage == inBody && !trickles:
		return x.stop(m)
	case m.n < 0:
		return x.hang()
	case m.chunked:
		return x.write([]byte(m.tail))
	}
	return nil
}

// step is how many bytes of the body are sent at a time.
func (m *message) step() int64 {
	if m.stage == inBody && m.how == "trickles" {
		return m.n/6 + 1
	}
	return chunkMost
}

// writePart writes some of the body, as a chunk if it is one of chunks.
func (x *exchange) writePart(m *message, b []byte) error {
	if m.chunked {
		b = fmt.Appendf(nil, "%x\r\n%s\r\n", len(b), b)
	}
	return x.write(b)
}

// stop does what is done in the place of the rest of the message.
func (x *exchange) stop(m *message) error {
	switch m.how {
	case "hangs":
		return x.hang()
	case "resets":
		Reset(x.c)
	case "changes":
		x.u.Change(x.o.Path)
		Reset(x.c)
	case "garbles":
		_ = x.write([]byte("zz\r\n" + Secret))
	}
	return errEnd
}

// hang waits until the other side has had enough.
func (x *exchange) hang() error {
	_, _ = io.Copy(io.Discard, x.c)
	return errEnd
}

// flood sends the same for as long as it is taken, within reason.
func (x *exchange) flood(text string) error {
	block := []byte(strings.Repeat(text, 1+chunkMost/len(text)))
	for sent := 0; sent < floodMost; sent += len(block) {
		if err := x.write(block); err != nil {
			return err
		}
	}
	return x.hang()
}

// trickle sends a message's head, a part at a time. It is said with the last of them.
func (x *exchange) trickle(m *message, head []byte) error {
	for step := len(head)/6 + 1; len(head) > 0; {
		n := min(step, len(head))
		if n == len(head) {
			x.note(m)
		}
		if err := x.write(head[:n]); err != nil {
			return err
		}
		head = head[n:]
		if !x.u.pause(m.pause) {
			return errEnd
		}
	}
	return nil
}

func (x *exchange) write(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if x.held {
		x.gathered = append(x.gathered, b...)
		return nil
	}
	_, err := x.c.Write(b)
	return err
}
