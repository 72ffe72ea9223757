package cache

import (
	"maps"
	"net/http"
	"slices"
	"testing"
)

// sameHeader fails unless both headers have the same lines.
func sameHeader(t *testing.T, got, want http.Header) {
	t.Helper()
	if !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestStoredHeader(t *testing.T) {
	tests := []struct {
		name         string
		header, want http.Header
	}{
		{"nothing", answerHeader(), answerHeader()},
		{"the origin's own", answerHeader("A: 1", "A: 2", "Content-Foo: 3", "Etag: x", "Age: 4"), answerHeader("A: 1", "A: 2", "Content-Foo: 3", "Etag: x", "Age: 4")},
		{"named by Connection", answerHeader("Connection: close, a", "Connection: , b", "A: 1", "B: 2", "C: 3"), answerHeader("C: 3")},
		{"of the connection", answerHeader("Keep-Alive: 1", "Proxy-Connection: 1", "TE: 1", "Trailer: 1", "Transfer-Encoding: 1", "Upgrade: 1", "C: 3"), answerHeader("C: 3")},
		{"of a proxy", answerHeader("Proxy-Authenticate: 1", "Proxy-Authentication-Info: 1", "Proxy-Authorization: 1", "C: 3"), answerHeader("C: 3")},
		{"no range", answerHeader("Content-Range: 1"), answerHeader("Content-Range: 1")},
		{"no range that there is", answerHeader("Content-Range: bytes */9"), answerHeader()},
		{"of the body", answerHeader("Content-Length: 1", "Content-Range: bytes 0-0/9", "Content-Encoding: gzip"), answerHeader("Content-Encoding: gzip")},
		{"cookies", answerHeader("Set-Cookie: 1", "Set-Cookie: 2", "C: 3"), answerHeader("C: 3")},
		{
			"not to be used unconfirmed, or by others",
			answerHeader(`Cache-Control: no-cache="a, b", private="C"`, "A: 1", "B: 2", "C: 3", "D: 4"),
			answerHeader(`Cache-Control: no-cache="a, b", private="C"`, "D: 4"),
		},
		{
			"what another cache is told",
			answerHeader(`Cache-Control: no-cache="a"`, `CDN-Cache-Control: private="b"`, "A: 1", "B: 2"),
			answerHeader(`Cache-Control: no-cache="a"`, `CDN-Cache-Control: private="b"`, "A: 1"),
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := tt.header.Clone()
			sameHeader(t, storedHeader(tt.header), tt.want)
			sameHeader(t, tt.header, before)
		})
	}
}

func TestUpdatedHeader(t *testing.T) {
	tests := []struct {
		name                 string
		stored, answer, want http.Header
	}{
		{"nothing new", answerHeader("A: 1", "Etag: x"), answerHeader(), answerHeader("A: 1", "Etag: x")},
		{"replaced, not added to", answerHeader("A: 1", "A: 2", "B: 3"), answerHeader("A: 4", "C: 5"), answerHeader("A: 4", "B: 3", "C: 5")},
		{
			"of the bytes",
			answerHeader("Content-Encoding: gzip", "Content-MD5: a", "Content-Range: w", "Etag: x", "Content-Type: a/b"),
			answerHeader(
				"Content-Encoding: br", "Content-MD5: b", "Etag: y", "Content-Type: c/d", "Content-Length: 0", "Content-Range: x", "Content-Digest: z"),
			answerHeader("Content-Encoding: gzip", "Content-MD5: a", "Content-Range: w", "Etag: x", "Content-Type: c/d"),
		},
		{"Age and Date", answerHeader("Age: 1", "Date: x"), answerHeader("Age: 2", "Date: y"), answerHeader("Age: 2", "Date: y")},
		{"no Age and no Date", answerHeader("Age: 1", "Date: x", "A: 1"), answerHeader(), answerHeader("A: 1")},
		{"never kept", answerHeader("A: 1"), answerHeader("Connection: b", "B: 2", "Set-Cookie: c"), answerHeader("A: 1")},
		{"private by now", answerHeader("A: 1", "B: 1"), answerHeader(`Cache-Control: private="a"`), answerHeader("B: 1", `Cache-Control: private="a"`)},
		{"private before", answerHeader(`Cache-Control: private="a"`), answerHeader("A: 2"), answerHeader(`Cache-Control: private="a"`)},
		{"not private any more", answerHeader(`Cache-Control: private="a"`), answerHeader("Cache-Control: x", "A: 2"), answerHeader("Cache-Control: x", "A: 2")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := tt.stored.Clone()
			sameHeader(t, updatedHeader(tt.stored, tt.answer), tt.want)
			sameHeader(t, tt.stored, before)
		})
	}
}

// TestMediaFields has nothing be forgotten by which what is kept is purged, or expires.
func TestMediaFields(t *testing.T) {
	names := slices.Clone(targetedFields)
	for _, f := range tagFields {
		names = append(names, f.name)
	}
	for _, name := range names {
		if !slices.Contains(mediaFields, name) {
			t.Errorf("%s is not kept", name)
		}
	}
}
