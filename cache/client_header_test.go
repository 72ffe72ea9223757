package cache

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// moved returns what a header that is sent has of h.
func (h *clientHeader) moved() http.Header {
	sent := make(http.Header)
	h.moveTo(sent)
	return sent
}

// TestClientHeader compares with Go's own, and has nothing of one answer in another.
func TestClientHeader(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.SampledFrom([]string{"A", "B", "C", "D"})
		want := make(http.Header)
		for n := range rapid.IntRange(0, 3*usualLines).Draw(t, "lines") {
			want.Add(name.Draw(t, "name"), fmt.Sprint(n))
		}
		got := copyHeader(want)
		for n := range rapid.IntRange(0, 10).Draw(t, "changes") {
			name, value := name.Draw(t, "name"), fmt.Sprint("changed ", n)
			switch rapid.IntRange(0, 2).Draw(t, "change") {
			case 0:
				got.add(name, value)
				want.Add(name, value)
			case 1:
				got.set(name, value)
				want.Set(name, value)
			default:
				got.del(name)
				want.Del(name)
			}
			if _, ok := want[name]; got.has(name) != ok || got.get(name) != want.Get(name) {
				t.Fatalf("%s: %v, %q; want %v, %q", name, got.has(name), got.get(name), ok, want.Get(name))
			}
		}
		if sent := got.moved(); !maps.EqualFunc(sent, want, slices.Equal) {
			t.Fatalf("got  %v\nwant %v", sent, want)
		}
	})
}

// Handlers that see an answer on its way may change its fields in place, as Caddy's header
// directive does when it replaces. That must not change what is stored.
func TestFieldsAreNotShared(t *testing.T) {
	stored := http.Header{"Content-Type": {"audio/ogg"}, "Etag": {`"v1"`}, "Last-Modified": {"then"}, "Date": {"now"}}
	want := stored.Clone()
	for _, policy := range []*Policy{{MaxAge: 1}, {MaxAge: -1, Gateway: true}} {
		sent := newClientHeader(stored, policy).moved()
		for name, values := range sent {
			for i := range values {
				values[i] = "changed"
			}
			sent[name] = append(values, "added")
		}
		for name := range sent {
			if first := sent[name][0]; first != "changed" {
				t.Errorf("%s is %q: it has been overwritten by what was added to another field", name, first)
			}
		}
		sameHeader(t, stored, want)
	}
}

func TestNotModified(t *testing.T) {
	h := answerHeader(
		"Cache-Control: a", "Content-Location: b", "Date: c", "Etag: d", "Expires: e", "Vary: f", "Content-Security-Policy: g", "X: h",
		"Content-Type: i", "Content-Encoding: j", "Content-Language: k", "Content-Length: 1", "Content-Range: m", "Content-Md5: n",
		"Last-Modified: o", "Repr-Digest: p")
	want := answerHeader(
		"Cache-Control: a", "Content-Location: b", "Date: c", "Etag: d", "Expires: e", "Vary: f", "Content-Security-Policy: g", "X: h")
	before := h.Clone()
	notModified := func() http.Header {
		sent := copyHeader(h)
		sent.dropMetadata()
		return sent.moved()
	}
	sameHeader(t, notModified(), want)
	sameHeader(t, h, before)

	h.Del("Etag")
	want.Del("Etag")
	want.Set("Last-Modified", "o")
	sameHeader(t, notModified(), want)
}
