package voyo

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/voyo-music/caddy-voyo/internal/chaos"
)

// TestChaosSeesThrough has a node that is well meddled with, in ways that no edge may
// have: a run must tell each of them.
func TestChaosSeesThrough(t *testing.T) {
	for name, c := range map[string]struct {
		meddle func(*chaosNode, http.Handler) http.Handler
		want   string // what the run finds; empty if that is nothing
	}{
		"nothing": {func(_ *chaosNode, next http.Handler) http.Handler { return next }, ""},
		"flipped byte": {writing(func(w http.ResponseWriter, p []byte) (int, error) {
			p = append([]byte(nil), p...)
			p[len(p)/2] ^= 1
			return w.Write(p)
		}), "are of none of"},
		"truncated body": {writing(func(w http.ResponseWriter, p []byte) (int, error) {
			_, err := w.Write(p[:len(p)/2])
			return len(p), err
		}), "no version that may be used"},
		"cookie": {func(_ *chaosNode, next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Set-Cookie", "a=b")
				next.ServeHTTP(w, r)
			})
		}, "Set-Cookie"},
		"purge that does nothing": {func(n *chaosNode, next http.Handler) http.Handler {
			n.deaf = true
			return next
		}, "no version that may be used"},
		"stream that is left": {func(n *chaosNode, next http.Handler) http.Handler {
			n.handler().state.activeStreams.Add(1)
			return next
		}, "streams are active"},
		"connection that is left": {func(n *chaosNode, next http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if _, err := n.network.DialContext(r.Context(), "tcp", "music.example:80"); err != nil {
					n.t.Error(err)
				}
				next.ServeHTTP(w, r)
			})
		}, "connections are open"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				run := &chaosRun{node: startChaosNode(t, peaceful(t)), sum: newChaosSum()}
				run.node.server.Handler = c.meddle(run.node, run.node)
				run.play(t)
				run.end(t)
				got := strings.Join(run.problems, "\n")
				if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
					t.Errorf("want %q, found: %s", c.want, got)
				}
			})
		})
	}
}

// writing meddles with what is written.
func writing(write func(w http.ResponseWriter, p []byte) (int, error)) func(*chaosNode, http.Handler) http.Handler {
	return func(_ *chaosNode, next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			next.ServeHTTP(&meddlingWriter{w, write}, r)
		})
	}
}

type meddlingWriter struct {
	http.ResponseWriter

	write func(w http.ResponseWriter, p []byte) (int, error)
}

func (m *meddlingWriter) WriteHeader(status int) {
	m.Header().Del("Content-Length") // which would show it
	m.ResponseWriter.WriteHeader(status)
}

func (m *meddlingWriter) Write(p []byte) (int, error) { return m.write(m.ResponseWriter, p) }

// peaceful returns a script without trouble, of a track that is asked for before it
// changes and is purged, and after.
func peaceful(t *testing.T) chaos.Script {
	t.Helper()
	for seed := uint64(0); ; seed++ {
		s := chaos.Draw(seed)
		o := s.Object(s.Paths()[0])
		fits := o.Validator == "etag" && o.Control == "" && o.Framing == "length" && o.Size > 30_000
		if o.Missing || !fits || s.Node.TTL < time.Minute || s.Node.MaxObject > 0 {
			continue
		}
		s.Trouble = 0
		before, after := s.Plain(o.Path), s.Plain(o.Path)
		after.At = 2 * time.Second
		s.Visits = []chaos.Visit{before, after}
		s.Events = []chaos.Event{{At: time.Second, Kind: "purge with change", Track: 0}}
		return s
	}
}
