package voyo_test

import (
	"context"
	"crypto/tls"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/voyo-music/caddy-voyo/internal/ports/portstest"
)

// go test -run TestSoak -soak.time=30m -soak.dir=docs -timeout 40m .
var (
	soakTime = flag.Duration("soak.time", 20*time.Second, "for how long TestSoak loads its edge")
	soakDir  = flag.String("soak.dir", "", "where TestSoak leaves soak.csv and soak.svg; a temporary directory unless given")
)

const (
	soakMemory = 16 << 20 // of each cache
	soakDisk   = 48 << 20
	soakLimit  = 160 << 20 // GOMEMLIMIT
	soakBound  = soakLimit*13/10 + 64<<20
)

// An edge of its own is listened to for a while in all ways at once, while it is
// reloaded, purged and cut off from its upstreams: every byte is right, and in the end it
// is as large as in the beginning, all that was in use is given back, and everything can
// be had.
func TestSoak(t *testing.T) {
	songs := newSongs(0, 400, 512<<10) // of which memory has a tenth, and the disk a quarter
	a := newArchive(t, songs...)
	s := startSoak(t, a, songs)
	s.warmUp(t)
	before := s.edge.settledUsage(t)

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	defer time.AfterFunc(*soakTime, cancel).Stop() // no deadline, which would be theirs who listen
	s.listen(ctx)
	s.visit(ctx, s.load)
	s.trouble(ctx, t)
	if err := s.group.Wait(); err != nil {
		t.Error(err)
	}
	s.leave()
	a.CloseClientConnections()
	s.upstream.Heal() // or what the edge asks again hangs again
	s.upstream.CloseConns()
	eventually(t, "no stream is active", func() bool { return s.edge.health(t).Cache.Stats.ActiveStreams == 0 })
	s.edge.mustUseNoMore(t, before)
	s.record.add(s.edge.figures(t), s)
	s.mustHaveNoDeadKey(t)
	s.mustBeSound(t)
	s.finish(t)
}

// soak is the load and what becomes of it.
type soak struct {
	*load
	*rough

	edge    *child
	site    func(i int) string
	archive *archive
	record  *record
}

// startSoak starts the edge, with HTTP/2 and 3 at one port and HTTP/1.1 without TLS at
// another: two handlers that share their caches. A third one, of the same disk, has an
// upstream that misbehaves.
func startSoak(t *testing.T, a *archive, songs []song) *soak {
	t.Helper()
	disk := t.TempDir()
	plain := newNode(t, fmt.Sprint(portstest.Reserve(t)))
	rough := newRough(t)
	cert, key, pool := newCertificate(t)
	trust := &tls.Config{RootCAs: pool}
	site := func(i int) string {
		handler := fmt.Sprintf("voyo {\n%s\nart {\nmemory %d\nentries 200\n}\nstream {\nmemory %[2]d\nslice 64KiB\ndisk %[3]s %[4]d\nmax_age %[5]dm\n}\n}",
			template(a.URL), soakMemory, disk, soakDisk, 1+i)
		return fmt.Sprintf("tls %s %s\n%s\n}\n%s {\nbind 127.0.0.1\n%[3]s\n}\n%[5]s", cert, key, handler, plain.url, rough.site(disk))
	}
	c := newSecureChild(t, trust, fmt.Sprintf("GOMEMLIMIT=%d", soakLimit))
	// an edge told to end does not wait for connections of which its clients know nothing more
	c.options = "grace_period 10s\nservers " + strings.TrimPrefix(rough.url, "http://127.0.0.1") + " {\nprotocols h1 h2c\n}"
	c.configure(t, site(0))
	c.start(t)
	// connections that its client forgets when a reload ends them would stay for half a minute
	h3 := &http3.Transport{TLSClientConfig: trust, DisableCompression: true, QUICConfig: &quic.Config{MaxIdleTimeout: 5 * time.Second}}
	t.Cleanup(func() { must(t, h3.Close()) })
	return &soak{
		load:  newLoad(songs, plain, c.node, node{c.url, &http.Client{Transport: h3}}),
		rough: rough, edge: c, site: site, archive: a, record: &record{began: time.Now()},
	}
}

// warmUp uses everything once, so that what stays is there.
func (s *soak) warmUp(t *testing.T) {
	t.Helper()
	for _, n := range s.nodes {
		n.mustHearAll(t, s.songs[:40], 4)
	}
	s.edge.reload(t, s.site(1))
	s.leave()
	s.archive.CloseClientConnections()
}

// trouble makes some, takes samples, and returns when the time is over.
func (s *soak) trouble(ctx context.Context, t *testing.T) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(1, 0))
	sample := time.NewTicker(min(max(*soakTime/100, 500*time.Millisecond), 5*time.Second))
	defer sample.Stop()
	change := time.NewTicker(max(*soakTime/120, time.Second))
	defer change.Stop()
	for i := 2; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-sample.C:
			s.record.add(s.edge.figures(t), s)
			continue
		case <-change.C:
		}
		switch rnd.IntN(6) {
		case 0, 1:
			s.edge.reload(t, s.site(i%60))
		case 2:
			s.archive.CloseClientConnections() // in the midst of what it sends
		case 3:
			s.edge.purge(t, `{"all":true}`)
		default:
			s.edge.purge(t, fmt.Sprintf(`{"ids":[%q,%q]}`, s.songs[rnd.IntN(len(s.songs))].id, s.songs[0].id))
		}
	}
}

// purge has the edge forget.
func (c *child) purge(t *testing.T, what string) {
	t.Helper()
	if a := c.administer(t, http.MethodPost, purgeURI, what); a.status != http.StatusOK {
		t.Fatalf("purge %s: %s", what, a)
	}
}

// mustHaveNoDeadKey gets all that there is, once.
func (s *soak) mustHaveNoDeadKey(t *testing.T) {
	t.Helper()
	s.edge.mustHearAll(t, s.songs, 8)
	for _, song := range s.songs {
		must(t, s.edge.see(t.Context(), song.id))
	}
}

// finish judges the figures, and leaves them where they can be looked at.
func (s *soak) finish(t *testing.T) {
	t.Helper()
	dir := *soakDir
	if dir == "" {
		dir = t.TempDir()
	}
	must(t, os.MkdirAll(dir, 0o755))
	must(t, os.WriteFile(filepath.Join(dir, "soak.csv"), s.record.csv(), 0o644))
	must(t, os.WriteFile(filepath.Join(dir, "soak.svg"), s.record.svg(), 0o644))
	t.Logf("%s", s.record.table())
	t.Logf("honest errors: %v; %d requests were asked again", s.errors, s.retries.Load())
	if n := s.wrong.Load(); n != 0 {
		t.Errorf("%d answers had wrong bytes", n)
	}
	if err := s.record.judge(soakBound); err != nil {
		t.Error(err)
	}
	if served := s.requests.Load(); served < int64(soakTime.Seconds()) {
		t.Errorf("only %d requests", served)
	}
	if log := s.edge.log(t); strings.Contains(log, "panic") {
		t.Error("there was a panic")
	}
}
