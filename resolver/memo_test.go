package resolver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"
)

// resolverFunc is a Resolver made of a function.
type resolverFunc func(ctx context.Context, a Asset) (*Answer, error)

func (f resolverFunc) Resolve(ctx context.Context, a Asset) (*Answer, error) { return f(ctx, a) }

// counting answers anew each time it is asked, and counts.
type counting struct {
	lookups atomic.Int64
	err     error
	expires time.Duration // from the time of the answer; 0 for never
}

func (r *counting) Resolve(_ context.Context, a Asset) (*Answer, error) {
	r.lookups.Add(1)
	if r.err != nil {
		return nil, r.err
	}
	ans := answer(a)
	if r.expires != 0 {
		ans.Expires = time.Now().Add(r.expires)
	}
	return ans, nil
}

func answer(a Asset) *Answer {
	return &Answer{Targets: []Target{{URL: &url.URL{Scheme: "https", Host: "cdn.example.com", Path: "/" + a.Key()}}}}
}

func numbered(i int) Asset {
	return Asset{ID: ID(fmt.Sprintf("%011d", i)), Kind: Stream, Type: Audio, Bitrate: HighBitrate}
}

func TestMemoRemembers(t *testing.T) {
	const ttl = 4 * time.Hour
	errBroken := errors.New("broken")
	for _, tt := range []struct {
		name     string
		resolver *counting
		ttl      time.Duration
		kept     time.Duration // 0: not remembered
		err      error
	}{
		{"ttl", &counting{}, ttl, ttl, nil},
		{"later expiry", &counting{expires: 6 * time.Hour}, ttl, ttl, nil},
		{"earlier expiry", &counting{expires: time.Hour}, ttl, time.Hour - expiryMargin, nil},
		{"expiry within the margin", &counting{expires: expiryMargin}, ttl, 0, nil},
		{"expired", &counting{expires: -time.Hour}, ttl, 0, nil},
		{"no ttl", &counting{}, 0, 0, nil},
		{"negative ttl", &counting{}, -time.Second, 0, nil},
		{"not found", &counting{err: ErrNotFound}, ttl, NegativeTTL, ErrNotFound},
		{"not found, wrapped", &counting{err: fmt.Errorf("asked: %w", ErrNotFound)}, ttl, NegativeTTL, ErrNotFound},
		{"not found, short ttl", &counting{err: ErrNotFound}, time.Second, time.Second, ErrNotFound},
		{"not found, no ttl", &counting{err: ErrNotFound}, 0, 0, ErrNotFound},
		{"error", &counting{err: errBroken}, ttl, 0, errBroken},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := NewMemo(10)
				defer m.Close()
				resolve := func(wantRemembered bool, wantLookups int64) {
					t.Helper()
					ans, remembered, err := m.Resolve(t.Context(), "r", tt.resolver, stream(Audio, 128), tt.ttl)
					if !errors.Is(err, tt.err) || (ans == nil) != (err != nil) {
						t.Fatalf("got %v, %v; want error %v", ans, err, tt.err)
					}
					if remembered != wantRemembered {
						t.Errorf("remembered is %v, want %v", remembered, wantRemembered)
					}
					if n := tt.resolver.lookups.Load(); n != wantLookups {
						t.Errorf("%d lookups, want %d", n, wantLookups)
					}
				}
				resolve(false, 1)
				if tt.kept == 0 {
					if m.Len() != 0 || m.Tracks() != 0 {
						t.Errorf("remembers %d answers of %d tracks", m.Len(), m.Tracks())
					}
					resolve(false, 2)
					return
				}
				time.Sleep(tt.kept - 1)
				resolve(true, 1)
				time.Sleep(time.Nanosecond)
				resolve(false, 2)
			})
		})
	}
}

func TestMemoJudgesByAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemo(10)
		defer m.Close()
		r, a := new(counting), stream(Audio, 128)
		resolve := func(ttl time.Duration) bool {
			_, remembered, err := m.Resolve(t.Context(), "r", r, a, ttl)
			if err != nil {
				t.Fatal(err)
			}
			return remembered
		}
		resolve(4 * time.Hour)
		time.Sleep(time.Hour)
		if !resolve(4 * time.Hour) {
			t.Error("forgotten before its time")
		}
		if resolve(time.Minute) {
			t.Error("remembered for longer than a ttl that was shortened")
		}
	})
}

func TestMemoKeepsApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemo(10)
		defer m.Close()
		r := new(counting)
		for _, name := range []string{"a", "b"} {
			for _, a := range []Asset{
				stream(Audio, 64), stream(Audio, 128), stream(Video, 128), art("default"), numbered(1),
			} {
				ans, remembered, err := m.Resolve(t.Context(), name, r, a, time.Hour)
				if err != nil || remembered {
					t.Fatalf("%s %s: remembered %v, %v", name, a.Key(), remembered, err)
				}
				if path := ans.Targets[0].URL.Path; path != "/"+a.Key() {
					t.Errorf("asked for %s, got %s", a.Key(), path)
				}
			}
		}
		synctest.Wait()
		if got, want := m.Stats(), (MemoStats{Lookups: 10}); got != want {
			t.Errorf("stats are %+v, want %+v", got, want)
		}
		if m.Len() != 10 || m.Tracks() != 2 {
			t.Errorf("remembers %d answers of %d tracks, want 10 of 2", m.Len(), m.Tracks())
		}
	})
}

func TestMemoNoTargets(t *testing.T) {
	m := NewMemo(10)
	defer m.Close()
	for name, ans := range map[string]*Answer{"nil": nil, "empty": {}} {
		r := resolverFunc(func(context.Context, Asset) (*Answer, error) { return ans, nil })
		got, _, err := m.Resolve(t.Context(), name, r, stream(Audio, 128), time.Hour)
		if err == nil || errors.Is(err, ErrNotFound) || got != nil {
			t.Errorf("%s: got %v, %v; want an error", name, got, err)
		}
	}
	if m.Len() != 0 {
		t.Error("remembers an answer without targets")
	}
}

func TestMemoForget(t *testing.T) {
	m := NewMemo(10)
	defer m.Close()
	r, a := new(counting), stream(Audio, 128)
	resolve := func() (*Answer, bool) {
		ans, remembered, err := m.Resolve(t.Context(), "r", r, a, time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return ans, remembered
	}
	first, _ := resolve()
	m.Forget("r", a, answer(a)) // equal, but another
	m.Forget("other", a, first)
	m.Forget("r", stream(Audio, 64), first)
	m.Forget("r", a, nil)
	if ans, remembered := resolve(); !remembered || ans != first {
		t.Fatal("forgot what it was not asked to")
	}
	m.Forget("r", a, first)
	if m.Len() != 0 || m.Tracks() != 0 {
		t.Errorf("remembers %d answers of %d tracks", m.Len(), m.Tracks())
	}
	second, remembered := resolve()
	if remembered || second == first {
		t.Fatal("did not ask again")
	}
	// The client that finds out late has no say in the new answer.
	m.Forget("r", a, first)
	if ans, remembered := resolve(); !remembered || ans != second {
		t.Error("forgot the new answer instead of the old")
	}
}

func TestMemoForgetNotFound(t *testing.T) {
	m := NewMemo(10)
	defer m.Close()
	r, a := &counting{err: ErrNotFound}, stream(Audio, 128)
	for range 2 {
		_, remembered, err := m.Resolve(t.Context(), "r", r, a, time.Hour)
		if remembered || !errors.Is(err, ErrNotFound) {
			t.Fatalf("remembered %v, %v", remembered, err)
		}
		m.Forget("r", a, nil)
	}
}

func TestMemoEvicts(t *testing.T) {
	m := NewMemo(2)
	defer m.Close()
	r := new(counting)
	resolve := func(i int) bool {
		_, remembered, err := m.Resolve(t.Context(), "r", r, numbered(i), time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		return remembered
	}
	resolve(1)
	resolve(2)
	resolve(1) // now 2 is the one least recently asked for
	resolve(3)
	if m.Len() != 2 || m.Tracks() != 2 {
		t.Errorf("remembers %d answers of %d tracks, want 2 of 2", m.Len(), m.Tracks())
	}
	if !resolve(1) || !resolve(3) {
		t.Error("evicted another than the least recently used")
	}
	if resolve(2) {
		t.Error("remembers more than it may")
	}
}

func TestMemoAtLeastOneEntry(t *testing.T) {
	m := NewMemo(0)
	defer m.Close()
	r := new(counting)
	for _, want := range []bool{false, true} {
		_, remembered, err := m.Resolve(t.Context(), "r", r, numbered(1), time.Hour)
		if remembered != want || err != nil {
			t.Errorf("remembered %v, %v; want %v", remembered, err, want)
		}
	}
}

// The count of tracks is kept step by step; here it is checked against one that
// is made anew after every step.
func TestMemoTracks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := NewMemo(rapid.IntRange(1, 6).Draw(t, "entries"))
		defer m.Close()
		r := resolverFunc(func(_ context.Context, a Asset) (*Answer, error) {
			if a.Type == Video {
				return nil, ErrNotFound
			}
			return answer(a), nil
		})
		assets := rapid.SampledFrom([]Asset{
			numbered(1), numbered(2), numbered(3), stream(Audio, 64), stream(Audio, 128), stream(Video, 128),
			art("default"), {ID: numbered(1).ID, Kind: Art, Image: "default"},
		})
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			a, name := assets.Draw(t, "asset"), rapid.SampledFrom([]string{"x", "y"}).Draw(t, "resolver")
			// A ttl of 1ns makes an entry that is stale as soon as it is asked for.
			ttl := rapid.SampledFrom([]time.Duration{time.Hour, 1, 0}).Draw(t, "ttl")
			ans, _, _ := m.Resolve(context.Background(), name, r, a, ttl)
			if rapid.Bool().Draw(t, "forget") {
				m.Forget(name, a, ans)
			}
			tracks := make(map[ID]bool)
			m.mu.Lock()
			for _, key := range m.entries.Keys() {
				if e, _ := m.entries.Peek(key); e.ans != nil && key.asset.Kind == Stream {
					tracks[key.asset.ID] = true
				}
			}
			m.mu.Unlock()
			if m.Tracks() != len(tracks) {
				t.Fatalf("counts %d tracks, has %d", m.Tracks(), len(tracks))
			}
		}
	})
}

func TestMemoHitAllocatesNothing(t *testing.T) {
	m := NewMemo(10)
	defer m.Close()
	var r Resolver = new(counting)
	a, ctx := stream(Audio, 128), t.Context()
	allocs := testing.AllocsPerRun(100, func() {
		if _, _, err := m.Resolve(ctx, "r", r, a, time.Hour); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 {
		t.Errorf("a hit allocates %v times", allocs)
	}
}

func TestMemoClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemo(10)
		r := &blocking{release: make(chan struct{})}
		ch := start(t.Context(), m, "r", r, numbered(1))
		m.Close()
		if got := <-ch; !errors.Is(got.err, errClosed) {
			t.Errorf("a waiter got %+v", got)
		}
		for i := range 100 {
			if _, _, err := m.Resolve(t.Context(), "r", r, numbered(i), time.Hour); !errors.Is(err, errClosed) {
				t.Errorf("after Close: %v", err)
			}
		}
		synctest.Wait()
		checkIdle(t, m)
		if n := r.lookups.Load(); n != 1 {
			t.Errorf("%d lookups", n)
		}
	})
}

// Clients come and go at random, more than there are places for, and many at the
// same moment: for the race detector, and for what must hold in any order.
// Nobody is given another asset's answer or another client's end, nobody waits
// for ever, and nothing is left behind.
func TestMemoUnderLoad(t *testing.T) {
	seconds := func(most time.Duration) time.Duration {
		return rand.N(most).Truncate(time.Second) + time.Second
	}
	synctest.Test(t, func(t *testing.T) {
		m := NewMemo(8)
		defer m.Close()
		r := resolverFunc(func(_ context.Context, a Asset) (*Answer, error) {
			time.Sleep(seconds(2 * LookupTimeout)) // deaf
			switch rand.IntN(4) {
			case 0:
				return nil, ErrNotFound
			case 1:
				panic("at times")
			}
			return answer(a), nil
		})
		var wg sync.WaitGroup
		for range 3 * MaxLookups {
			wg.Go(func() {
				for range 5 {
					ctx, cancel := context.WithTimeout(t.Context(), seconds(LookupTimeout))
					a := numbered(rand.IntN(2 * MaxLookups))
					ans, _, err := m.Resolve(ctx, "r", r, a, seconds(time.Minute))
					if err == nil && ans.Targets[0].URL.Path != "/"+a.Key() {
						t.Errorf("asked for %s, got %s", a.Key(), ans.Targets[0].URL.Path)
					}
					if errors.Is(err, context.Canceled) {
						t.Errorf("a client that stayed got %v", err)
					}
					if rand.IntN(2) == 0 {
						m.Forget("r", a, ans)
					}
					cancel()
				}
			})
		}
		wg.Wait()
		time.Sleep(3 * LookupTimeout)
		synctest.Wait()
		checkIdle(t, m)
		if m.Len() > 8 || m.Tracks() > m.Len() {
			t.Errorf("remembers %d answers of %d tracks", m.Len(), m.Tracks())
		}
	})
}

func TestMemoForgetTracks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemo(100)
		defer m.Close()
		one, other := numbered(1), numbered(2)
		low := one
		low.Bitrate = LowBitrate
		r := &counting{}
		for _, a := range []Asset{one, low, other} {
			if _, _, err := m.Resolve(t.Context(), "r", r, a, time.Hour); err != nil {
				t.Fatal(err)
			}
		}
		if n := m.ForgetTracks(one.ID, "never seen"); n != 2 || m.Len() != 1 || m.Tracks() != 1 {
			t.Errorf("%d forgotten, %d answers and %d tracks are left", n, m.Len(), m.Tracks())
		}
		if _, remembered, _ := m.Resolve(t.Context(), "r", r, other, time.Hour); !remembered {
			t.Error("another track is forgotten")
		}
		if n := m.ForgetAll(); n != 1 || m.Len() != 0 || m.Tracks() != 0 {
			t.Errorf("%d forgotten, %d answers are left", n, m.Len())
		}
	})
}

// TestMemoForgetsLookupsUnderWay forgets a track that is being looked for: who waits
// gets the answer, and nobody else does.
func TestMemoForgetsLookupsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemo(100)
		defer m.Close()
		before, after := &blocking{release: make(chan struct{})}, &blocking{release: make(chan struct{})}
		first := start(t.Context(), m, "r", before, numbered(1))
		ctx, leave := context.WithCancel(t.Context())
		gone := start(ctx, m, "r", before, numbered(2))
		m.ForgetAll()
		second := start(t.Context(), m, "r", after, numbered(1))
		leave()
		if got := <-gone; !errors.Is(got.err, context.Canceled) {
			t.Errorf("who left got %v", got.err)
		}
		close(after.release)
		latest := <-second
		close(before.release)
		if got := <-first; got.err != nil || got.ans == latest.ans {
			t.Errorf("who waited got %v", got.err)
		}
		synctest.Wait()
		if ans, left, ok := m.Peek("r", numbered(1), time.Hour); !ok || ans != latest.ans || left != time.Hour {
			t.Errorf("another answer is remembered, for %s", left)
		}
		if m.Len() != 1 || after.lookups.Load() != 1 {
			t.Errorf("%d answers, %d lookups", m.Len(), after.lookups.Load())
		}
		checkIdle(t, m)
	})
}

func TestMemoPeek(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := NewMemo(100)
		defer m.Close()
		peek := func(name string, ttl, want time.Duration, known bool) {
			t.Helper()
			if _, left, ok := m.Peek(name, numbered(1), ttl); ok != known || ok && left != want {
				t.Errorf("%s: got %s, %v", name, left, ok)
			}
		}
		peek("never asked", time.Hour, 0, false)
		for name, r := range map[string]*counting{"kept": {}, "expires": {expires: time.Minute}, "missing": {err: ErrNotFound}} {
			_, _, _ = m.Resolve(t.Context(), name, r, numbered(1), time.Hour)
		}
		time.Sleep(10 * time.Second)
		peek("kept", time.Hour, time.Hour-10*time.Second, true)
		peek("kept", 10*time.Second, 0, false)
		peek("expires", time.Hour, time.Minute-expiryMargin-10*time.Second, true)
		peek("missing", time.Hour, NegativeTTL-10*time.Second, true)
		if ans, _, _ := m.Peek("missing", numbered(1), time.Hour); ans != nil {
			t.Error("what is missing has an answer")
		}
		if m.Stats().Hits != 0 {
			t.Error("a look counts")
		}
	})
}
