package cache

import (
	"io"
	"net/http"
	"os"
)

// sendfile has the kernel copy the n bytes of a file from off on.
func sendfile(to io.ReaderFrom, f *os.File, off, n int64) (sent int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if _, err := f.Seek(off, io.SeekStart); err != nil {
		return 0, err
	}
	// The file itself, where that will do: a writer between here and the connection
	// may put a limit around it, and the kernel's way is lost with a second one.
	from := io.Reader(f)
	if off+n < info.Size() {
		from = io.LimitReader(f, n)
	}
	sent, err = to.ReadFrom(from)
	if err == nil && sent < n {
		err = io.ErrUnexpectedEOF
	}
	return sent, err
}

// canSendfile reports whether the kernel can copy files to the client: what is
// written goes through nothing that has to see it.
func canSendfile(w http.ResponseWriter, r *http.Request) bool {
	_, ok := w.(io.ReaderFrom)
	return ok && r.ProtoMajor == 1 && r.TLS == nil
}
