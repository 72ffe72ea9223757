package cache

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

const diskSpace = 64 << 20

// files returns the slices' files that are on the node's disk.
func (n *node) files() []string {
	n.tb.Helper()
	n.store.Flush()
	names, err := filepath.Glob(filepath.Join(n.dir, "??", "*"))
	if err != nil {
		n.tb.Fatal(err)
	}
	var list []string
	for _, name := range names {
		if !strings.Contains(name, "-meta") {
			list = append(list, name)
		}
	}
	return list
}

func (n *node) restart() {
	n.stop()
	n.start()
}

// newDiskNode returns a node that is stopped at the end of the test.
func newDiskNode(t *testing.T, l Limits) *node {
	t.Helper()
	n := newNode(t, l, diskSpace)
	t.Cleanup(n.stop)
	return n
}

func TestDiskOutlivesTheProcess(t *testing.T) {
	tests := []struct {
		name   string
		change func(*origin)
		first  string // the Range that brings it
		again  string // the one that is a hit after a restart
	}{
		{"all of it", func(*origin) {}, "", ""},
		{"a part", func(*origin) {}, "bytes=30000-39999", "bytes=31000-38000"},
		{"last modified", func(o *origin) {
			o.header.Del("Etag")
			o.header.Set("Last-Modified", "Mon, 02 Jan 2006 15:04:05 GMT")
		}, "", "bytes=-10"},
		{"without a validator", func(o *origin) { o.header.Del("Etag") }, "", "bytes=5-10"},
		{"of unknown length", func(o *origin) { o.unknown = true }, "", ""},
		{"smaller than a slice", func(o *origin) { o.body = o.body[:10] }, "", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			n := newDiskNode(t, Limits{Memory: 1 << 20, Slice: 10_000})
			o := newOrigin(content(1, 100_000))
			o.header.Set("Age", "100")
			tt.change(o)
			req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
			first, _, err := get(t, n.Cache, req, "Range", tt.first)
			if err != nil {
				t.Fatal(err)
			}
			n.work.Wait()
			n.restart()
			resp, status, err := get(t, n.Cache, req, "Range", tt.again)
			if err != nil || status != Hit || o.count() != 1 {
				t.Fatalf("%s after %d requests, %v", status, o.count(), err)
			}
			want := o.body
			if tt.again != "" {
				got, _, _ := get(t, n.Cache, req, "Range", tt.again)
				want = read(t, got)
			}
			if !bytes.Equal(read(t, resp), want) || !bytes.Contains(o.body, want) {
				t.Error("wrong bytes")
			}
			for _, name := range []string{"Etag", "Last-Modified", "Content-Type", "Date"} {
				if got := resp.Header.Get(name); got != first.Header.Get(name) {
					t.Errorf("%s is %q, was %q", name, got, first.Header.Get(name))
				}
			}
			if age := resp.Header.Get("Age"); age != "100" && age != "101" {
				t.Errorf("Age is %s", age)
			}
		})
	}
}

// TestDiskForgetsOldVersions has an object change: what is on disk of the old
// version is gone, also for the next process.
func TestDiskForgetsOldVersions(t *testing.T) {
	n := newDiskNode(t, Limits{Memory: 1 << 20, Slice: 1000})
	o := newOrigin(content(1, 10_000))
	o.header.Set("Cache-Control", "no-cache")
	req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
	if _, _, err := get(t, n.Cache, req); err != nil {
		t.Fatal(err)
	}
	v2 := content(2, 5000)
	o.set(v2, `"v2"`)
	if _, _, err := get(t, n.Cache, req, "Range", "bytes=0-999"); err != nil {
		t.Fatal(err)
	}
	n.work.Wait()
	if files := n.files(); len(files) != 5 {
		t.Errorf("on disk: %q", files)
	}
	n.restart()
	resp, _, err := get(t, n.Cache, req)
	if err != nil || !bytes.Equal(read(t, resp), v2) || resp.Header.Get("Etag") != `"v2"` {
		t.Error(err, resp.Header)
	}
}

// TestDiskNotesConfirmations has a 304 refresh an object: after a restart it is as
// fresh as it was.
func TestDiskNotesConfirmations(t *testing.T) {
	n := newDiskNode(t, Limits{Memory: 1 << 20, Slice: 1000})
	o := newOrigin(content(1, 10_000))
	o.header.Set("Cache-Control", "no-cache")
	req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
	if _, _, err := get(t, n.Cache, req); err != nil {
		t.Fatal(err)
	}
	o.header.Set("Cache-Control", "max-age=1000")
	if _, status, err := get(t, n.Cache, req); status != Revalidated {
		t.Fatal(status, err)
	}
	n.restart()
	if _, status, err := get(t, n.Cache, req); status != Hit || o.count() != 2 {
		t.Errorf("%s after %d requests, %v", status, o.count(), err)
	}
}

// TestDiskServesWhatMemoryLost has a memory for one object: the others are hits,
// too.
func TestDiskServesWhatMemoryLost(t *testing.T) {
	n := newDiskNode(t, Limits{Memory: 100_000, Slice: 10_000, Entries: 1})
	o := newOrigin(content(1, 100_000))
	for _, round := range []Status{Miss, Hit} {
		for _, key := range []string{"a", "b", "c"} {
			resp, status, err := get(t, n.Cache, Request{Key: key, Policy: policy(), Fetch: o.fetch})
			if err != nil || status != round || !bytes.Equal(read(t, resp), o.body) {
				t.Fatalf("%s: %s, %v", key, status, err)
			}
			n.work.Wait()
			n.store.Flush()
		}
	}
	if o.count() != 3 {
		t.Errorf("%d requests", o.count())
	}
	n.check(t)
}

func TestSliceSizeMayChangeOnDisk(t *testing.T) {
	n := newDiskNode(t, Limits{Memory: 1 << 20, Slice: 1000})
	o := newOrigin(content(1, 50_000))
	req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
	if _, _, err := get(t, n.Cache, req, "Range", "bytes=0-19999"); err != nil {
		t.Fatal(err)
	}
	n.work.Wait()
	n.limits.Slice = 7777
	n.restart()
	resp, status, err := get(t, n.Cache, req)
	if err != nil || status != Partial || !bytes.Equal(read(t, resp), o.body) {
		t.Errorf("%s, %v", status, err)
	}
	if got := o.requests[1].Get("Range"); got != "bytes=20000-" {
		t.Errorf("the upstream was asked for %s", got)
	}
}

// TestDamagedFiles has all slices' files damaged: the bytes are right, because they
// are fetched again, and the answer does not say that it is a hit.
func TestDamagedFiles(t *testing.T) {
	damages := map[string]func(name string) error{
		"flipped byte": func(name string) error {
			b, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			b[len(b)/2] ^= 1
			return os.WriteFile(name, b, 0o600)
		},
		"truncated": func(name string) error { return os.Truncate(name, 100) },
		"removed":   os.Remove,
	}
	for name, damage := range damages {
		for _, when := range []string{"stopped", "running"} {
			for _, validator := range []bool{true, false} {
				t.Run(name+", "+when, func(t *testing.T) {
					n := newDiskNode(t, Limits{Memory: 10_000, Slice: 1000})
					o := newOrigin(content(1, 9_000))
					if !validator {
						o.header.Del("Etag")
					}
					req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
					if _, _, err := get(t, n.Cache, req); err != nil {
						t.Fatal(err)
					}
					n.work.Wait()
					files := n.files()
					if len(files) != 9 {
						t.Fatalf("%d files", len(files))
					}
					if when == "stopped" {
						n.stop()
					}
					for _, f := range files {
						if err := damage(f); err != nil {
							t.Fatal(err)
						}
					}
					if when == "stopped" {
						n.start()
					} else {
						n.Close()
						n.Cache = New(n.limits)
						n.SetDisk(n.store, "test")
					}
					for _, want := range []bool{false, true} {
						resp, status, err := get(t, n.Cache, req)
						if err != nil || (status == Hit) != want || !bytes.Equal(read(t, resp), o.body) {
							t.Errorf("%s, %v", status, err)
						}
						if said := strings.Contains(resp.Header.Get("Cache-Status"), "hit"); said != want {
							t.Errorf("Cache-Status: %s", resp.Header.Get("Cache-Status"))
						}
						n.work.Wait()
					}
				})
			}
		}
	}
}

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
	if _, _, err := get(t, n.Cache, req); err != nil {
		t.Fatal(err)
	}
	n.work.Wait()
	n.store.Flush()
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
	if _, _, err := get(t, n.Cache, req); err != nil {
		t.Fatal(err)
	}
	n.work.Wait()
	n.store.Flush()
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

// TestWhatIsHotInMemoryStaysOnDisk has an object served out of memory again and
// again, while others pass through a disk that is too small for them: it is still
// there after a restart.
func TestWhatIsHotInMemoryStaysOnDisk(t *testing.T) {
	n := newNode(t, Limits{Memory: 10 << 20, Slice: 10_000}, 1_060_000+20*13_000)
	defer n.stop()
	o := newOrigin(content(1, 30_000))
	ask := func(key string) Status {
		_, status, err := get(t, n.Cache, Request{Key: key, Policy: policy(), Fetch: o.fetch})
		if err != nil {
			t.Fatal(err)
		}
		n.work.Wait()
		n.store.Flush()
		return status
	}
	for i := range 30 {
		ask("hot")
		ask(strconv.Itoa(i))
	}
	n.restart()
	if status := ask("hot"); status != Hit {
		t.Error(status)
	}
	if status := ask("0"); status == Hit {
		t.Error("the disk is not too small")
	}
}

// TestDiskGetsWhatMemoryLetsGo has the disk take nothing at first: what it has
// missed is written when memory has no room for it any more.
func TestDiskGetsWhatMemoryLetsGo(t *testing.T) {
	n := newDiskNode(t, Limits{Memory: 30_000, Slice: 10_000})
	o := newOrigin(content(1, 30_000))
	ask := func(key string) Status {
		_, status, err := get(t, n.Cache, Request{Key: key, Policy: policy(), Fetch: o.fetch})
		if err != nil {
			t.Fatal(err)
		}
		n.work.Wait()
		n.store.Flush()
		return status
	}
	n.store.SetLimit(0)
	ask("a")
	n.store.SetLimit(diskSpace)
	if files := n.files(); len(files) != 0 {
		t.Fatalf("on disk: %q", files)
	}
	ask("b")
	if status := ask("a"); status != Hit {
		t.Error(status)
	}
}
