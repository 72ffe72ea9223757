package voyo

import (
	"net/http"
	"net/url"
	"path"
	"reflect"
	"slices"
	"testing"

	"github.com/voyo-music/caddy-voyo/resolver"
)

var testPNG = append([]byte("\x89PNG\r\n\x1a\n"), make([]byte, 100)...)

func TestResponseFields(t *testing.T) {
	got := pick(http.Header{
		"Content-Type": {"audio/ogg"}, "Etag": {`"1"`}, "Vary": {"Accept", "Origin"}, "Age": {"1"},
		"Set-Cookie": {"a=b"}, "Server": {"x"}, "Location": {"https://x.example"}, "Link": {"x"}, "Alt-Svc": {"x"}, "Refresh": {"0"},
		"Access-Control-Allow-Origin": {"*"}, "Strict-Transport-Security": {"x"}, "X-Accel-Redirect": {"/"}, "Connection": {"close"},
		"Transfer-Encoding": {"chunked"}, "Www-Authenticate": {"Basic"}, "Clear-Site-Data": {"*"}, "Content-Security-Policy": {"x"},
		"Cache-Status": {"x"}, "Content-Encoding": {"gzip"}, "Content-Disposition": {"attachment"},
	}, responseFields)
	want := http.Header{"Content-Type": {"audio/ogg"}, "Etag": {`"1"`}, "Vary": {"Accept", "Origin"}, "Age": {"1"}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
	// both are looked up as they are
	for _, name := range append(slices.Clone(responseFields), requestFields...) {
		if name != http.CanonicalHeaderKey(name) {
			t.Errorf("%s is not canonical", name)
		}
	}
}

func TestUpstreamHeader(t *testing.T) {
	got := upstreamHeader(resolver.Asset{Kind: resolver.Stream, Type: resolver.Video}, http.Header{
		"Range": {"bytes=0-1"}, "If-Range": {`"1"`}, "If-None-Match": {`"1"`}, "If-Modified-Since": {"x"},
		"If-Match": {"x"}, "Cookie": {"a=b"}, "Authorization": {"Bearer x"}, "X-Forwarded-For": {"192.0.2.1"}, "Accept-Encoding": {"br"},
	}, "loop")
	want := http.Header{
		"Range": {"bytes=0-1"}, "If-Range": {`"1"`}, "If-None-Match": {`"1"`}, "If-Modified-Since": {"x"},
		"Accept": {"video/*"}, "Accept-Encoding": {"identity"}, "User-Agent": {"caddy-voyo"}, "Via": {"1.1 caddy-voyo"}, "Cdn-Loop": {"loop"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
	if got := upstreamHeader(resolver.Asset{Kind: resolver.Art}, nil, "").Get("Accept"); got != "image/*" {
		t.Errorf("got Accept %q", got)
	}
	for _, rng := range []string{"bytes=0-1,4-5", "bytes=x", "items=0-1", "bytes=5-4"} {
		got := upstreamHeader(resolver.Asset{}, http.Header{"Range": {rng}, "If-Range": {`"1"`}}, "")
		if got.Get("Range") != "" || got.Get("If-Range") != "" {
			t.Errorf("%q is sent on", rng)
		}
	}
}

func TestIsMedia(t *testing.T) {
	for contentType, want := range map[string]bool{
		"": true, "audio/ogg": true, "audio/ogg; codecs=opus": true, "video/mp4": true, "AUDIO/MPEG": true,
		"application/ogg": true, "application/octet-stream": true, "binary/octet-stream": true, "application/mp4": true,
		"text/html": false, "Text/HTML; charset=utf-8": false, "text/plain": false, "application/json": false, "application/problem+json": false,
		"application/xml": false, "application/xhtml+xml": false, "image/svg+xml": false, "image/jpeg": false, "application/javascript": false,
		"multipart/byteranges; boundary=x": false, "audio": true, "/": false, "audio/ogg; =": false,
	} {
		if got := isMedia(contentType, ""); got != want {
			t.Errorf("%q: got %t", contentType, got)
		}
	}
	// Some servers call plain text what they don't know; then the extension decides.
	for ext, want := range map[string]bool{".opus": true, ".mp4": true, ".txt": false, "": false} {
		if got := isMedia("text/plain; charset=utf-8", ext); got != want {
			t.Errorf("plain text, %q: got %t", ext, got)
		}
	}
	if isMedia("text/html", ".opus") {
		t.Error("an error page is a stream by its name")
	}
}

func TestContentType(t *testing.T) {
	audio, video := resolver.Asset{Kind: resolver.Stream, Type: resolver.Audio}, resolver.Asset{Kind: resolver.Stream, Type: resolver.Video}
	art := resolver.Asset{Kind: resolver.Art}
	for _, c := range []struct {
		asset     resolver.Asset
		sent, url string
		want      string
	}{
		{audio, "", "https://x.example/128/a.opus", "audio/ogg"},
		{audio, "application/octet-stream", "https://x.example/a.OPUS?X-Amz-Signature=.mp3", "audio/ogg"},
		{audio, "binary/octet-stream", "https://x.example/a.ogg", "audio/ogg"},
		{audio, "application/octet-stream; x=y", "https://x.example/a.m4a", "audio/mp4"},
		{audio, "", "https://x.example/a.mp3", "audio/mpeg"},
		{audio, "text/plain", "https://x.example/a.opus", "audio/ogg"},
		{audio, "", "https://x.example/a.webm", "audio/webm"},
		{video, "", "https://x.example/a.webm", "video/webm"},
		{video, "", "https://x.example/a.mp4", "video/mp4"},
		{audio, "audio/webm", "https://x.example/a.opus", "audio/webm"},
		{audio, "", "https://x.example/a", "application/octet-stream"},
		{audio, "", "https://x.example/a.html", "application/octet-stream"},
		{art, "image/jpeg", "https://x.example/a", "image/jpeg"},
		{art, "image/svg+xml", "https://x.example/a.svg", "application/octet-stream"},
		{art, "text/html", "https://x.example/a.jpg", "application/octet-stream"},
		{art, "", "https://x.example/a.jpg", "application/octet-stream"},
	} {
		u, err := url.Parse(c.url)
		if err != nil {
			t.Fatal(err)
		}
		header := http.Header{"Content-Type": {c.sent}}
		setContentType(header, c.asset, path.Ext(u.Path))
		if got := header.Get("Content-Type"); got != c.want {
			t.Errorf("%q from %s: got %q, want %q", c.sent, c.url, got, c.want)
		}
	}
}

func TestAdmitImage(t *testing.T) {
	for head, want := range map[string]string{
		"\xff\xd8\xff\xe0":             "image/jpeg",
		string(testPNG):                "image/png",
		"GIF89a":                       "image/gif",
		"RIFF\x00\x00\x00\x00WEBPVP8 ": "image/webp",
		"\x00\x00\x00\x1cftypavif\x00\x00\x00\x00avifmif1miaf": "image/avif",
		"\x00\x00\x00\x1cftypmif1\x00\x00\x00\x00mif1avifmiaf": "image/avif",
		"\x00\x00\x00\x18ftypavis\x00\x00\x00\x00avis":         "image/avif",
		"\x00\x00\x00\x18ftypisom\x00\x00\x00\x00isomavc1":     "", // a film
		"\x00\x00\x00\x10ftypisomavifavif":                     "", // the brand is beyond its box
		"\x00\x00\x00\x14ftypmif1avifmif1":                     "", // a version that reads like one
		"\xff\xff\xff\xffftypavif\x00\x00\x00\x00":             "image/avif",
		"\x00\x00\x00\x00ftypavif\x00\x00\x00\x00":             "",
		"\x00\x00\x00\x10ftypavi":                              "",
		"BM\x00\x00\x00\x00\x00\x00":                           "",
		"<svg xmlns='http://www.w3.org/2000/svg'>":             "",
		"<?xml version='1.0'?><svg>":                           "",
		"<!DOCTYPE html><script>":                              "",
		"%PDF-1.7":                                             "",
		"{}":                                                   "",
		"":                                                     "",
	} {
		header := http.Header{"Content-Type": {"text/html"}}
		err := admitImage(header, []byte(head))
		if (err == nil) != (want != "") || err == nil && header.Get("Content-Type") != want {
			t.Errorf("%q: got %v, %v, want %q", head, header, err, want)
		}
	}
}
