package voyo_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// Nothing is acknowledged that could be lost: with two of the log's three servers gone
// takedowns and purges are answered with an error and the nodes go on serving, and when the
// servers are back all that was acknowledged is in effect, at a node that has forgotten
// everything as well.
func TestFleetQuorum(t *testing.T) {
	const (
		forgetful = 3
		tracks    = 60
		before    = tracks / 3 // that are acknowledged at least until the servers go
	)
	songs := newSongs(0, tracks, 64<<10)
	playing := newSongs(1000, 8, 256<<10)
	f := newFleet(t, 4, append(songs, playing...)...)
	f.startLog(t)
	f.start(t, func(i int) string { return f.member(i, 4) })
	for i, c := range f.nodes {
		f.awaitHealthy(t, i)
		c.mustHearAll(t, append(songs, playing...), 8)
	}

	// each node is told to take down its share, one track after the other
	var mu sync.Mutex
	acknowledged := make(map[int]bool) // with whether all nodes have applied it
	var count, refused atomic.Int64
	var group errgroup.Group
	for n, c := range f.nodes {
		group.Go(func() error {
			for i := n; i < tracks; i += len(f.nodes) {
				everywhere, err := c.order(t.Context(), takedownURI, songs[i])
				if err != nil {
					refused.Add(1)
					break // the next ones would be, too
				}
				mu.Lock()
				acknowledged[i] = everywhere
				mu.Unlock()
				count.Add(1)
			}
			return nil
		})
	}
	eventually(t, "some have been taken down", func() bool { return count.Load() >= before })
	for _, i := range []int{1, 2} {
		f.log.Kill(i)
	}
	killed := time.Now()
	must(t, group.Wait())
	t.Logf("%d of %d were acknowledged, %d refused, the last one %s after two servers had gone",
		count.Load(), tracks, refused.Load(), time.Since(killed).Round(time.Millisecond))
	if refused.Load() != int64(len(f.nodes)) {
		t.Fatal("the servers went too late")
	}
	for _, c := range f.nodes {
		group.Go(func() error {
			if _, err := c.order(t.Context(), purgeURI, playing[0]); err == nil {
				return errors.New("a purge was acknowledged")
			}
			return nil
		})
	}
	must(t, group.Wait())
	for _, c := range f.nodes {
		if hits := c.mustHearAll(t, playing, 8); hits != len(playing) {
			t.Errorf("%s has %d of %d", c.url, hits, len(playing))
		}
		for i, everywhere := range acknowledged {
			if everywhere { // what the servers had told before they went
				c.mustBeTakenDown(t, songs[i])
			}
		}
	}

	f.nodes[forgetful].kill(t)
	f.log.Kill(0)
	for i := range f.log.URLs() {
		f.log.Restart(i)
	}
	f.nodes[forgetful].forget(t)
	f.nodes[forgetful].start(t)
	restarted := time.Now()
	for i, c := range f.nodes {
		f.awaitHealthy(t, i)
		for i := range acknowledged {
			c.mustBeTakenDown(t, songs[i])
		}
	}
	t.Logf("all nodes were well %s after the servers had been started again", time.Since(restarted).Round(time.Millisecond))
	f.mustTell(t, 0, purgeURI, playing[0])
}

// order has a node tell its fleet something of a song, and reports whether all nodes have
// applied it. The error is that it was not acknowledged.
func (c *child) order(ctx context.Context, uri string, s song) (everywhere bool, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+c.admin+uri, strings.NewReader(idsBody(s)))
	if err != nil {
		return false, err
	}
	resp, err := manage(c.operator, r)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return false, errors.New(resp.Status)
	}
	var answer struct{ Pending, Failed []string }
	err = json.NewDecoder(resp.Body).Decode(&answer)
	return len(answer.Pending)+len(answer.Failed) == 0, err
}
