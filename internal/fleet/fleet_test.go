package fleet

import (
	"testing"

	"github.com/voyo-music/caddy-voyo/internal/natstest"
)

// What is appended is told to every node in order, and the receipt names them.
func TestAppend(t *testing.T) {
	c := natstest.Start(t, 3)
	a := join(t, Config{URLs: c.URLs(), Node: "a"})
	b := join(t, Config{URLs: c.URLs(), Node: "b.example"})
	told := []*story{a.follow(t, Position{}, nil), b.follow(t, Position{}, nil), b.follow(t, Position{}, nil)}
	a.awaitCurrent(t)
	b.awaitCurrent(t)

	r := a.append(t, purge("one"))
	if got := receipt(r); got != "applied [a b.example], pending [], failed []" || r.Seq != 1 || r.Appended != 1 {
		t.Errorf("got %s, %+v", got, r)
	}
	r = b.append(t, Draft{Kind: Takedown, ID: "OSBan_sH_b8"}, purge("two"), Draft{Kind: Lift, ID: "OSBan_sH_b8", Data: []byte("note")})
	if got := receipt(r); got != "applied [a b.example], pending [], failed []" || r.Seq != 4 || r.Appended != 3 {
		t.Errorf("got %s, %+v", got, r)
	}
	for _, s := range told {
		s.awaitWords(t, "one +OSBan_sH_b8 two -OSBan_sH_b8")
		if s.told[0].More || !s.told[1].More || !s.told[2].More || s.told[3].More {
			t.Errorf("%+v", s.told)
		}
		if s.Position() != s.told[3].Position || s.told[3].Seq != 4 || string(s.told[3].Data) != "note" || s.told[3].Time.IsZero() {
			t.Errorf("at %v, after %+v", s.Position(), s.told[3])
		}
	}
	if s := a.Status(); !s.Connected || !s.Current || s.Reason != "" || s.Applied != 4 || s.Lag != 0 {
		t.Errorf("got %+v", s)
	}
}
