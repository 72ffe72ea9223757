package voyo_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func init() {
	caddy.RegisterModule(panickingTransport{})
}

// panickingTransport is a transport with a bug.
type panickingTransport struct{}

func (panickingTransport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.transport.panicking",
		New: func() caddy.Module { return new(panickingTransport) },
	}
}

func (*panickingTransport) UnmarshalCaddyfile(*caddyfile.Dispenser) error { return nil }

func (*panickingTransport) RoundTrip(*http.Request) (*http.Response, error) {
	panic("a bug")
}

// tryStream asks for the test's track and reads what comes. The error is that of
// the request or of its body.
func tryStream(ctx context.Context, e *edge) (status int, body string, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, e.url+"/cdn/stream/"+songVOYO, nil)
	if err != nil {
		return 0, "", err
	}
	resp, err := e.client.Do(r)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// However a stream ends, it is not counted as an active one any more, and only
// one that is whole ends as if it were.
func TestStreamsEnd(t *testing.T) {
	track := fakeTrack(1 << 20)
	half := track[:len(track)/2]
	whole := func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, track) }
	mustFail := func(t *testing.T, e *edge) {
		t.Helper()
		if status, body, err := tryStream(t.Context(), e); err == nil {
			t.Errorf("got %d, %d bytes and no error", status, len(body))
		} else if !strings.HasPrefix(track, body) {
			t.Error("got other bytes")
		}
	}
	for _, c := range []struct {
		name   string
		origin http.HandlerFunc
		site   string
		client func(*testing.T, *edge)
	}{
		{"as it should", whole, "", func(t *testing.T, e *edge) {
			t.Helper()
			e.mustGet(t, "/cdn/stream/"+songVOYO, track)
		}},
		{"HEAD", whole, "", func(t *testing.T, e *edge) {
			if a := e.do(t, http.MethodHead, "/cdn/stream/"+songVOYO, nil); a.status != http.StatusOK {
				t.Errorf("got %s", a)
			}
		}},
		{"client leaves", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Etag", `"1"`)
			w.Header().Set("Content-Length", strconv.Itoa(1<<40))
			for err := error(nil); err == nil; {
				_, err = io.WriteString(w, track)
			}
		}, "", func(t *testing.T, e *edge) {
			resp := e.request(t, http.MethodGet, "/cdn/stream/"+songVOYO, nil)
			if _, err := io.CopyN(io.Discard, resp.Body, 1000); err != nil {
				t.Fatal(err)
			}
			if n := e.health(t).Cache.Stats.ActiveStreams; n != 1 {
				t.Errorf("%d active streams while there is one", n)
			}
			resp.Body.Close()
		}},
		{"client leaves before the header", func(_ http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
		}, "transport http {\nresponse_header_timeout 1s\n}", func(t *testing.T, e *edge) {
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() {
				_, _, err := tryStream(ctx, e)
				ended <- err
			}()
			eventually(t, "a stream is active", func() bool { return e.health(t).Cache.Stats.ActiveStreams == 1 })
			cancel()
			if err := await(t, "the client is told", ended); err == nil {
				t.Error("no error")
			}
		}},
		{"upstream breaks off", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", strconv.Itoa(len(track)))
			_, _ = io.WriteString(w, half)
			panic(http.ErrAbortHandler)
		}, "", mustFail},
		{"upstream of unknown length breaks off", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, half)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, "", mustFail},
		{"upstream refuses", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusServiceUnavailable)
		}, "", func(t *testing.T, e *edge) {
			if a := e.get(t, "/cdn/stream/"+songVOYO); a.status != http.StatusBadGateway {
				t.Errorf("got %s", a)
			}
		}},
		{"upstream does not have it", http.NotFound, "", func(t *testing.T, e *edge) {
			if a := e.get(t, "/cdn/stream/"+songVOYO); a.status != http.StatusNotFound {
				t.Errorf("got %s", a)
			}
		}},
		{"fetch panics", whole, "transport panicking", func(t *testing.T, e *edge) {
			if a := e.get(t, "/cdn/stream/"+songVOYO); a.status != http.StatusBadGateway {
				t.Errorf("got %s", a)
			}
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			gone := make(chan struct{}, 10)
			o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
				defer func() { gone <- struct{}{} }()
				w.Header().Set("Content-Type", "audio/ogg")
				c.origin(w, r)
			})
			e := startEdge(t, fmt.Sprintf("voyo {\nresolver template {\naudio %s/{http.voyo.id}\n}\n%s\n}", o.URL, c.site))
			c.client(t, e)
			eventually(t, "no stream is active", func() bool { return e.health(t).Cache.Stats.ActiveStreams == 0 })
			if c.name != "fetch panics" {
				await(t, "the upstream's handler ends", gone)
			}
		})
	}
}

// A stream of any length takes no more memory than is configured, and a client
// that reads slowly makes the upstream wait.
func TestStreamIsNotHeld(t *testing.T) {
	const (
		size  = 256 << 20
		piece = 1 << 20
		most  = 64 << 20 // the sockets' buffers on both sides, and garbage
	)
	block := []byte(fakeTrack(piece))
	var sent atomic.Int64
	o := newOrigin(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "audio/ogg")
		w.Header().Set("Content-Length", strconv.Itoa(size))
		w.Header().Set("Etag", `"1"`)
		for range size / piece {
			n, err := w.Write(block)
			if sent.Add(int64(n)); err != nil {
				return
			}
		}
	})
	e := startEdge(t, fmt.Sprintf("voyo {\nresolver template {\naudio %s/{http.voyo.id}\n}\nstream {\nmemory 8MiB\n}\n}", o.URL))

	before := heapBytes()
	resp := e.request(t, http.MethodGet, "/cdn/stream/"+songVOYO, nil)
	body := bufio.NewReaderSize(resp.Body, 4<<10)
	got := make([]byte, piece)
	want := sha256.Sum256(block)
	for i := range size / piece {
		if _, err := io.ReadFull(body, got); err != nil {
			t.Fatalf("after %d MiB: %v", i, err)
		}
		// hashing takes this reader longer than it takes the upstream to send
		if sha256.Sum256(got) != want {
			t.Fatalf("after %d MiB: other bytes", i)
		}
		ahead := sent.Load() - int64(i+1)*piece
		if grown := int64(heapBytes()) - int64(before); ahead > most || grown > most {
			t.Fatalf("after %d MiB: the upstream is %d bytes ahead, the heap has grown by %d", i, ahead, grown)
		}
	}
	if n, err := body.Read(got); n != 0 || err != io.EOF {
		t.Errorf("at the end: %d bytes, %v", n, err)
	}
}

// heapBytes returns the size of all objects on the heap, dead ones that have not
// been swept included.
func heapBytes() uint64 {
	sample := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// The upstream is asked for what the client asks for, and told nothing else of
// it; the client is told nothing of the upstream.
func TestWhatIsPassedOn(t *testing.T) {
	track := fakeTrack(100_000)
	other := fileOrigin(t, map[string]string{"/far/" + songID: track})
	o := newOrigin(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Set-Cookie", "session=secret")
		w.Header().Set("Server", "secret")
		w.Header().Set("X-Amz-Request-Id", "secret")
		to := other.URL + "/far/" + songID
		if r.URL.Path == "/near/"+songID {
			to = "/here/" + songID
		}
		http.Redirect(w, r, to+"?signature=other", http.StatusFound)
	})
	// the second one makes the redirect's host a known one
	e := startEdge(t, fmt.Sprintf(`voyo {
		resolver template {
			audio %s/near/{http.voyo.id}?signature=secret
			video %s/{http.voyo.id}
		}
		stream {
			slice 16KiB
		}
	}`, o.URL, other.URL))
	a := e.do(t, http.MethodGet, "/cdn/stream/"+songVOYO, with(
		"Range", "bytes=5000-5999", "Cookie", "client=secret", "Authorization", "secret",
		"Referer", "http://page.test/secret", "X-Forwarded-For", "192.0.2.1", "Accept-Language", "en"))
	if a.status != http.StatusPartialContent || string(a.body) != track[5000:6000] {
		t.Fatalf("got %s", a)
	}
	if strings.Contains(a.String(), "secret") {
		t.Errorf("the client was told %v", a.header)
	}
	for _, asked := range [][]*http.Request{o.asked("/near/"), o.asked("/here/"), other.asked("/far/")} {
		if len(asked) != 1 {
			t.Fatalf("asked %d times", len(asked))
		}
		r := asked[0]
		if got := r.Header.Get("Range"); got != "bytes=0-32767" { // in slices, one of them ahead
			t.Errorf("%s: Range: %s", r.URL.Path, got)
		}
		for _, name := range []string{"Cookie", "Authorization", "Referer", "X-Forwarded-For", "Accept-Language", "Origin"} {
			if got, ok := r.Header[name]; ok {
				t.Errorf("%s: %s: %s", r.URL.Path, name, got)
			}
		}
	}
}
