package cache

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
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

// bring serves one request, and waits until all that it has brought is stored.
func (n *node) bring(t *testing.T, req Request, fields ...string) Status {
	t.Helper()
	_, status, err := get(t, n.Cache, req, fields...)
	if err != nil {
		t.Fatal(err)
	}
	n.work.Wait()
	n.store.Flush()
	return status
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
	n.bring(t, req)
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
	n.bring(t, req, "Range", "bytes=0-19999")
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
					n.bring(t, req)
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

// TestWhatIsHotInMemoryStaysOnDisk has an object served out of memory again and
// again, while others pass through a disk that is too small for them: it is still
// there after a restart.
func TestWhatIsHotInMemoryStaysOnDisk(t *testing.T) {
	n := newNode(t, Limits{Memory: 10 << 20, Slice: 10_000}, 1_060_000+20*13_000)
	defer n.stop()
	o := newOrigin(content(1, 30_000))
	ask := func(key string) Status {
		return n.bring(t, Request{Key: key, Policy: policy(), Fetch: o.fetch})
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
		return n.bring(t, Request{Key: key, Policy: policy(), Fetch: o.fetch})
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

// TestReadersKeepTheirVersionOnDisk has an object replaced while somebody is in the
// middle of it, who has the rest from the disk alone: he gets all of it, and it goes when
// he has.
func TestReadersKeepTheirVersionOnDisk(t *testing.T) {
	for _, validator := range []bool{false, true} {
		t.Run(fmt.Sprintf("validator %t", validator), func(t *testing.T) {
			n := newDiskNode(t, Limits{Memory: 1 << 20, Slice: 1000})
			o := newOrigin(content(1, 5_000))
			o.header.Set("Cache-Control", "max-age=0")
			if !validator {
				o.header.Del("Etag")
			}
			req := Request{Key: "a", Policy: stalePolicy(), Fetch: o.fetch}
			n.bring(t, req)
			n.restart()
			old, next := o.body, content(2, 3_000)
			o.body = next
			if validator {
				o.set(next, `"v2"`)
			}
			goOn := make(chan struct{})
			p := &pausing{ResponseRecorder: httptest.NewRecorder(), first: make(chan struct{}), wait: goOn}
			done := make(chan error, 1)
			go func() { done <- serve(t.Context(), n.Cache, p, req, "") }()
			<-p.first
			n.work.Wait() // it was confirmed in the background that there is another one
			if resp, status, err := get(t, n.Cache, req); err != nil || !bytes.Equal(read(t, resp), next) {
				t.Errorf("%s, %v", status, err)
			}
			close(goOn)
			if err := <-done; err != nil || !bytes.Equal(p.Body.Bytes(), old) {
				t.Errorf("%d bytes of %d, %v; %s", p.Body.Len(), len(old), err, p.Header().Get("Cache-Status"))
			}
			n.work.Wait()
			if files := n.files(); len(files) != 3 {
				t.Errorf("on disk: %q", files)
			}
		})
	}
}

// FuzzDecodeObject reads what a file's checksum says to be right, but which some other
// version may have written: there is an object that can be written again, or an error.
func FuzzDecodeObject(f *testing.F) {
	o := &object{key: "stream/x", status: 200, size: 10, sliceSize: 4, arrived: time.Unix(1, 2), header: http.Header{"Etag": {`"a"`}, "X": {"\xff", ""}}}
	f.Add("stream/x", o.encode(), "\x80", "\n")
	f.Add("", []byte(`{"key":"","size":1,"slice":1}`), "", "")
	f.Add("a", []byte(`{"key":"YQ==","size":1152921504606846976,"slice":1,"status":-1,"arrived":"0000-01-01T00:00:00Z","header":{"":null}}`), "a", "")
	f.Add("a", []byte(`{"key":"YQ==","size":1,"slice":9223372036854775807,"arrived":"9999-12-31T23:59:59.999999999+23:59"}`), "Age", "1")
	f.Fuzz(func(t *testing.T, key string, b []byte, name, value string) {
		if o, err := decodeObject(key, b); err == nil {
			if o.key != key || o.size <= 0 || o.size > maxSize || o.sliceSize <= 0 || o.validator.size != o.size {
				t.Errorf("%+v", o)
			}
			if _, start, end := o.bounds(o.size - 1); start >= o.size || end != o.size {
				t.Errorf("the last byte of %d is in the slice from %d to %d", o.size, start, end)
			}
			again, err := decodeObject(key, o.encode())
			if err != nil || !bytes.Equal(again.encode(), o.encode()) {
				t.Errorf("%+v, %v", again, err)
			}
		}
		own := &object{key: key, status: 206, size: maxSize, sliceSize: 1, header: http.Header{name: {value, ""}}}
		got, err := decodeObject(key, own.encode())
		if err != nil || utf8.ValidString(name) && !reflect.DeepEqual(got.header, own.header) {
			t.Errorf("%+v, %v", got, err)
		}
		if _, err := decodeObject(key+"x", own.encode()); err == nil {
			t.Error("it is taken for another key's")
		}
	})
}
