package cache

import "sync"

// buffer holds what is on its way to one client.
type buffer [64 << 10]byte

var buffers = sync.Pool{New: func() any { return new(buffer) }}

// newBuffer returns a buffer that holds anything.
func newBuffer() *buffer { return buffers.Get().(*buffer) }

// release has the buffer, if there is one, used again, unless a write out of it has failed:
// the server may still read it, as that of HTTP/2 does for a moment after it has told of a
// stream's end.
func (b *buffer) release(failed error) {
	if b != nil && failed == nil {
		buffers.Put(b)
	}
}
