package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/voyo-music/caddy-voyo/internal/peer"
	"github.com/voyo-music/caddy-voyo/internal/sim"
)

// tolerance is how far a ratio of real nodes may be from the simulated one: 2 percentage
// points. They would be the same but for what is decided by when a disk has written.
const tolerance = 0.02

// toy is a world that is small enough for real nodes: 300 tracks of 256 KiB to 1 MiB in two
// bitrates, and players that ask for parts that are no slices.
func toy() world {
	return world{
		Seed: 11, Scale: 1, Tracks: 300, Smallest: 256 << 10, Largest: 1 << 20, Slice: 64 << 10, ReadAhead: 1, Sticky: true,
		Habits: habits{Zipf: 0.9, High: 0.7, Listened: 0.6, Skip: 0.3, Seek: 0.2, Bitrate: 4000, Buffer: 20, Range: 96 << 10},
		// HTTP/1.1 without TLS: the kernel copies, and nothing comes from the disk into memory
		Edge:   limits{memory: 1 << 20, disk: 24 << 20, promotion: sim.Never},
		Shield: limits{memory: 1 << 20, disk: 48 << 20, promotion: sim.Never},
	}
}

// errand is one request of a trace.
type errand struct {
	edge, object int
	part         span
}

// errands returns a trace of at least n requests.
func (r *region) errands(n int) (trace []errand) {
	for len(trace) < n {
		object, edge := r.listeners.draw(), r.rng.IntN(len(r.edges))
		for _, part := range r.listeners.play(object) {
			trace = append(trace, errand{edge, object, part})
		}
	}
	return trace
}

// TestRealEdges has edges do what is simulated.
func TestRealEdges(t *testing.T) {
	t.Parallel() // it waits for its nodes most of the time
	r := newRegion(toy(), 3)
	r.addTier(0, r.Shield)
	l := newLab(t, r)
	var edges []*realNode
	for range r.edges {
		edges = append(edges, l.start(t, r.Edge, ""))
	}
	compare(t, r, l, edges, nil)
}

// TestRealTiers has shields between the edges and the origin.
func TestRealTiers(t *testing.T) {
	t.Parallel()
	r := newRegion(toy(), 3)
	l := newLab(t, r)
	var edges, shields []*realNode
	var urls []string
	for range 2 {
		s := l.start(t, r.Shield, "")
		shields, urls = append(shields, s), append(urls, s.url)
	}
	r.addTier(2, r.Shield).order = rendezvous(urls, r.Tracks, func(track int) string { return trackPath(trackID(track)) })
	for range r.edges {
		edges = append(edges, l.start(t, r.Edge, "shield "+strings.Join(urls, " ")))
	}
	compare(t, r, l, edges, shields)
	var sent int64
	for _, s := range shields {
		sent += s.rest(t)
	}
	simulated := r.atEdges()
	got, want := ratio(sent, simulated.asked), ratio(simulated.fetched, simulated.asked)
	t.Logf("bytes between the tiers, of those sent: %.4f, simulated %.4f", got, want)
	if math.Abs(got-want) > tolerance {
		t.Errorf("bytes between the tiers, of those sent: %.4f, simulated %.4f", got, want)
	}
	for i, s := range r.tiers[0].shields {
		if s.requests == 0 {
			t.Errorf("shield %d is asked for nothing", i)
		}
	}
}

// compare runs a trace through the region and through real nodes, and compares.
func compare(t *testing.T, r *region, l *lab, edges, shields []*realNode) {
	t.Helper()
	trace := r.errands(3000)
	var got tally
	for _, e := range trace {
		before := r.edges[e.edge].fetches
		r.edges[e.edge].request(e.object, e.part)
		got.requests++
		got.asked += e.part.to - e.part.from
		if edges[e.edge].get(t, e) {
			got.hits++
		}
		edges[e.edge].rest(t)
		if r.edges[e.edge].fetches == before {
			continue // the shields have nothing to do
		}
		for _, s := range shields {
			s.rest(t)
		}
	}
	simulated, origin := r.atEdges(), r.tiers[0].origin
	for _, c := range []struct {
		name            string
		real, simulated float64
	}{
		{"requests that are hits", ratio(got.hits, got.requests), ratio(simulated.hits, simulated.requests)},
		{"bytes from the origin, of those sent", ratio(l.bytes.Load(), got.asked), ratio(origin.asked, simulated.asked)},
		{"requests to the origin, of those of clients", ratio(l.requests.Load(), got.requests), ratio(origin.requests, simulated.requests)},
	} {
		t.Logf("%s: %.4f, simulated %.4f", c.name, c.real, c.simulated)
		if math.Abs(c.real-c.simulated) > tolerance {
			t.Errorf("%s: %.4f, simulated %.4f", c.name, c.real, c.simulated)
		}
	}
	if full := r.edges[0].disk; full.bytes < full.limit*9/10 {
		t.Error("the disks are not full: nothing was evicted")
	}
}

// lab is an origin that counts, and the program that edges are.
type lab struct {
	region          *region
	caddy, url      string
	bytes, requests atomic.Int64
}

func newLab(t *testing.T, r *region) *lab {
	t.Helper()
	l := &lab{region: r, caddy: filepath.Join(t.TempDir(), "caddy")}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", l.caddy, "../../cmd/caddy")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s := httptest.NewServer(http.HandlerFunc(l.serve))
	t.Cleanup(s.Close)
	l.url = s.URL
	return l
}

// serve serves an object, all of whose bytes are its number's last.
func (l *lab) serve(w http.ResponseWriter, r *http.Request) {
	var bitrate, track int
	if _, err := fmt.Sscanf(r.URL.Path, "/%d/fleet%06d.opus", &bitrate, &track); err != nil {
		http.NotFound(w, r)
		return
	}
	object := track*variants + bitrate/128
	l.requests.Add(1)
	w.Header().Set("Etag", fmt.Sprintf(`"%d"`, object))
	w.Header().Set("Content-Type", "audio/ogg")
	body := bytes.Repeat([]byte{byte(object)}, int(l.region.c.sizes[object]))
	http.ServeContent(countingWriter{w, &l.bytes}, r, "", time.Time{}, bytes.NewReader(body))
}

type countingWriter struct {
	http.ResponseWriter

	n *atomic.Int64
}

func (w countingWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.n.Add(int64(n))
	return n, err
}

// realNode is a Caddy with the edge's handler.
type realNode struct {
	url   string
	admin http.Client
}

// start starts a node with some limits, and another option of the handler's.
func (l *lab) start(t *testing.T, n limits, option string) *realNode {
	t.Helper()
	dir, err := os.MkdirTemp("", "fleet") // a Unix socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := filepath.Join(dir, "admin")
	p, err := peer.StartCaddy(t.Context(), l.caddy, dir, fmt.Sprintf(`{
	admin unix/%[1]s
	auto_https off
	persist_config off
	storage file_system %[2]s/storage
	log {
		level ERROR
	}
}
http:// {
	bind fd/3
	voyo {
		resolver template {
			audio %[3]s/{http.voyo.bitrate}/{http.voyo.id}.opus
		}
		stream {
			memory %[4]dB
			disk %[2]s/cache %[5]dB
			slice %[6]dB
		}
		%[7]s
	}
}
`, socket, dir, l.url, n.memory, n.disk+layout, l.region.Slice, option))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return &realNode{url: "http://" + p.Addr[0], admin: http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}}
}

// get does an errand, and reports whether it was a hit.
func (n *realNode) get(t *testing.T, e errand) bool {
	t.Helper()
	quality := []string{"low", "high"}[e.object%variants]
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, n.url+trackPath(trackID(e.object/variants))+"?quality="+quality, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", e.part.from, e.part.to-1))
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	want := bytes.Repeat([]byte{byte(e.object)}, int(e.part.to-e.part.from))
	if err != nil || resp.StatusCode != http.StatusPartialContent || !bytes.Equal(got, want) {
		t.Fatalf("%v: %s, %d bytes, %v", e, resp.Status, len(got), err)
	}
	entries := strings.Split(strings.Join(resp.Header.Values("Cache-Status"), ", "), ", ")
	return strings.Contains(entries[len(entries)-1], "; hit")
}

// rest waits until a node asks for nothing more: it reads ahead when its clients have gone.
// It returns how many bytes it has sent.
func (n *realNode) rest(t *testing.T) (sent int64) {
	t.Helper()
	for {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/voyo/status", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := n.admin.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		var status struct {
			Caches struct {
				Stream struct {
					Fills int   `json:"fills"`
					Sent  int64 `json:"sent"`
				} `json:"stream"`
			} `json:"caches"`
		}
		err = json.NewDecoder(resp.Body).Decode(&status)
		resp.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		if status.Caches.Stream.Fills == 0 {
			return status.Caches.Stream.Sent
		}
	}
}
