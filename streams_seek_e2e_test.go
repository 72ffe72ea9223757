package voyo_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"slices"
	"testing"
	"time"
)

// A seek in a track that nobody has yet costs the upstream the slices that are
// touched, and some read ahead, however large the track is.
func TestStreamsColdSeek(t *testing.T) {
	const (
		mib   = 1 << 20
		slice = 256 << 10
		size  = 64*mib + 12345
		last  = 128 << 10
	)
	for _, c := range []struct {
		name, rng  string
		start, end int64
		most       int64 // bytes that the upstream may send
	}{
		{"last 128 KiB, by offset", fmt.Sprintf("bytes=%d-", size-last), size - last, size, 2 * slice},
		{"last 128 KiB, by both ends", fmt.Sprintf("bytes=%d-%d", size-last, size-1), size - last, size, 2 * slice},
		{"last 128 KiB, as a suffix", fmt.Sprintf("bytes=-%d", last), size - last, size, 2 * slice},
		{"in the middle", fmt.Sprintf("bytes=%d-%d", 30*mib, 30*mib+last-1), 30 * mib, 30*mib + last, 3 * slice},
		{"across slices", fmt.Sprintf("bytes=%d-%d", 30*mib-1, 30*mib+slice), 30*mib - 1, 30*mib + slice + 1, 5 * slice},
		{"the first two bytes", "bytes=0-1", 0, 2, 3 * slice},
		{"beyond the end", fmt.Sprintf("bytes=%d-%d", size-10, 2*size), size - 10, size, 2 * slice},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSong(songID, size)
			a := newArchive(t, s)
			e := startEdge(t, "voyo {\n"+template(a.URL)+"\nstream {\nslice 256KiB\nread_ahead 2\n}\n}")
			if _, err := e.hearPart(t.Context(), s, c.start, c.end, c.rng); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the upstream's answer has ended", a.idle)
			if n := a.sent.Load(); n > c.most {
				t.Errorf("the upstream sent %d bytes, for %q; at most %d were needed", n, a.askedRanges(), c.most)
			}
			a.reset()
			eventually(t, "it is cached", func() bool { // when the edge has read all that was sent
				h, err := e.hearPart(t.Context(), s, c.start, c.end, c.rng)
				if err != nil {
					t.Fatal(err)
				}
				return h.hit()
			})
			a.mustRest(t)
		})
	}
}

// How long a cold seek takes by way of the edge is compared with what it takes
// without. It is told, but fails nothing: clocks are not to be relied on.
func TestStreamsSeekTime(t *testing.T) {
	const (
		rounds = 30
		last   = 128 << 10
	)
	songs := newSongs(0, rounds, 64<<20)
	a := newArchive(t, songs...)
	a.delay = 20 * time.Millisecond
	e := startEdge(t, "voyo {\n"+template(a.URL)+"\n}")
	direct := node{a.URL, e.client}
	var by, without []time.Duration
	for i, s := range songs {
		rng := fmt.Sprintf("bytes=%d-%d", s.size-last, s.size-1)
		for _, way := range []struct {
			n    node
			path string
			took *[]time.Duration
		}{{direct, "/128/" + s.id + ".opus", &without}, {e.node, s.path(), &by}} {
			took, err := way.n.seekTime(t.Context(), way.path, rng, s, s.size-last)
			if err != nil {
				t.Fatal(err)
			}
			if i > 0 { // the first one connects
				*way.took = append(*way.took, took)
			}
		}
	}
	slices.Sort(by)
	slices.Sort(without)
	half := len(by) / 2
	t.Logf("first byte of a cold seek: median %s by the edge, %s from the upstream, %+.1f%%",
		by[half], without[half], 100*(float64(by[half])/float64(without[half])-1))
}

// seekTime returns how long it takes from the request to the first byte of a range.
func (n node) seekTime(ctx context.Context, path, rng string, s song, start int64) (took time.Duration, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, n.url+path, nil)
	if err != nil {
		return 0, err
	}
	r.Header.Set("Range", rng)
	began := time.Now()
	resp, err := n.client.Do(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	body := bufio.NewReaderSize(resp.Body, 16<<10)
	if _, err := body.Peek(1); err != nil && err != io.EOF {
		return 0, err
	}
	took = time.Since(began)
	_, err = s.verify(body, start, s.size)
	return took, err
}
