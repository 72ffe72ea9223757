package cache

import (
	"bytes"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
)

// TestOneWrite has few bytes that lie in two slices leave in one write.
func TestOneWrite(t *testing.T) {
	const slice = 10_000
	c := newTest(t, Limits{Memory: 1 << 20, Slice: slice})
	o := newOrigin(content(1, 95_000))
	req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
	if _, _, err := get(t, c, req); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		rng   string
		start int
		want  []int
	}{
		{"bytes=9000-9999", 9000, []int{1000}},
		{"bytes=9000-10999", 9000, []int{2000}},
		{"bytes=0-19999", 0, []int{2 * slice}},
		{"bytes=9999-20000", 9999, []int{1, slice + 1}}, // three slices
		{"bytes=94999-", 94_999, []int{1}},
		{"", 0, []int{slice, slice, slice, slice, slice, slice, slice, slice, slice + slice/2}},
	} {
		rec := httptest.NewRecorder()
		w := &writes{ResponseWriter: rec}
		if err := serve(t.Context(), c, w, req, test.rng); err != nil || !slices.Equal(w.sizes, test.want) {
			t.Errorf("%s: %d bytes, want %d, %v", test.rng, w.sizes, test.want, err)
		}
		if got := rec.Body.Bytes(); !bytes.Equal(got, o.body[test.start:test.start+len(got)]) {
			t.Errorf("%s: wrong bytes", test.rng)
		}
	}
}

// writes notes how long the writes to a client are.
type writes struct {
	http.ResponseWriter
	sizes []int
}

func (w *writes) Write(p []byte) (int, error) {
	w.sizes = append(w.sizes, len(p))
	return w.ResponseWriter.Write(p)
}

// TestFirstSliceIsNotHeldBack has the second of two slices come from upstream only after
// the client has what is there of the first.
func TestFirstSliceIsNotHeldBack(t *testing.T) {
	const slice = 10_000
	c := newTest(t, Limits{Memory: 1 << 20, Slice: slice})
	o := newOrigin(content(1, 95_000))
	req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
	if _, _, err := get(t, c, req, "Range", "bytes=0-9999"); err != nil {
		t.Fatal(err)
	}
	begun := make(chan struct{})
	o.fail = func(int, http.Header) error {
		select {
		case <-begun:
			return nil
		case <-t.Context().Done():
			return t.Context().Err()
		}
	}
	client := &checking{header: http.Header{}, want: &pattern{}}
	client.paused = func(got int64) error {
		if got == 0 {
			close(begun)
		}
		return nil
	}
	if err := serve(t.Context(), c, client, req, "bytes=9000-10999"); err != nil || client.got != 2000 {
		t.Errorf("%d bytes, %v", client.got, err)
	}
	if n := o.count(); n != 2 {
		t.Errorf("%d requests", n)
	}
}

// TestBufferOfFailedWrite has nobody else get a buffer that a server may still read from.
func TestBufferOfFailedWrite(t *testing.T) {
	lost := newBuffer()
	lost.release(errors.New("stream is gone"))
	for range 100 {
		if newBuffer() == lost {
			t.Fatal("a buffer that could not be written is used again")
		}
	}
}
