package voyo_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"regexp"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
)

// load is who listens in a soak, and what they see.
type load struct {
	nodes []node // the edge, over each protocol
	songs []song
	pace  *rate.Limiter // of all requests
	group *errgroup.Group

	requests, honest, wrong, retries atomic.Int64

	mu     sync.Mutex
	errors map[string]int // that were honest, by their texts without figures
}

// The listeners, by what they do.
const (
	soakWhole  = 12 // songs, one after the other
	soakSeek   = 12 // parts of songs
	soakSlow   = 8  // songs, at the pace of a player
	soakLeave  = 6  // away in the middle
	soakCovers = 4
	soakPace   = 150 // requests in a second
)

func newLoad(songs []song, nodes ...node) *load {
	return &load{nodes: nodes, songs: songs, pace: rate.NewLimiter(soakPace, soakPace), errors: make(map[string]int)}
}

// listen has everybody begin. They end with ctx, or with the first wrong byte.
func (l *load) listen(ctx context.Context) {
	l.group, ctx = errgroup.WithContext(ctx)
	for _, kind := range []struct {
		n  int
		do func(ctx context.Context, n node, s song, rnd *rand.Rand) error
	}{{soakWhole, whole}, {soakSeek, seek}, {soakSlow, play}, {soakLeave, vanish}, {soakCovers, glance}} {
		for i := range kind.n {
			rnd := rand.New(rand.NewPCG(uint64(i), 7))
			popular := rand.NewZipf(rnd, 1.1, 4, uint64(len(l.songs)-1))
			l.group.Go(func() error {
				for l.pace.Wait(ctx) == nil {
					s := l.songs[popular.Uint64()]
					if err := l.judge(ctx, kind.do(ctx, l.nodes[rnd.IntN(len(l.nodes))], s, rnd)); err != nil {
						return err
					}
				}
				return nil
			})
		}
	}
}

// judge counts a request by how it ended. Only wrong bytes end the soak.
func (l *load) judge(ctx context.Context, err error) error {
	if errors.Is(err, errWrongBytes) {
		l.wrong.Add(1)
		return err
	}
	if ctx.Err() == nil { // or else it was ended by us
		l.count(err)
	}
	return nil
}

func (l *load) count(err error) {
	if isUnanswered(err) {
		l.retries.Add(1)
		return
	}
	l.requests.Add(1)
	if err != nil {
		l.honest.Add(1)
		l.note(err)
	}
}

var figureInText = regexp.MustCompile(`\d+`)

func (l *load) note(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.errors[figureInText.ReplaceAllString(err.Error(), "#")]++
}

// leave closes what connections are left.
func (l *load) leave() {
	for _, n := range l.nodes {
		n.client.CloseIdleConnections()
	}
}

func whole(ctx context.Context, n node, s song, _ *rand.Rand) error {
	_, err := n.hear(ctx, s)
	return err
}

func seek(ctx context.Context, n node, s song, rnd *rand.Rand) error {
	start := rnd.Int64N(s.size)
	_, err := n.hearRange(ctx, s, start, start+1+rnd.Int64N(min(s.size-start, 128<<10)))
	return err
}

func glance(ctx context.Context, n node, s song, _ *rand.Rand) error { return n.see(ctx, s.id) }

func vanish(ctx context.Context, n node, s song, rnd *rand.Rand) error {
	return n.leave(ctx, s, 1+rnd.Int64N(s.size/2))
}

// play takes 64 KiB at a time, a few in a second.
func play(ctx context.Context, n node, s song, _ *rand.Rand) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url+s.path(), nil)
	if err != nil {
		return err
	}
	resp, err := n.client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("got %s", resp.Status)
	}
	_, err = s.verify(&paced{resp.Body, rate.NewLimiter(200<<10, 64<<10)}, 0, s.size)
	return err
}

// paced is a reader that reads no faster than its limit.
type paced struct {
	io.Reader
	limit *rate.Limiter
}

func (p *paced) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b[:min(len(b), p.limit.Burst())])
	if e := p.limit.WaitN(context.Background(), n); err == nil { // the body ends with its request
		err = e
	}
	return n, err
}
