package fleet

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/voyo-music/caddy-voyo/internal/natstest"
)

// What can't be told to a server is not a configuration.
func TestValidate(t *testing.T) {
	file := t.TempDir() + "/none"
	for name, c := range map[string]struct {
		config Config
		want   string // empty: it is valid
	}{
		"a host":          {Config{URLs: []string{"nats.example"}, Node: "n"}, ""},
		"all there is":    {Config{URLs: []string{"tls://u:p@nats.example:4443", "nats://10.0.0.1"}, Node: "edge-1.fra/a_b=c"}, ""},
		"websockets":      {Config{URLs: []string{"ws://a", "wss://b/path"}, Node: "n"}, ""},
		"no URL":          {Config{Node: "n"}, "a URL of NATS is required"},
		"no host":         {Config{URLs: []string{"nats://a", "nats://:4222"}, Node: "n"}, "URL 2: it has no host"},
		"another scheme":  {Config{URLs: []string{"http://a"}, Node: "n"}, "URL 1: its scheme must be nats, tls, ws or wss"},
		"no URL at all":   {Config{URLs: []string{"nats://%zz"}, Node: "n"}, "URL 1: it can't be parsed"},
		"no port":         {Config{URLs: []string{"a:65535", "a:65536"}, Node: "n"}, "URL 2: its port is not a number from 1 to 65535"},
		"port zero":       {Config{URLs: []string{"tls://a:0"}, Node: "n"}, "URL 1: its port is not"},
		"mixed":           {Config{URLs: []string{"nats://a", "ws://a"}, Node: "n"}, "can't be mixed"},
		"no name":         {Config{URLs: []string{"a"}}, "node name"},
		"a space":         {Config{URLs: []string{"a"}, Node: "a b"}, "node name"},
		"a wildcard":      {Config{URLs: []string{"a"}, Node: "a.*"}, "node name"},
		"a dot first":     {Config{URLs: []string{"a"}, Node: ".a"}, "node name"},
		"a dot last":      {Config{URLs: []string{"a"}, Node: "a."}, "node name"},
		"two dots":        {Config{URLs: []string{"a"}, Node: "a..b"}, "node name"},
		"a long name":     {Config{URLs: []string{"a"}, Node: strings.Repeat("n", 129)}, "node name"},
		"no credentials":  {Config{URLs: []string{"a"}, Node: "n", Credentials: file}, "credentials: open"},
		"no seed in them": {Config{URLs: []string{"a"}, Node: "n", Credentials: "bounds_test.go"}, "credentials: the file has no user's"},
	} {
		t.Run(name, func(t *testing.T) {
			err := c.config.Validate()
			if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

// What can't be an entry is refused, and nothing of what comes with it is appended.
func TestInvalid(t *testing.T) {
	c := natstest.Start(t, 1)
	n := join(t, Config{URLs: c.URLs(), Node: "n"})
	told := n.follow(t, Position{}, nil)
	n.awaitCurrent(t)
	for name, drafts := range map[string][]Draft{
		"none":             nil,
		"too many":         slices.Repeat([]Draft{purge("x")}, MaxDrafts+1),
		"too long":         {purge("x"), {Kind: Purge, Data: make([]byte, MaxData+1)}},
		"a purge of an ID": {purge("x"), {Kind: Purge, ID: "x"}},
		"no ID":            {purge("x"), {Kind: Takedown}},
		"dots":             {purge("x"), {Kind: Lift, ID: "a.b"}},
		"a wildcard":       {purge("x"), {Kind: Lift, ID: "*"}},
		"a kind":           {purge("x"), {Kind: Reset}},
	} {
		t.Run(name, func(t *testing.T) {
			if r, err := n.Append(t.Context(), drafts...); !errors.Is(err, ErrInvalid) || r.Appended != 0 {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
	long := bytes.Repeat([]byte{'x'}, MaxData)
	n.append(t, Draft{Kind: Takedown, ID: strings.Repeat("i", 64), Data: long})
	for range 20 { // more than is read ahead
		n.append(t, Draft{Kind: Purge, Data: long})
	}
	again := n.follow(t, Position{}, nil)
	again.await(t, "all that is long", func() bool { return len(again.told) == 21 && len(again.told[20].Data) == MaxData })
	told.await(t, "the same", func() bool { return len(told.told) == 21 })
}

// A server may take less.
func TestMaxPayload(t *testing.T) {
	c := natstest.Start(t, 1, natstest.With("max_payload: 4096"))
	n := join(t, Config{URLs: c.URLs(), Node: "n"})
	n.awaitCurrent(t)
	if _, err := n.Append(t.Context(), Draft{Kind: Purge, Data: make([]byte, 4000)}); !errors.Is(err, ErrInvalid) {
		t.Errorf("got %v", err)
	}
}

// More entries than are taken at a time are taken one after another, none of them twice.
func TestManyAppends(t *testing.T) {
	c := natstest.Start(t, 3)
	n := join(t, Config{URLs: c.URLs(), Node: "n"})
	told := n.follow(t, Position{}, nil)
	n.awaitCurrent(t)
	const many = 4 * maxAppends
	var work sync.WaitGroup
	for i := range many {
		work.Go(func() {
			r, err := n.Append(t.Context(), purge(fmt.Sprint(i)), purge(fmt.Sprint(many+i)))
			if err != nil || r.Appended != 2 || receipt(r) != "applied [n], pending [], failed []" {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
	work.Wait()
	words := strings.Fields(told.words())
	if len(words) != 2*many {
		t.Errorf("told %d", len(words))
	}
	slices.Sort(words)
	if len(slices.Compact(words)) != 2*many {
		t.Error("told twice")
	}
	n.Log.mu.Lock()
	defer n.Log.mu.Unlock()
	if len(n.calls) != 0 || len(n.owed) != 0 {
		t.Errorf("%d calls and %d answers are left", len(n.calls), len(n.owed))
	}
}

// However many entries come together, each node answers once, if all is well.
func TestAnswersOnce(t *testing.T) {
	c := natstest.Start(t, 1)
	n := join(t, Config{URLs: c.URLs(), Node: "n"})
	n.follow(t, Position{}, nil)
	n.awaitCurrent(t)
	nc, _, err := n.link()
	if err != nil {
		t.Fatal(err)
	}
	replies, err := nc.SubscribeSync(replySubject + ">")
	if err != nil {
		t.Fatal(err)
	}
	drafts := slices.Repeat([]Draft{purge("x")}, MaxDrafts)
	if got := receipt(n.append(t, drafts...)); got != "applied [n], pending [], failed []" {
		t.Errorf("got %s", got)
	}
	if err := nc.FlushTimeout(patience); err != nil { // the receipt may come before the copy
		t.Fatal(err)
	}
	if got, _, err := replies.Pending(); err != nil || got != 1 {
		t.Errorf("%d answers, %v", got, err)
	}
}

// A node that was called by a message of no fleet's does not answer it.
func TestForeignReplies(t *testing.T) {
	c := natstest.Start(t, 1)
	n := join(t, Config{URLs: c.URLs(), Node: "n"})
	n.awaitCurrent(t)
	nc, _, err := n.link()
	if err != nil {
		t.Fatal(err)
	}
	sub, err := nc.SubscribeSync("voyo.>")
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"", "x", "x.>", "x.*.y", "a.b c", "voyo.fleet.purge"} {
		if err := n.reply(to, answer{}); err != nil {
			t.Error(err)
		}
	}
	if err := n.reply("instance.id", answer{}); err != nil {
		t.Fatal(err)
	}
	m, err := sub.NextMsgWithContext(t.Context())
	if err != nil || m.Subject != replySubject+"instance.id" {
		t.Errorf("%+v, %v", m, err)
	}
}
