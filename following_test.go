package voyo

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/voyo-music/caddy-voyo/cache"
	"github.com/voyo-music/caddy-voyo/internal/fleet"
	"github.com/voyo-music/caddy-voyo/internal/natstest"
	"github.com/voyo-music/caddy-voyo/resolver"
)

const (
	takenA = resolver.ID("AAAAAAAAAAA")
	takenB = resolver.ID("BBBBBBBBBBB")
)

// followed is a state with disks that entries can be applied to, without a log.
type followed struct {
	*following

	lease *lease
	dir   string
}

// newFollowed returns one that is as if its process had just begun with the directory.
func newFollowed(t *testing.T, dir string) *followed {
	t.Helper()
	l := acquireState(stateKey("test", []string{t.Name()}, nil, ""), limits{})
	places := places{
		art:     place{artDisk, dir, filepath.Join(dir, artDisk), 16 * mib},
		streams: place{streamDisk, dir, filepath.Join(dir, streamDisk), 16 * mib},
	}
	if err := l.open(room{places: places}, member{}); err != nil {
		t.Fatal(err)
	}
	l.state.position = nil // as if there had been a fleet from the beginning on
	f := &followed{&following{state: l.state, log: &fleetLog{member: member{node: "a"}}}, l, dir}
	f.position, _ = f.start(checkpoint{})
	f.kept = f.position
	return f
}

func (f *followed) stop(t *testing.T) {
	t.Helper()
	f.mu.Lock()
	if f.due != nil {
		f.saveLate()
	}
	f.mu.Unlock()
	release(t, f.lease)
}

func (f *followed) mustApply(t *testing.T, entries ...fleet.Entry) {
	t.Helper()
	for _, e := range entries {
		if err := f.apply(t.Context(), e); err != nil {
			t.Fatal(err)
		}
	}
}

// wantStart checks where a process that begins now goes on, and what is taken down.
func (f *followed) wantStart(t *testing.T, want fleet.Position, down ...resolver.ID) {
	t.Helper()
	got := f.state.takedowns.list()
	slices.Sort(got)
	if f.position != want || !slices.Equal(got, down) {
		t.Errorf("it goes on from %v with %q taken down; want %v, %q", f.position, got, want, down)
	}
}

func entry(kind fleet.Kind, seq uint64, id resolver.ID) fleet.Entry {
	return fleet.Entry{Position: fleet.Position{Stream: "s", Seq: seq}, Kind: kind, ID: string(id), Time: time.Now()}
}

func upTo(seq uint64) fleet.Position { return fleet.Position{Stream: "s", Seq: seq} }

// What was applied is known to the next process, and what was taken down at once.
func TestFollowingOutlivesTheProcess(t *testing.T) {
	dir := t.TempDir()
	f := newFollowed(t, dir)
	f.wantStart(t, fleet.Position{})
	f.mustApply(t, entry(fleet.Takedown, 1, takenA), entry(fleet.Takedown, 2, takenB))
	killed := t.TempDir() // as the disks would be found
	if err := os.CopyFS(killed, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	f.mustApply(t, entry(fleet.Lift, 3, takenA))
	for seq := uint64(4); seq < 10; seq++ {
		e := entry(fleet.Purge, seq, "")
		e.Data = []byte(`{"ids":["AAAAAAAAAAA"]}`)
		f.mustApply(t, e)
	}
	f.stop(t)
	f = newFollowed(t, dir)
	f.wantStart(t, upTo(9), takenB)
	f.stop(t)

	f = newFollowed(t, killed)
	f.wantStart(t, upTo(2), takenA, takenB)
	// one of the disks has been elsewhere meanwhile: what it has missed is applied again
	if err := f.state.art.SetCheckpoint(t.Context(), []byte(`{"stream":"s","seq":1,"takedowns":["AAAAAAAAAAA"]}`)); err != nil {
		t.Fatal(err)
	}
	f.stop(t)
	f = newFollowed(t, killed)
	f.wantStart(t, upTo(1), takenA, takenB)
	if err := f.state.art.SetCheckpoint(t.Context(), []byte(`nonsense`)); err != nil {
		t.Fatal(err)
	}
	f.stop(t)
	f = newFollowed(t, killed)
	f.wantStart(t, elsewhere, takenA, takenB)
	f.stop(t)
}

// What was taken down together is written once, when all of it is in effect.
func TestFollowingWritesOnce(t *testing.T) {
	f := newFollowed(t, t.TempDir())
	defer f.stop(t)
	for seq := uint64(1); seq <= 3; seq++ {
		e := entry(fleet.Takedown, seq, takenA)
		e.More = seq == 2
		f.saved = time.Now().Add(time.Hour) // however slow the machine is
		f.mustApply(t, e)
		want := upTo(seq)
		if e.More {
			want = upTo(1)
		}
		if got := f.read(f.state.art); got.Position != want {
			t.Errorf("%d: written up to %v", seq, got.Position)
		}
	}
}

// A disk that is new does not have what is kept elsewhere counted as old.
func TestFollowingNewDisk(t *testing.T) {
	dir := t.TempDir()
	f := newFollowed(t, dir)
	f.mustApply(t, entry(fleet.Takedown, 1, takenA))
	f.stop(t)
	if err := os.RemoveAll(filepath.Join(dir, artDisk)); err != nil {
		t.Fatal(err)
	}
	f = newFollowed(t, dir)
	f.wantStart(t, upTo(1), takenA)
	f.stop(t)
	f = newFollowed(t, dir) // where there is a disk that may have something
	f.wantStart(t, fleet.Position{}, takenA)
	f.stop(t)
}

// A disk fails: what is purged and taken down is in effect, the fleet hears that it may
// not stay so, and after a restart it is applied again.
func TestFollowingDiskFails(t *testing.T) {
	dir := t.TempDir()
	f := newFollowed(t, dir)
	f.mustApply(t, entry(fleet.Takedown, 1, takenA))
	path, away := filepath.Join(dir, artDisk), filepath.Join(dir, "away")
	if err := errors.Join(os.Rename(path, away), os.WriteFile(path, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	err := f.apply(t.Context(), entry(fleet.Takedown, 2, takenB))
	if !errors.Is(err, fleet.ErrNotKept) {
		t.Errorf("error %v", err)
	}
	if !f.state.takedowns.has(takenB) || f.position != upTo(2) {
		t.Errorf("it is not in effect: %v", f.position)
	}
	if err := errors.Join(os.Remove(path), os.Rename(away, path)); err != nil {
		t.Fatal(err)
	}
	f.stop(t)
	f = newFollowed(t, dir)
	f.wantStart(t, upTo(1), takenA, takenB)
	f.stop(t)
}

// An entry whose purge a disk has not taken is behind all that follow: they may be applied
// again, but not left out.
func TestFollowingKeepsWhatFailed(t *testing.T) {
	f := newFollowed(t, t.TempDir())
	defer f.stop(t)
	for seq, failed := range []error{nil, nil, errors.New("disk"), nil, nil} {
		e := entry(fleet.Purge, uint64(seq+1), "")
		if err := f.advance(t.Context(), e, failed); (err != nil) != (failed != nil) {
			t.Errorf("%d: %v", seq+1, err)
		}
	}
	if f.kept != upTo(2) || f.position != upTo(5) {
		t.Errorf("kept up to %v, in effect up to %v", f.kept, f.position)
	}
}

// The entry that is being applied when the follower ends is left to the next one.
func TestFollowingEnds(t *testing.T) {
	f := newFollowed(t, t.TempDir())
	defer f.stop(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.apply(ctx, entry(fleet.Takedown, 1, takenA)); !errors.Is(err, context.Canceled) || f.position != (fleet.Position{}) {
		t.Errorf("%v, %v", err, f.position)
	}
}

// What is not understood does not hold up what follows.
func TestCarryOut(t *testing.T) {
	key := resolver.Asset{ID: takenA, Kind: resolver.Art, Image: resolver.ParseImage("")}.Key()
	tests := []struct {
		name string
		e    fleet.Entry
		kept bool
		down int
	}{
		{"of another track", entry(fleet.Takedown, 1, takenB), true, 1},
		{"of the track", entry(fleet.Takedown, 1, takenA), false, 1},
		{"no track", entry(fleet.Takedown, 1, "something-else"), true, 0},
		{"lift", entry(fleet.Lift, 1, takenA), false, 0},
		{"reset", entry(fleet.Reset, 1, ""), false, 0},
		{"skip", entry(fleet.Skip, 1, ""), true, 0},
		{"of a later version", entry("later", 1, takenA), true, 0},
		{"a purge of a later version", fleet.Entry{Kind: fleet.Purge, Data: []byte(`{"regions":["eu"]}`)}, false, 0},
		{"a purge of another track", fleet.Entry{Kind: fleet.Purge, Data: fmt.Appendf(nil, `{"ids":[%q]}`, takenB)}, true, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := acquireState(stateKey("test", []string{t.Name()}, nil, ""), limits{art: cache.Limits{Entries: 10, Memory: 1000}})
			defer release(t, l)
			if err := warmCover(t, l.state, key); err != nil {
				t.Fatal(err)
			}
			if err := l.state.carryOut(t.Context(), tt.e); err != nil {
				t.Fatal(err)
			}
			if _, kept := l.state.art.Peek(t.Context(), key); kept != tt.kept {
				t.Errorf("kept: %t", kept)
			}
			if n := l.state.takedowns.count(); n != tt.down {
				t.Errorf("%d are down", n)
			}
		})
	}
}

// What a disk has not taken is tried again some time later, with all that came after it.
func TestFollowingTriesAgain(t *testing.T) {
	dir := t.TempDir()
	l := acquireState(stateKey("test", []string{t.Name()}, nil, ""), limits{})
	defer release(t, l)
	m := member{urls: natstest.Start(t, 1).URLs()[0], node: "a"}
	if err := l.open(room{places: places{art: place{artDisk, dir, filepath.Join(dir, artDisk), 16 * mib}}}, m); err != nil {
		t.Fatal(err)
	}
	tell := func() uint64 {
		t.Helper()
		receipt, err := l.fleet.Append(t.Context(), fleet.Draft{Kind: fleet.Takedown, ID: string(takenA)})
		if err != nil {
			t.Fatal(err)
		}
		return receipt.Seq
	}
	tell()
	if err := l.state.awaitFleet(t.Context()); err != nil {
		t.Fatal(err)
	}
	first := l.state.following.Load()
	first.mu.Lock()
	first.behind = time.Now().Add(-2 * againAfter)
	first.mu.Unlock()
	last := tell()
	reached := func() bool {
		f := l.state.following.Load()
		if f == first {
			return false
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.kept.Seq == last && f.behind.IsZero()
	}
	for deadline := time.Now().Add(20 * time.Second); !reached(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it was not tried again")
		}
	}
}
