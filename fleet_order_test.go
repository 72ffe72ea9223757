package voyo

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/voyo-music/caddy-voyo/internal/fleet"
	"github.com/voyo-music/caddy-voyo/resolver"
)

// A node that is behind the one that asks it has that wait until it is not, and for no
// longer than it may.
func TestFleetOrder(t *testing.T) {
	at := func(seq uint64) fleet.Position { return fleet.Position{Stream: "2026-01-01T00:00:00Z", Seq: seq} }
	asking := func(f *following, edges string) *http.Request {
		r := &http.Request{Header: make(http.Header)}
		f.stamp(r.Header)
		if edges != "" {
			r.Header.Set("Cdn-Loop", edges)
		}
		return r
	}
	synctest.Test(t, func(t *testing.T) {
		asker, asked := new(following), new(following)
		if r := asking(asker, loopEntry); r.Header.Get(appliedField) != "" || !asked.admits(r) {
			t.Errorf("at the beginning of the log: %v", r.Header)
		}
		asker.headway.begin(at(7)) // the purge may be in effect already
		asked.headway.finish(at(5))
		for name, r := range map[string]*http.Request{
			"a client that says so": asking(asker, ""),
			"nonsense":              {Header: http.Header{appliedField: {"x"}, "Cdn-Loop": {loopEntry}}},
		} {
			if !asked.admits(r) {
				t.Errorf("%s has to wait", name)
			}
		}
		if !(*following)(nil).admits(asking(asker, loopEntry)) {
			t.Error("a node without a fleet is behind")
		}
		began := time.Now()
		if asked.admits(asking(asker, loopEntry)) || time.Since(began) != orderPatience {
			t.Errorf("admitted, or refused after %s", time.Since(began))
		}
		asked.headway.finish(at(6))
		admitted := make(chan bool)
		go func() { admitted <- asked.admits(asking(asker, loopEntry)) }()
		synctest.Wait()
		asked.headway.finish(at(7))
		if !<-admitted {
			t.Error("refused when it was as far")
		}
		asked.headway.finish(fleet.Position{Stream: "another", Seq: 9})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if asked.admits(asking(asker, loopEntry).WithContext(ctx)) {
			t.Error("admitted in another log")
		}
	})
}

// A node that is cut off from the log has only those wait who come within the first second:
// what they wait for, and all behind it, can't be waited for before something has come.
func TestFleetOrderWaitsOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := new(following)
		f.headway.finish(upTo(6))
		asking := func(seq uint64) *http.Request {
			asker := new(following)
			asker.headway.begin(upTo(seq))
			r := &http.Request{Header: http.Header{"Cdn-Loop": {loopEntry}}}
			asker.stamp(r.Header)
			return r
		}
		for i, c := range []struct {
			applied, asked uint64
			wait           time.Duration
		}{
			{6, 9, orderPatience}, {6, 9, 0}, {6, 10, 0}, // for as long as nothing comes
			{6, 8, orderPatience}, {6, 9, 0}, {6, 8, 0}, // which may be there earlier
			{7, 8, orderPatience}, {7, 9, 0},
		} {
			if f.headway.done.Seq != c.applied {
				f.headway.finish(upTo(c.applied))
			}
			began := time.Now()
			if f.admits(asking(c.asked)) || time.Since(began) != c.wait {
				t.Errorf("%d: admitted, or refused after %s", i, time.Since(began))
			}
		}
		if !f.admits(asking(7)) {
			t.Error("refused what is there")
		}
		ctx, leave := context.WithCancel(t.Context())
		f.headway.finish(upTo(8))
		leave()
		f.admits(asking(9).WithContext(ctx)) // who leaves has not waited in vain
		began := time.Now()
		if f.admits(asking(9)) || time.Since(began) != orderPatience {
			t.Errorf("admitted, or refused after %s", time.Since(began))
		}
	})
}

// Who has no right link, or has asked too often, is told so at once, whatever he says that
// he has applied.
func TestFleetOrderIsForEdges(t *testing.T) {
	h := newTestHandler(t, found(nil))
	h.linkKeys = linkKeys{[]byte(testLinkKey)}
	h.limiter = newLimiter(rates{requests: Rate{Count: 1, Window: caddy.Duration(time.Hour)}})
	h.state.following.Store(new(following))
	t.Cleanup(func() { h.state.following.Store(nil) })
	synctest.Test(t, func(t *testing.T) {
		unsigned := streamPath + testVOYO
		signed := unsigned + "?" + h.linkKeys.query(link{target: unsigned, expires: time.Now().Add(time.Hour).Unix()})
		for _, c := range []struct {
			target string
			want   int
			wait   time.Duration
		}{
			{unsigned, http.StatusForbidden, 0},
			{signed, http.StatusPreconditionFailed, orderPatience},
			{signed, http.StatusTooManyRequests, 0},
		} {
			r := newTestRequest(http.MethodGet, c.target, http.Header{"Cdn-Loop": {loopEntry}, appliedField: {"7 s"}})
			at, _ := locate(r.URL)
			req, err := at.parse(r.URL, true)
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			_, err = h.checkAsker(r, at, &req)
			if got := problemOf(resolver.Stream, err).status; got != c.want || time.Since(began) != c.wait {
				t.Errorf("%s: got %d after %s", c.target, got, time.Since(began))
			}
		}
	})
}

// What a node has told of how far it is holds also when it applies something again.
func TestFleetOrderIsKept(t *testing.T) {
	l := mustJoin(t, "", member{urls: nowhere, node: "a"})
	defer release(t, l)
	first := l.state.following.Load()
	first.headway.begin(upTo(7))
	l.state.again(first)
	next := l.state.following.Load()
	if got := next.last(); got != upTo(7) {
		t.Errorf("renewed: %v", got)
	}
	for _, at := range []fleet.Position{upTo(3), {}, elsewhere} {
		next.headway.finish(at)
		if got := next.last(); got != upTo(7) || next.headway.done != at {
			t.Errorf("at %v: %v", at, got)
		}
	}
	again := fleet.Position{Stream: "another"}
	if next.headway.finish(again); next.last() != again {
		t.Errorf("in another log: %v", next.last())
	}
}

// Where the log was restored from a backup a node tells of no more than is in it: the others
// would refuse all that it asks for.
func TestFleetOrderAfterRestore(t *testing.T) {
	f := newFollowed(t, t.TempDir())
	defer f.stop(t)
	f.mustApply(t, entry(fleet.Skip, 100, ""))
	for _, c := range []struct {
		entry fleet.Entry
		told  uint64
	}{
		{fleet.Entry{Position: upTo(7), Kind: fleet.Reset}, 100}, // while NATS is away
		{fleet.Entry{Position: upTo(0), Kind: fleet.Reset, Covers: 50}, 50},
		{entry(fleet.Takedown, 20, takenA), 50},
		{entry(fleet.Skip, 50, ""), 50},
		{entry(fleet.Skip, 51, ""), 51},
	} {
		if f.mustApply(t, c.entry); f.last() != upTo(c.told) {
			t.Errorf("%s at %d: it tells of %+v", c.entry.Kind, c.entry.Seq, f.last())
		}
	}
}
