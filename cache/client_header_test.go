package cache

import (
	"net/http"
	"testing"
)

// Handlers that see an answer on its way may change its fields in place, as Caddy's header
// directive does when it replaces. That must not change what is stored.
func TestFieldsAreNotShared(t *testing.T) {
	stored := http.Header{"Content-Type": {"audio/ogg"}, "Etag": {`"v1"`}, "Last-Modified": {"then"}, "Date": {"now"}}
	want := stored.Clone()
	for _, policy := range []*Policy{{MaxAge: 1}, {MaxAge: -1, Gateway: true}} {
		sent := newClientHeader(stored, policy).header
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
