package cache

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/voyo-music/caddy-voyo/cache/disk"
	"github.com/voyo-music/caddy-voyo/internal/byterange"
)

var stressSeed = flag.Uint64("stress.seed", 0, "what TestStress draws its choices from; 0 means a new one")

const (
	stressRounds   = 60
	stressClients  = 12
	stressRequests = 25 // of each client
	stressKeys     = 3
	stressPatience = 10 * time.Second
)

// TestStress lets random clients ask at once for objects that change, from an
// upstream that breaks off, drips, ignores ranges or does not say how long they
// are, while limits change: each answer consists of bytes of the version that its
// entity tag names, nobody waits for ever, and all is counted right in the end. The
// clock of the bubble stands for patience, so that a slow machine has as much.
func TestStress(t *testing.T) {
	seed := *stressSeed
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("-stress.seed=%d", seed)
	d, err := disk.Open(t.TempDir(), 1<<20+100_000, disk.Events{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.List(); err != nil { // what is listed out here can't be waited for in a bubble
		t.Fatal(err)
	}
	for round := range uint64(stressRounds) {
		synctest.Test(t, func(t *testing.T) { stressRound(t, seed+round, d) })
		if t.Failed() {
			t.Fatalf("in round %d", round)
		}
	}
}

func stressRound(t *testing.T, seed uint64, d *disk.Store) {
	c := newTest(t, Limits{Memory: 8000, Slice: 500})
	if seed%3 == 0 {
		d = nil
	}
	c.SetDisk(d, strconv.FormatUint(seed, 10))
	var upstreams [stressKeys]*changing
	for i := range upstreams {
		upstreams[i] = newChanging(i, rand.New(rand.NewPCG(seed, uint64(i))))
	}
	upstreams[stressKeys-1].header = http.Header{"Cache-Control": {"no-cache"}}
	upstreams[stressKeys-2].header = http.Header{"Cache-Control": {"max-age=0"}}
	var wg sync.WaitGroup
	for i := range uint64(stressClients) {
		client := &stressClient{c: c, rnd: rand.New(rand.NewPCG(seed, stressKeys+i)), upstreams: upstreams[:], disk: d, seed: seed}
		wg.Go(func() {
			for range stressRequests {
				client.act(t)
			}
		})
	}
	wg.Wait()
	idle := make(chan struct{})
	go func() { defer close(idle); c.work.Wait() }()
	select {
	case <-idle:
	case <-time.After(stressPatience):
		t.Fatal("the exchanges do not end")
	}
	c.check(t)
}

// changing is an upstream of one object that changes now and then, whose answers
// have all sorts of faults.
type changing struct {
	key    int
	header http.Header // added to each answer's

	mu       sync.Mutex
	rnd      *rand.Rand
	etag     string
	versions map[string][]byte // by entity tag
}

func newChanging(key int, rnd *rand.Rand) *changing {
	u := &changing{key: key, rnd: rnd, versions: make(map[string][]byte)}
	u.change()
	return u
}

func (u *changing) change() {
	n := len(u.versions)
	u.etag = fmt.Sprintf(`"%d-%d"`, u.key, n)
	u.versions[u.etag] = content(uint64(u.key*1000+n), 3000+u.rnd.IntN(20_000))
}

func (u *changing) version(etag string) []byte {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.versions[etag]
}

// fetch is a Fetch.
func (u *changing) fetch(ctx context.Context, h http.Header) (*http.Response, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.rnd.IntN(20) == 0 {
		u.change()
	}
	o := newOrigin(u.versions[u.etag])
	maps.Copy(o.header, u.header)
	o.header.Set("Etag", u.etag)
	o.unknown = u.rnd.IntN(5) == 0
	o.noRange = u.rnd.IntN(8) == 0
	resp, err := o.fetch(ctx, h)
	if err != nil {
		return nil, err
	}
	body := resp.Body
	switch u.rnd.IntN(8) {
	case 0:
		resp.Body = io.NopCloser(errReader(body, int64(u.rnd.IntN(5000)), errReset, nil))
	case 1:
		resp.Body = io.NopCloser(readerFunc(func(p []byte) (int, error) {
			time.Sleep(50 * time.Microsecond)
			return body.Read(p[:min(len(p), 300)])
		}))
	}
	return resp, nil
}

// stressClient does one random thing after another.
type stressClient struct {
	c         *Cache
	rnd       *rand.Rand
	upstreams []*changing
	disk      *disk.Store // nil: none
	seed      uint64
}

func (s *stressClient) act(t *testing.T) {
	u := s.upstreams[s.rnd.IntN(len(s.upstreams))]
	req := Request{Key: strconv.Itoa(u.key), Policy: policy(), Fetch: u.fetch}
	req.Policy.ReadAhead = s.rnd.IntN(3)
	if s.rnd.IntN(2) == 0 {
		req.Policy.StaleWhileRevalidate, req.Policy.StaleIfError = minute, hour
	}
	patience := stressPatience
	switch s.rnd.IntN(20) {
	case 0, 1:
		patience = time.Duration(s.rnd.IntN(2000)) * time.Microsecond
	case 2:
		if s.rnd.IntN(2) == 0 && s.disk != nil {
			s.c.SetDisk(s.disk, strconv.FormatUint(s.rnd.Uint64N(3), 10)+strconv.FormatUint(s.seed, 10))
		}
		s.c.SetLimits(Limits{Memory: int64(s.rnd.IntN(20_000)), Slice: int64(100 + s.rnd.IntN(2000)), Entries: s.rnd.IntN(4)})
	case 3:
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if err := s.c.Warm(ctx, req, int64(s.rnd.IntN(30_000))); errors.Is(err, context.DeadlineExceeded) {
			t.Error("Warm hangs")
		}
		return
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	s.ask(ctx, t, u, req)
}

// ask makes one request, and compares its answer with the version that it names.
func (s *stressClient) ask(ctx context.Context, t *testing.T, u *changing, req Request) {
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	rng := byterange.Range{End: math.MaxInt64}
	if s.rnd.IntN(2) == 0 {
		rng.Start = s.rnd.Int64N(25_000)
		rng.End = rng.Start + 1 + s.rnd.Int64N(8000)
		r.Header.Set("Range", byterange.Header(rng))
	}
	w := &erratic{ResponseRecorder: httptest.NewRecorder(), left: math.MaxInt}
	if s.rnd.IntN(2) == 0 {
		w.rnd = s.rnd
	}
	if s.rnd.IntN(5) == 0 {
		w.left = s.rnd.IntN(5000)
	}
	start := time.Now()
	_, err := s.c.Serve(w, r, req)
	if time.Since(start) > stressPatience*9/10 {
		t.Errorf("the client waited until it lost patience: %v", err)
	}
	got, etag := w.Body.Bytes(), w.Header().Get("Etag")
	if err != nil && len(got) == 0 || w.Code != http.StatusOK && w.Code != http.StatusPartialContent {
		return
	}
	want := u.version(etag)
	if w.Code == http.StatusPartialContent {
		want = want[rng.Start:min(rng.End, int64(len(want)))]
	} else {
		rng.Start = 0
	}
	if err != nil && !errors.Is(err, ErrAborted) {
		t.Errorf("an answer had begun, and the error doesn't say so: %v", err)
	}
	if !bytes.HasPrefix(want, got) || err == nil && len(want) != len(got) {
		t.Errorf("status %d: %d bytes of %d of version %s, %v;%s", w.Code, len(got), len(want), etag, err, u.origins(got, rng.Start))
	}
}

// origins says of which versions, and from where, the bytes are that a client got
// from off on.
func (u *changing) origins(got []byte, off int64) string {
	const piece = 50
	u.mu.Lock()
	defer u.mu.Unlock()
	text := ""
	for etag, v := range u.versions {
		for i := 0; i+piece <= len(got); i += piece {
			if at := bytes.Index(v, got[i:i+piece]); at >= 0 {
				text += fmt.Sprintf(" at %d: %s from %d;", off+int64(i), etag, at)
			}
		}
	}
	return text
}

// erratic is a client that may be slow, and may leave.
type erratic struct {
	*httptest.ResponseRecorder
	rnd  *rand.Rand // nil if it is not slow
	left int        // bytes until it leaves
}

func (e *erratic) Write(p []byte) (int, error) {
	if e.rnd != nil {
		time.Sleep(time.Duration(e.rnd.IntN(300)) * time.Microsecond)
	}
	e.left -= len(p)
	if e.left < 0 {
		return 0, errors.New("client is gone")
	}
	return e.ResponseRecorder.Write(p)
}
