package cache

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"
)

// TestSendfile has answers leave through a connection that takes files, from which
// nothing must be missing or twice.
func TestSendfile(t *testing.T) {
	n := newDiskNode(t, Limits{Memory: 1, Slice: 10_000})
	o := newOrigin(content(1, 95_000))
	req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
	files := make(chan int64, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &countingWriter{ResponseWriter: w}
		_, _ = n.Serve(c, r, req)
		files <- c.files
	}))
	defer server.Close()
	n.bring(t, req)
	for rng, want := range map[string][]byte{
		"":                 o.body,
		"bytes=0-1":        o.body[:2],
		"bytes=9999-10000": o.body[9999:10001],
		"bytes=15000-":     o.body[15000:],
		"bytes=-5001":      o.body[89_999:],
	} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Range", rng)
		resp, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes of %d, %v", rng, len(got), len(want), err)
		}
		if n := <-files; n != int64(len(want)) {
			t.Errorf("%s: %d of %d bytes were handed over as files", rng, n, len(want))
		}
	}
	if o.count() != 1 {
		t.Errorf("%d requests", o.count())
	}
}

// countingWriter counts what comes in files that the kernel can copy.
type countingWriter struct {
	http.ResponseWriter
	files int64
}

func (c *countingWriter) ReadFrom(r io.Reader) (int64, error) {
	from := r
	if l, ok := r.(*io.LimitedReader); ok {
		from = l.R
	}
	if _, ok := from.(*os.File); !ok {
		return 0, errors.New("not a file")
	}
	n, err := c.ResponseWriter.(io.ReaderFrom).ReadFrom(r)
	c.files += n
	return n, err
}

// TestDiskIsTakenAway has the disk replaced and taken away while an object is
// being read.
func TestDiskIsTakenAway(t *testing.T) {
	n := newDiskNode(t, Limits{Memory: 1, Slice: 10_000})
	o := newOrigin(content(1, 95_000))
	req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
	n.bring(t, req)
	for i, change := range []func(){
		func() { n.SetDisk(nil, "") },
		func() { n.SetDisk(n.store, "other") },
		func() { n.SetDisk(n.store, "test") },
		func() { _ = n.store.Close() },
	} {
		client := &checking{header: http.Header{}, want: &pattern{0, 0}}
		var got bytes.Buffer
		client.paused = func(off int64) error {
			if off == 20_000 {
				change()
			}
			return nil
		}
		w := &teeWriter{checking: client, to: &got}
		if err := serve(t.Context(), n.Cache, w, req, ""); err != nil || !bytes.Equal(got.Bytes(), o.body) {
			t.Errorf("change %d: %d bytes, %v", i, got.Len(), err)
		}
		n.work.Wait()
	}
}

type teeWriter struct {
	*checking
	to io.Writer
}

func (w *teeWriter) Write(p []byte) (int, error) {
	if _, err := w.checking.Write(p); err != nil {
		return 0, err
	}
	return w.to.Write(p)
}

// TestFileShrinksWhileItIsSent has a file lose its end after it was opened: the client
// gets the rest from upstream, or sees an error, and the next one gets it all.
func TestFileShrinksWhileItIsSent(t *testing.T) {
	for _, away := range []bool{false, true} {
		n := newDiskNode(t, Limits{Memory: 1, Slice: 100_000})
		o := newOrigin(content(1, 100_000))
		req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
		n.bring(t, req)
		files := n.files()
		if len(files) != 1 {
			t.Fatalf("on disk: %q", files)
		}
		client := &checking{header: http.Header{}, want: &pattern{}}
		client.paused = func(got int64) error {
			if got > 0 {
				return nil
			}
			if away {
				o.fail = func(int, http.Header) error { return errors.New("refused") }
			}
			return os.Truncate(files[0], 70_000)
		}
		err := serve(t.Context(), n.Cache, client, req, "")
		if away != errors.Is(err, ErrAborted) || !away && (err != nil || client.got != 100_000) {
			t.Errorf("upstream away: %v: after %d bytes: %v", away, client.got, err)
		}
		o.fail = nil
		n.work.Wait()
		n.store.Flush() // what has been fetched again is not in memory
		resp, status, err := get(t, n.Cache, req)
		if err != nil || (status == Hit) == away || !bytes.Equal(read(t, resp), o.body) {
			t.Errorf("upstream away: %v: %s, %v", away, status, err)
		}
		if n := o.count(); n != 2 && !away {
			t.Errorf("%d requests", n)
		}
	}
}
