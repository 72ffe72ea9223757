package voyo_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/voyo-music/caddy-voyo/internal/chaos"
	"github.com/voyo-music/caddy-voyo/internal/ports/portstest"
)

// rough is the part of a soak whose upstream and clients misbehave: package chaos has
// them, and judges what they get.
type rough struct {
	url      string
	script   chaos.Script
	upstream *chaos.Upstream
	origin   string
	visits   atomic.Int64
}

const (
	roughTracks  = 40
	roughClients = 6
	roughTrouble = 40 // of 100 answers

	// roughLag is how long the edge may take to read what its upstream has sent, on a
	// machine that is busy with both and with all clients.
	roughLag = 5 * time.Second
)

func newRough(t *testing.T) *rough {
	t.Helper()
	script := chaos.Draw(1)
	script.Trouble, script.Tracks = roughTrouble, nil
	for i := range roughTracks {
		script.Tracks = append(script.Tracks, sourceID(5000+i))
	}
	script.Node.TTL, script.Node.Negative = time.Minute, time.Second
	script.Node.Revalidate, script.Node.IfError = 0, 0
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	r := &rough{
		url: fmt.Sprintf("http://127.0.0.1:%d", portstest.Reserve(t)), script: script, upstream: chaos.NewUpstream(script), origin: "http://" + l.Addr().String(),
	}
	r.upstream.Lag = roughLag
	served := make(chan error, 1)
	go func() { served <- r.upstream.Serve(l) }()
	t.Cleanup(func() {
		r.upstream.Close()
		if err := await(t, "the upstream ends", served); !errors.Is(err, net.ErrClosed) {
			t.Error(err)
		}
	})
	return r
}

// site configures the edge for it, whatever host is asked for.
func (r *rough) site(disk string) string {
	return fmt.Sprintf(`%s {
		bind 127.0.0.1
		voyo {
			resolver template {
				audio %s/audio/{http.voyo.id}/{http.voyo.bitrate}.opus
				art %[2]s/art/{http.voyo.id}/{http.voyo.image}.png
			}
			art {
				memory 4MiB
				max_object 1MiB
				ttl 1m
				negative_ttl 1s
			}
			stream {
				memory 1MiB
				slice 16KiB
				disk %s %d
				ttl 1m
				negative_ttl 1s
			}
			transport http {
				response_header_timeout 2s
			}
		}`, strings.Replace(r.url, "127.0.0.1", "", 1), r.origin, disk, soakDisk)
}

// visit has the clients begin, whose answers are counted with those of the load.
func (r *rough) visit(ctx context.Context, l *load) {
	for range roughClients {
		l.group.Go(func() error {
			for l.pace.Wait(ctx) == nil {
				v := r.script.Visit(int(r.visits.Add(1)))
				for _, a := range r.client().Visit(ctx, v, r.upstream.Now) {
					if ctx.Err() != nil {
						break
					}
					if err := r.judge(l, a); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
}

// judge counts an answer, and returns what is wrong with it.
func (r *rough) judge(l *load, a chaos.Answer) error {
	l.requests.Add(1)
	if a.Header.Get("Server") == "Caddy" { // which is what it is, and not the upstream's
		a.Header.Del("Server")
	}
	verdict, err := r.upstream.Check(a)
	if err != nil {
		l.wrong.Add(1)
		return fmt.Errorf("%w: %s: %w: status %d, %v", errWrongBytes, a.Visit, err, a.Status, a.Header)
	}
	if verdict != chaos.Right && verdict != chaos.Left {
		l.honest.Add(1)
		l.note(errors.New("misled: " + string(verdict)))
	}
	return nil
}

func (r *rough) client() chaos.Client {
	return chaos.Client{Patience: 3 * time.Minute, Scale: 200 * time.Millisecond, Dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", strings.TrimPrefix(r.url, "http://"))
	}}
}

// mustBeSound has everything be had of the upstream, which is well by now.
func (r *rough) mustBeSound(t *testing.T) {
	t.Helper()
	var err error
	defer func() {
		if err != nil {
			t.Log(err)
		}
	}()
	for _, path := range r.script.Paths() {
		eventually(t, path+" is what it should be", func() bool {
			answers := r.client().Visit(t.Context(), r.script.Plain(path), r.upstream.Now)
			answers[0].Header.Del("Server")
			var again bool
			again, err = r.upstream.Sound(answers[0], 0)
			return err == nil && !again
		})
	}
	for _, err := range r.upstream.Wrong() {
		t.Error(err)
	}
}
