package fleet

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/voyo-music/caddy-voyo/internal/natstest"
)

// writer starts a single server, and a node that appends.
func writer(t *testing.T) (*natstest.Cluster, *node, *story) {
	t.Helper()
	c := natstest.Start(t, 1)
	n := join(t, Config{URLs: c.URLs(), Node: "writer"})
	told := n.follow(t, Position{}, nil)
	n.awaitCurrent(t)
	return c, n, told
}

// A follower goes on where it was, also in another process.
func TestRestart(t *testing.T) {
	c, w, _ := writer(t)
	n := join(t, Config{URLs: c.URLs(), Node: "n"})
	told := n.follow(t, Position{}, nil)
	n.awaitCurrent(t)
	w.append(t, purge("one"), purge("two"))
	told.awaitWords(t, "one two")
	n.Close()
	w.append(t, purge("three"), Draft{Kind: Takedown, ID: "x"})

	n = join(t, Config{URLs: c.URLs(), Node: "n"})
	told = n.follow(t, told.Position(), nil)
	told.awaitWords(t, "three +x")
	n.awaitCurrent(t)
	if at := told.Position(); at.Seq != 4 {
		t.Errorf("at %v", at)
	}
	// and what there is nothing behind is not told again
	last := n.follow(t, told.Position(), nil)
	n.awaitStatus(t, "to be current with both", func(s Status) bool { return s.Current && s.Applied == 4 })
	w.append(t, purge("five"))
	last.awaitWords(t, "five")
}

// Where purges were dropped, everything counts as purged. Takedowns are told anew.
func TestDropped(t *testing.T) {
	shorten(t, &maxPurges, 3)
	c, w, _ := writer(t)
	w.append(t, Draft{Kind: Takedown, ID: "a"}, purge("1"))
	n := join(t, Config{URLs: c.URLs(), Node: "n"})
	told := n.follow(t, Position{}, nil)
	told.awaitWords(t, "+a 1")
	n.awaitCurrent(t)
	from := told.Position()
	n.Close()
	w.append(t, purge("2"), Draft{Kind: Takedown, ID: "b"}, purge("3"), purge("4"), Draft{Kind: Lift, ID: "a"}, purge("5"), purge("6"))

	// 1 to 3 were dropped; 4 to 6, which are there, are covered by the reset
	n = join(t, Config{URLs: c.URLs(), Node: "n"})
	told = n.follow(t, from, nil)
	told.awaitWords(t, "reset +a +b -a skip")
	n.awaitCurrent(t)
	if at := told.Position(); at.Seq != 9 || told.told[0].Position != (Position{Stream: at.Stream}) {
		t.Errorf("reset at %v, at %v", told.told[0].Position, at)
	}
	w.append(t, purge("7"))
	told.awaitWords(t, "reset +a +b -a skip 7")
	from = told.Position()

	// what is missing behind the position is not missed: there is no other reset
	n.Close()
	n = join(t, Config{URLs: c.URLs(), Node: "n"})
	told = n.follow(t, from, nil)
	n.awaitCurrent(t)
	w.append(t, purge("8"))
	told.awaitWords(t, "8")

	// one that has never applied anything may have something from before
	fresh := n.follow(t, Position{}, nil)
	fresh.awaitWords(t, "+a reset +a +b -a skip")
}

// A purge that is dropped behind a gap that does not matter is not needed twice.
func TestLimitHolds(t *testing.T) {
	shorten(t, &maxPurges, 3)
	c, w, told := writer(t)
	for word := range strings.FieldsSeq("1 2 3 4 5") {
		w.append(t, purge(word))
	}
	told.awaitWords(t, "1 2 3 4 5")
	stream, err := client(t, c.URLs()).Stream(t.Context(), streamName)
	if err != nil {
		t.Fatal(err)
	}
	if s := stream.CachedInfo().State; s.Msgs != 3 || s.FirstSeq != 3 {
		t.Errorf("got %+v", s)
	}
}

// A stream that was deleted is made anew, and followers are told that it is another one:
// those that read it, and those that come later with a position of the one before.
func TestAnotherStream(t *testing.T) {
	c, w, told := writer(t)
	w.append(t, purge("one"), purge("two"))
	told.awaitWords(t, "one two")
	n := join(t, Config{URLs: c.URLs(), Node: "n"})
	from := told.Position()
	js := client(t, c.URLs())
	if err := js.DeleteStream(t.Context(), streamName); err != nil {
		t.Fatal(err)
	}
	told.await(t, "to be reset", func() bool { return told.text() == "one two reset" })
	w.awaitCurrent(t)
	n.awaitCurrent(t)
	w.append(t, purge("three"), Draft{Kind: Takedown, ID: "x"}, purge("four"))
	told.awaitWords(t, "one two reset three +x four")
	if at := told.Position(); at.Stream == from.Stream || at.Seq != 3 {
		t.Errorf("at %v, before %v", at, from)
	}

	late := n.follow(t, from, nil)
	late.awaitWords(t, "reset +x skip")
	w.append(t, purge("five"))
	late.awaitWords(t, "reset +x skip five")
	if late.Position() != told.Position() {
		t.Errorf("at %v, not %v", late.Position(), told.Position())
	}
}

// What somebody has removed at the end of the log is missed too, but not at once: a
// leader could be late.
func TestRemoved(t *testing.T) {
	shorten(t, &certainAfter, 50*time.Millisecond)
	c, w, _ := writer(t)
	w.append(t, purge("one"))
	n := join(t, Config{URLs: c.URLs(), Node: "n"})
	told := n.follow(t, Position{}, nil)
	told.awaitWords(t, "one")
	n.awaitCurrent(t)
	from := told.Position()
	n.Close()
	w.append(t, purge("two"), Draft{Kind: Takedown, ID: "x"}, purge("three"), purge("four"))
	stream, err := client(t, c.URLs()).Stream(t.Context(), streamName)
	if err != nil {
		t.Fatal(err)
	}
	for _, seq := range []uint64{2, 4, 5} {
		if err := stream.DeleteMsg(t.Context(), seq); err != nil {
			t.Fatal(err)
		}
	}
	n = join(t, Config{URLs: c.URLs(), Node: "n"})
	told = n.follow(t, from, nil)
	told.awaitWords(t, "reset +x skip")
	n.awaitCurrent(t)
	if at := told.Position(); at.Seq != 5 {
		t.Errorf("at %v", at)
	}
	from = told.Position()
	n.Close()

	w.append(t, purge("six"))
	if err := stream.Purge(t.Context()); err != nil {
		t.Fatal(err)
	}
	n = join(t, Config{URLs: c.URLs(), Node: "n"})
	told = n.follow(t, from, nil)
	told.awaitWords(t, "reset skip")
	n.awaitCurrent(t)

	// a position that the log does not have: it was restored from an old copy
	restored := n.follow(t, Position{Stream: from.Stream, Seq: 99}, nil)
	restored.awaitWords(t, "reset skip")
	n.awaitCurrent(t)
}

// A node that was away while the stream was restored from a backup, and has grown since, finds
// another entry where it was. What it has not seen counts as purged.
func TestRestored(t *testing.T) {
	c, w, _ := writer(t)
	w.append(t, purge("one"), Draft{Kind: Takedown, ID: "a"})
	backup := c.Backup(0)
	n := join(t, Config{URLs: c.URLs(), Node: "n"})
	told := n.follow(t, Position{}, nil)
	told.awaitWords(t, "one +a")
	n.awaitCurrent(t)
	before := told.Position()
	w.append(t, purge("three"), purge("four"))
	told.awaitWords(t, "one +a three four")
	from := told.Position()
	n.Close()
	c.Restore(0, backup)
	w.awaitAway(t)
	w.awaitCurrent(t)
	w.append(t, Draft{Kind: Takedown, ID: "b"}, purge("four'"), purge("five"))

	n = join(t, Config{URLs: c.URLs(), Node: "n"})
	grown := n.follow(t, from, nil)
	grown.awaitWords(t, "reset +a +b skip")
	if covers := grown.told[0].Covers; covers != 5 {
		t.Errorf("the reset covers %d entries", covers)
	}
	n.awaitCurrent(t)
	for _, at := range []Position{before, {Stream: before.Stream, Seq: before.Seq}} { // an old version has noted no time
		same := n.follow(t, at, nil)
		same.awaitWords(t, "+b four' five")
	}
}

// One that has never applied anything does not apply each of many purges, but all takedowns.
func TestManyPurges(t *testing.T) {
	shorten(t, &replayMax, 3)
	c, w, _ := writer(t)
	w.append(t, purge("1"), Draft{Kind: Takedown, ID: "a"}, purge("3"))
	n := join(t, Config{URLs: c.URLs(), Node: "n"})
	few := n.follow(t, Position{}, nil)
	few.awaitWords(t, "1 +a 3")
	w.append(t, purge("4"))
	few.awaitWords(t, "1 +a 3 4")
	many := n.follow(t, Position{}, nil)
	many.awaitWords(t, "reset +a skip")
	w.append(t, purge("5"))
	many.awaitWords(t, "reset +a skip 5")
	if many.Position() != few.Position() {
		t.Errorf("at %v, not %v", many.Position(), few.Position())
	}
}

// As long as it is not certain that something is missing there is no reset.
func TestUncertain(t *testing.T) {
	c, w, told := writer(t)
	w.append(t, purge("one"))
	n := join(t, Config{URLs: c.URLs(), Node: "n"})
	ahead := n.follow(t, Position{Stream: told.Position().Stream, Seq: 2}, nil)
	n.awaitStatus(t, "to be uncertain", func(s Status) bool { return s.Reason == reasonOf(errUncertain).text })
	w.append(t, purge("two"), purge("three")) // it was there before
	ahead.awaitWords(t, "three")
	n.awaitCurrent(t)
}

// An operator may have made the stream and the bucket, with settings of theirs.
func TestOperatorsStream(t *testing.T) {
	c := natstest.Start(t, 1)
	js := client(t, c.URLs())
	config := jetstream.StreamConfig{Name: streamName, Subjects: []string{"voyo.fleet.>"}, MaxAge: time.Hour, AllowDirect: true}
	if _, err := js.CreateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: bucketName, History: 3}); err != nil {
		t.Fatal(err)
	}
	n := join(t, Config{URLs: c.URLs(), Node: "n"})
	told := n.follow(t, Position{}, nil)
	n.awaitStatus(t, "to refuse a stream that forgets", func(s Status) bool { return s.Reason == reasonOf(errUnfit).text })
	set := func(change func()) {
		t.Helper()
		change()
		if _, err := js.UpdateStream(t.Context(), config); err != nil {
			t.Fatal(err)
		}
	}
	set(func() { config.MaxAge = 0 })
	n.awaitCurrent(t)
	n.append(t, purge("one"))
	set(func() { config.MaxBytes = 1 << 20 }) // later, too
	n.awaitStatus(t, "to refuse a stream that rolls", func(s Status) bool { return s.Reason == reasonOf(errUnfit).text })
	if _, err := n.Append(t.Context(), purge("lost")); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "max_bytes") {
		t.Errorf("got %v", err)
	}
	set(func() { config.Discard = jetstream.DiscardNew })
	n.awaitCurrent(t)
	for _, subject := range []string{"voyo.fleet.other", purgeSubject, takedownSubject + "x"} { // by hand
		if _, err := js.Publish(t.Context(), subject, []byte("hand")); err != nil {
			t.Fatal(err)
		}
	}
	told.awaitWords(t, "one skip hand +x")
}

// What a stream must be like so that nothing is lost.
func TestUnfit(t *testing.T) {
	for name, c := range map[string]struct {
		config jetstream.StreamConfig
		want   bool
	}{
		"the default":              {jetstream.StreamConfig{MaxMsgs: -1, MaxBytes: -1, MaxMsgsPerSubject: 9}, false},
		"an age":                   {jetstream.StreamConfig{MaxAge: time.Hour}, true},
		"a work queue":             {jetstream.StreamConfig{Retention: jetstream.WorkQueuePolicy}, true},
		"bytes":                    {jetstream.StreamConfig{MaxBytes: 1 << 30}, true},
		"entries":                  {jetstream.StreamConfig{MaxMsgs: 1 << 20}, true},
		"bytes and no room at all": {jetstream.StreamConfig{MaxBytes: 1 << 30, Discard: jetstream.DiscardNew}, false},
	} {
		if got := unfit(c.config); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// Everyone may read what is said of an error, whatever a server says of it, but an operator
// is told that, too.
func TestReasons(t *testing.T) {
	for _, code := range []jetstream.ErrorCode{10049, 10077} {
		const said = "mkdir /srv/nats: permission denied"
		got := reasonOf(fmt.Errorf("creating: %w", &jetstream.APIError{Code: 500, ErrorCode: code, Description: said}))
		if got.text == "" || strings.Contains(got.text, "srv") || !strings.Contains(got.String(), said) {
			t.Errorf("%d: %q", code, got)
		}
	}
	got := Status{Reason: "a reason", Detail: "more"}
	if got.Why() != "a reason: more" || (Status{Reason: "a reason"}).Why() != "a reason" {
		t.Errorf("got %q", got.Why())
	}
}
