package voyo

import (
	"net/http"
	"strings"
	"testing"
)

func TestLoop(t *testing.T) {
	own := edgeName + "; id=" + edgeID
	other := edgeName + "; id=" + strings.Repeat("A", 26)
	first := edgeName + "; id=" + strings.Repeat("B", 26)
	for _, c := range []struct {
		name   string
		fields []string
		loop   bool
		sent   string
	}{
		{"first edge", nil, false, own},
		{"behind another edge", []string{other}, false, other + ", " + own},
		{"behind two", []string{other + ", " + other}, false, other + ", " + other + ", " + own},
		{"been here", []string{own}, true, ""},
		{"been here before another", []string{own + "," + other}, true, ""},
		{"in another line", []string{"cdn.example", own}, true, ""},
		{"a long way", []string{strings.Repeat(other+", ", maxEdges-1)}, false, strings.Repeat(other+", ", maxEdges-1) + own},
		{"a longer way", []string{strings.Repeat(other+", ", 100)}, false, strings.Repeat(other+", ", maxEdges-1) + own},
		{"made up, and been here", []string{strings.Repeat(other+", ", 100) + own}, true, ""},
		{"the last ones", []string{first + ", " + strings.Repeat(other+", ", maxEdges-1)}, false, strings.Repeat(other+", ", maxEdges-1) + own},
		{"others' entries", []string{"cloudflare", `cdn.example; a="x, y"`, other}, false, other + ", " + own},
		{"forgeries", []string{edgeName, edgeName + "; id=x", edgeName + "; id=" + strings.Repeat("A", 27)}, false, own},
		{"a flood", []string{strings.Repeat("x,", 10000)}, false, own},
	} {
		header := http.Header{"Cdn-Loop": c.fields}
		if got := isLoop(header); got != c.loop {
			t.Errorf("%s: got %t", c.name, got)
		}
		if got := cdnLoop(header); !c.loop && got != c.sent {
			t.Errorf("%s: sends %q, want %q", c.name, got, c.sent)
		}
	}
}

func TestLoopDetected(t *testing.T) {
	h := newTestHandler(t, found(nil))
	w := serve(t, h, "GET", "/cdn/stream/"+testID, http.Header{"Cdn-Loop": {cdnLoop(nil)}})
	if got := w.Body.String(); w.Code != http.StatusLoopDetected || got != `{"error":"VOYO edge loop detected"}`+"\n" {
		t.Errorf("got %d %s", w.Code, got)
	}
}
