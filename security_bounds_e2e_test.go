package voyo_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

// Whatever ranges a client asks for, it is sent no byte twice, and the upstream sends
// little more than the slices that are touched.
func TestRangeAmplification(t *testing.T) {
	const (
		slice = 256 << 10
		size  = 64 * slice
	)
	each := func(n, step int, form string) string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf(form, i*step))
		}
		return "bytes=" + strings.Join(list, ",")
	}
	for _, c := range []struct {
		name, ranges   string
		status         int
		client, origin int64 // bytes at the most
	}{
		{"a byte each of 16 slices", each(16, 4*slice, "%d-%[1]d"), 206, 16 * 300, 16 * 3 * slice},
		{"a byte each of 17 slices", each(17, 3*slice, "%d-%[1]d"), 200, size, size},
		{"a thousand bytes", each(1000, 2, "%d-%[1]d"), 200, size, size},
		{"all of it, 16 times", each(16, 0, "%d-"), 206, size, size},
		{"all of it, a thousand times", each(1000, 0, "%d-"), 200, size, size},
		{"overlapping", each(16, 1, "%d-"), 206, size, size},
		{"overlapping from the end", each(16, -1, "-1%d00") + ",-1", 200, size, size},
		{"one byte, 16 times", each(16, 0, "%d-%[1]d"), 206, 1, 3 * slice},
		{"the last byte, 16 times", each(16, 0, "-%d1"), 206, 1, 2 * slice},
		{"far beyond the end", "bytes=9223372036854775807-,99999999999999999999-", 416, 0, 3 * slice},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSong(songID, size)
			a := newArchive(t, s)
			e := startEdge(t, "voyo {\n"+template(a.URL)+"\nstream {\nslice 256KiB\nread_ahead 2\n}\n}")
			got := e.do(t, http.MethodGet, s.path(), with("Range", c.ranges))
			if got.status != c.status || int64(len(got.body)) > c.client {
				t.Errorf("got %d and %d bytes, want %d and at most %d", got.status, len(got.body), c.status, c.client)
			}
			eventually(t, "the upstream's answers have ended", a.idle)
			if n := a.sent.Load(); n > c.origin {
				t.Errorf("the upstream sent %d bytes, for %q; at most %d were needed", n, a.askedRanges(), c.origin)
			}
		})
	}
}

// flood is an upstream that answers each request with a beginning and then goes on for
// as long as it is listened to.
func flood(t *testing.T, begin, more string) (url string, sent *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { l.Close() })
	sent = new(atomic.Int64)
	block := []byte(strings.Repeat(more, 1+(64<<10)/len(more)))
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = conn.Read(make([]byte, 64<<10))
				_, err := io.WriteString(conn, begin)
				for err == nil {
					var n int
					n, err = conn.Write(block)
					sent.Add(int64(n))
				}
			}()
		}
	}()
	return "http://" + l.Addr().String(), sent
}

// An upstream that sends without end, where a header or a few lines of JSON are due, is
// left: little of it is read, and nothing kept.
func TestFloods(t *testing.T) {
	const (
		most  = 24 << 20 // what is read, and the sockets' buffers on both sides
		begin = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
	)
	for _, c := range []struct{ name, begin, more string }{
		{"a line of the header", begin + "X-Large: ", "a"},
		{"lines of the header", begin, "X-Large: aaaaaaaa\r\n"},
		{"empty names", begin, ":\r\n"},
		{"interim answers", "", "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"},
		{"a status line", "HTTP/1.1 200 ", "O"},
		{"a string", begin + "\r\n{\"url\":\"", "a"},
		{"arrays", begin + "\r\n", "["},
		{"spaces", begin + "\r\n", " "},
		{"an extension of a chunk", begin + "Transfer-Encoding: chunked\r\n\r\n1;", "a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			url, sent := flood(t, c.begin, c.more)
			e := startEdge(t, fmt.Sprintf("@api header Api *\nvoyo @api {\nresolver api %s/stream\n}\nvoyo {\n%s\norigin %[1]s\n}", url, template(url)))
			before := heapBytes()
			for name, header := range map[string]http.Header{"service": with("Api", "1"), "media": nil} {
				if a := e.do(t, http.MethodGet, "/cdn/stream/"+songID, header); a.status != http.StatusBadGateway {
					t.Errorf("%s: got %s", name, a)
				}
			}
			asked := int64(2)
			if !strings.Contains(c.begin, "\r\n\r\n") { // or else it is a page without end, which is passed on
				asked++
				if a := e.get(t, "/page"); a.status != http.StatusBadGateway {
					t.Errorf("page: got %s", a)
				}
			}
			if n := sent.Load(); n > asked*most {
				t.Errorf("%d bytes were taken", n)
			}
			if grown := int64(heapBytes()) - int64(before); grown > asked*most {
				t.Errorf("the heap has grown by %d bytes", grown)
			}
		})
	}
}

// What is compressed is refused where nobody has asked for it, and nowhere taken apart.
func TestDecompressionBombs(t *testing.T) {
	const members, size = 256, 256 << 20
	var member bytes.Buffer
	zip := gzip.NewWriter(&member)
	_, err := zip.Write(make([]byte, size/members))
	must(t, err)
	must(t, zip.Close())
	bomb := bytes.Repeat(member.Bytes(), members)
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", map[bool]string{true: "application/json", false: "audio/ogg"}[r.URL.Path == "/stream"])
		w.Header().Set("Cache-Control", "max-age=60")
		if !strings.Contains(r.URL.Path, "/64/") {
			w.Header().Set("Content-Encoding", "gzip")
		}
		_, _ = w.Write(bomb)
	})
	e := startEdge(t, fmt.Sprintf("@api header Api *\nvoyo @api {\nresolver api %s/stream\n}\nvoyo {\n%s\norigin %[1]s\n}", o.URL, template(o.URL)))
	before := heapBytes()
	track, gz := "/cdn/stream/"+songID+"?type=video", with("Accept-Encoding", "gzip")
	for _, c := range []struct {
		name, path string
		header     http.Header
		status     int
	}{
		{"service", track, with("Api", "1"), http.StatusBadGateway},
		{"cover", "/cdn/art/" + songID, gz, http.StatusBadGateway},
		{"labelled track", "/cdn/stream/" + songID, gz, http.StatusBadGateway},
		{"track that is none", "/cdn/stream/" + songID + "?quality=low", gz, http.StatusOK},
		{"page", "/page", gz, http.StatusOK},
		{"page, part", "/page", with("Accept-Encoding", "gzip", "Range", "bytes=0-99"), http.StatusPartialContent},
		{"page for who can't read it", "/page2", nil, http.StatusOK},
	} {
		a := e.do(t, http.MethodGet, c.path, c.header)
		if a.status != c.status || a.status == http.StatusOK && !bytes.Equal(a.body, bomb) {
			t.Errorf("%s: got %d and %d bytes", c.name, a.status, len(a.body))
		}
	}
	if grown := int64(heapBytes()) - int64(before); grown > size/8 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
	for _, r := range o.asked("") {
		if got := r.Header.Get("Accept-Encoding"); got != "" && got != "identity" && !strings.HasPrefix(r.URL.Path, "/page") {
			t.Errorf("%s was asked for as %s", r.URL.Path, got)
		}
	}
}
