package cache

import (
	"testing"
	"testing/synctest"
	"time"
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
		{"a larger part than the client's is not passed on to it", []step{
			{ask: "GET | Range: bytes=5000-5003", origin: "206 | Cache-Control: no-store | Content-Range: bytes 4096-4099/4100 | =0123 || 206 | Cache-Control: no-store | Content-Range: bytes 5000-5003/9000 | =5000", sent: "Range: bytes=4096-8191", want: "206 pass =5000"},
			{ask: "GET | Range: bytes=6000-6003", origin: "206 | Cache-Control: no-store | Content-Range: bytes 6000-6003/9000 | =6000", sent: "Range: bytes=6000-6003", want: "206 pass =6000"},
		}},
		{"several parts, not kept", []step{
			{ask: "GET | Range: bytes=0-0,2-2", origin: "206 | Cache-Control: no-store | Content-Range: bytes 0-0/3 | =0 || 206 | Content-Type: multipart/byteranges | =0,2", sent: "Range: bytes=0-0", want: "206 pass =0,2"},
		}},
		{"a part of another version than the client has", []step{
			{after: 2 * time.Minute, ask: "GET | Range: bytes=5-6 | If-Range: \"a\"", origin: "206 | Cache-Control: no-store | ETag: \"b\" | Content-Range: bytes 5-6/10 | =bb || 200 | Cache-Control: no-store | ETag: \"b\" | =bbbbbbbbbb", sent: "Range: bytes=5-6", want: "200 pass =bbbbbbbbbb"},
			{after: 2 * time.Minute, ask: "GET | Range: bytes=5-6 | If-Match: \"a\"", origin: "206 | Cache-Control: no-store | ETag: \"b\" | Content-Range: bytes 5-6/10 | =bb || 412 | =no", sent: "Range: bytes=5-6", want: "412 pass =no"},
		}},
		{"a client's conditions, and what others get", []step{
			{ask: "GET", origin: "200 | Cache-Control: no-store | =a", want: "200 pass =a"},
			{ask: "GET | If-Match: \"x\"", origin: "412 | Cache-Control: max-age=60 | =no", sent: "If-Match: \"x\"", want: "412 pass =no"},
			{ask: "GET | Range: bytes=0-1 | If-Range: \"a\"", origin: "206 | Cache-Control: max-age=60 | ETag: \"a\" | Content-Range: bytes 0-1/2 | =aa", sent: "Range: bytes=0-1 | If-Range: \"a\"", want: "206 pass =aa"}, // without a Content-Type
			{ask: "GET", origin: "200 | Cache-Control: max-age=60 | Content-Type: text/plain | =aa", want: "200 miss =aa"},
		}},
		{"refused though no part was asked for", []step{
			{ask: "GET", origin: "416 | =no", want: "416 pass =no"},
		}},
		{"no content, of some length", []step{
			{ask: "GET", origin: "204 | Cache-Control: no-store | Content-Length: 5", want: "204 pass =", header: "Content-Length:"},
			{ask: "GET", origin: "204 | Cache-Control: max-age=60 | Content-Length: 5", want: "204 miss =", header: "Content-Length:"},
			{ask: "GET", want: "204 hit =", header: "Content-Length:"},
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
