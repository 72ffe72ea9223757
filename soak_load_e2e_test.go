package voyo_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"syscall"

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
	return &load{nodes: nodes, songs: songs, pace: rate.NewLimiter(soakPace, soakPace)}
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
	switch {
	case errors.Is(err, errWrongBytes):
		l.wrong.Add(1)
		return err
	case ctx.Err() != nil: // it was ended by us
		return nil
	case errors.Is(err, errNotAnswered):
		l.retries.Add(1)
		return nil
	case err != nil:
		l.honest.Add(1)
	}
	l.requests.Add(1)
	return nil
}

// leave closes what connections are left.
func (l *load) leave() {
	for _, n := range l.nodes {
		n.client.CloseIdleConnections()
	}
}

// errNotAnswered says that a connection was closed with a request on it that nobody had
// looked at, as a server may that is reloaded.
var errNotAnswered = errors.New("not answered")

func whole(ctx context.Context, n node, s song, _ *rand.Rand) error {
	h, err := n.hear(ctx, s)
	return answered(h, err)
}

func seek(ctx context.Context, n node, s song, rnd *rand.Rand) error {
	start := rnd.Int64N(s.size)
	h, err := n.hearRange(ctx, s, start, start+1+rnd.Int64N(min(s.size-start, 128<<10)))
	return answered(h, err)
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
		return answered(heard{}, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("got %s", resp.Status)
	}
	_, err = s.verify(&paced{resp.Body, ctx, rate.NewLimiter(200<<10, 64<<10)}, 0, s.size)
	return err
}

func answered(h heard, err error) error {
	if h.status == 0 && (errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)) {
		return errNotAnswered
	}
	return err
}

// paced is a reader that reads no faster than its limit.
type paced struct {
	io.Reader
	ctx   context.Context
	limit *rate.Limiter
}

func (p *paced) Read(b []byte) (int, error) {
	n, err := p.Reader.Read(b[:min(len(b), p.limit.Burst())])
	if e := p.limit.WaitN(p.ctx, n); err == nil {
		err = e
	}
	return n, err
}
