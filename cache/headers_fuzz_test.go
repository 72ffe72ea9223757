package cache

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/voyo-music/caddy-voyo/internal/contain"
)

// FuzzAnswers has an upstream answer with any status and header: nothing in it makes the
// cache panic, nor give one client's cookie to another.
func FuzzAnswers(f *testing.F) {
	for _, header := range []string{
		"Etag: \"1\"\nContent-Length: 9\nCache-Control: max-age=60", "Content-Range: bytes 0-8/9", "Content-Range: bytes 9-/0\nContent-Length: -1",
		"Set-Cookie: session\nCache-Control: max-age=60, no-cache=\"set-cookie\"", "Cdn-Cache-Control: max-age=99999999999999999999;x, \"", "Age: -1\nAge: 99999999999999999999",
		"Vary: *, ,a,\x00\nCache-Tag: ,,\nSurrogate-Key:  ", "Date: 0\nExpires: Thu, 99 Foo 1994\nLast-Modified: x", "Connection: Etag, , Set-Cookie\nTrailer: Content-Length",
		"Content-Type: multipart/byteranges; boundary=\nContent-Encoding: gzip", "Content-Length: 1, 1\nTransfer-Encoding: identity\nEtag: W/\"\"", "Surrogate-Capability: a=\"ESI/1.0\"\nX-Esi: on",
	} {
		for _, status := range []uint16{200, 206, 304, 416, 503} {
			f.Add(status, header, "the body", "bytes=0-3", status%2 == 0)
		}
	}
	f.Fuzz(func(t *testing.T, status uint16, text, body, rng string, gateway bool) {
		wire := fmt.Sprintf("HTTP/1.1 %d x\r\n%s\r\n\r\n%s", status, strings.ReplaceAll(text, "\n", "\r\n"), body)
		answer := func() (*http.Response, error) { // as net/http hands it over
			return http.ReadResponse(bufio.NewReader(strings.NewReader(wire)), nil)
		}
		if resp, err := answer(); err != nil || status < 200 || resp.Body.Close() != nil {
			return
		}
		c := newTest(t, Limits{Memory: 1 << 20, Slice: 4})
		p := policy()
		if gateway {
			p = &Policy{Gateway: true, MaxAge: -1}
		}
		fetch := func(context.Context, http.Header) (*http.Response, error) { return answer() }
		req := Request{Key: "a", Policy: p, Fetch: fetch, Head: fetch, Header: http.Header{}}
		for _, asked := range []string{"", rng, ""} {
			fields := []string{}
			if asked != "" {
				fields = []string{"Range", asked}
			}
			resp, outcome, err := do(t, c, http.MethodGet, req, fields...)
			if _, panicked := errors.AsType[*contain.PanicError](err); panicked {
				t.Fatal(err)
			}
			if err != nil {
				continue
			}
			if outcome == Hit && len(resp.Header["Set-Cookie"]) > 0 {
				t.Errorf("a cookie out of the cache: %v", resp.Header)
			}
			if got := read(t, resp); outcome == Hit && resp.StatusCode == http.StatusOK && !bytes.Contains([]byte(body), got) {
				t.Errorf("got %q of %q", got, body)
			}
			c.work.Wait()
		}
	})
}
