package cache

import (
	"testing"
	"testing/synctest"
)

// TestGatewayParts has an origin that answers strangely where a part is missing of what
// is stored, or where a part is asked for.
func TestGatewayParts(t *testing.T) {
	const firstPart = "206 | Cache-Control: max-age=60 | ETag: \"a\" | Content-Range: bytes 0-4/10 | =01234"
	first := step{ask: "GET | Range: bytes=0-4", origin: firstPart, sent: "Range: bytes=0-4", want: "206 miss =01234"}
	const rest = "206 | ETag: \"a\" | Content-Range: bytes 5-9/10 | =56789"
	tests := []struct {
		name  string
		steps []step
	}{
		{"several parts where one was asked for", []step{
			first,
			{ask: "GET", origin: "206 | ETag: \"a\" | Content-Type: multipart/byteranges | =--x56789-- || " + rest, sent: "Range: bytes=5- | If-Range: \"a\"", want: "200 partial =0123456789"},
			{ask: "GET", want: "200 hit =0123456789"},
		}},
		{"another part than the one asked for", []step{
			first,
			{ask: "GET", origin: "206 | ETag: \"a\" | Content-Range: bytes 4-9/10 | =456789 || " + rest, sent: "Range: bytes=5- | If-Range: \"a\"", want: "200 partial =0123456789"},
			{ask: "GET", want: "200 hit =0123456789"},
		}},
		{"a failure says nothing of the parts that are there", []step{
			first,
			{ask: "GET | Range: bytes=5-", origin: "503 | =busy || 503 | =busy || 503 | =busy || 503 | =busy", sent: "Range: bytes=5- | If-Range: \"a\"", want: "503 pass =busy"},
			{ask: "GET | Range: bytes=0-4", want: "206 hit =01234"},
			{ask: "GET", origin: rest, sent: "Range: bytes=5- | If-Range: \"a\"", want: "200 partial =0123456789"},
		}},
		{"it is gone", []step{
			first,
			{ask: "GET | Range: bytes=5-", origin: "404 | =no || 404 | =no", sent: "Range: bytes=5- | If-Range: \"a\"", want: "404 pass =no"},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := newGateway(t)
				for _, s := range tt.steps {
					g.do(s)
				}
			})
		})
	}
}
