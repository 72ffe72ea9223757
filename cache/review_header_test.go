package cache

import (
	"bytes"
	"testing"
)

// TestHeadersOutliveTheProcessByteForByte has a strong entity tag with a byte beyond
// ASCII (RFC 9110, section 8.8.3: obs-text).
func TestHeadersOutliveTheProcessByteForByte(t *testing.T) {
	n := newDiskNode(t, Limits{Memory: 1 << 20, Slice: 1000})
	o := newOrigin(content(1, 10_000))
	o.header.Set("Etag", "\"caf\xe9\"")
	req := Request{Key: "a", Policy: policy(), Fetch: o.fetch}
	if _, _, err := get(t, n.Cache, req, "Range", "bytes=0-2999"); err != nil {
		t.Fatal(err)
	}
	n.work.Wait()
	n.restart()
	resp, status, err := get(t, n.Cache, req)
	if err != nil || !bytes.Equal(read(t, resp), o.body) || resp.Header.Get("Etag") != o.header.Get("Etag") {
		t.Errorf("%s of version %q, %v", status, resp.Header.Get("Etag"), err)
	}
}
