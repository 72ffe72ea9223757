package voyo

import (
	"net/http/httptest"
	"testing"

	"github.com/voyo-music/caddy-voyo/resolver"
)

const (
	testID   = "OSBan_sH_b8"
	testVOYO = "vyo_T1NCYW5fc0hfYjg"
)

func TestRoutes(t *testing.T) {
	stream := func(typ resolver.Type, bitrate int) resolver.Asset {
		return resolver.Asset{ID: testID, Kind: resolver.Stream, Type: typ, Bitrate: bitrate}
	}
	art := func(image string) resolver.Asset {
		return resolver.Asset{ID: testID, Kind: resolver.Art, Image: image}
	}
	for target, want := range map[string]request{
		"/cdn/stream/" + testVOYO: {endpointStream, stream(resolver.Audio, 128), testVOYO, "high"},
		"/cdn/stream/" + testID:   {endpointStream, stream(resolver.Audio, 128), testID, "high"},

		"/cdn/stream/" + testID + "?type=video&quality=low": {endpointStream, stream(resolver.Video, 64), testID, "low"},
		"/cdn/stream/" + testID + "?quality=medium":         {endpointStream, stream(resolver.Audio, 128), testID, "medium"},
		"/cdn/stream/" + testID + "?type=x&quality=x":       {endpointStream, stream(resolver.Audio, 128), testID, "high"},
		"/cdn/stream/" + testID + "?quality=low&quality=high&type=video&type=audio": {
			endpointStream, stream(resolver.Video, 64), testID, "low",
		},
		"/cdn/stream/" + testID + "?q=low": {endpointStream, stream(resolver.Audio, 128), testID, "high"},

		"/cdn/art/" + testVOYO:                   {endpointArt, art("hqdefault"), testVOYO, "high"},
		"/cdn/art/" + testID + "?quality=max":    {endpointArt, art("maxresdefault"), testID, "max"},
		"/cdn/art/" + testID + "?quality=medium": {endpointArt, art("mqdefault"), testID, "medium"},
		"/cdn/art/" + testID + "?quality=tiny":   {endpointArt, art("hqdefault"), testID, "high"},

		"/proxy?v=" + testVOYO + "&type=video&quality=medium": {endpointStream, stream(resolver.Video, 128), testVOYO, "medium"},
		"/proxy?v=" + testID + "&v=x":                         {endpointStream, stream(resolver.Audio, 128), testID, "high"},
		"/thumbnail?id=" + testID + "&quality=default":        {endpointArt, art("default"), testID, "default"},
		"/audio/" + testID + "?q=low":                         {endpointStream, stream(resolver.Audio, 64), testID, "low"},
		"/audio/" + testID + "?type=video":                    {endpointStream, stream(resolver.Audio, 128), testID, "high"},
		"/audio/" + testID + "?=video":                        {endpointStream, stream(resolver.Audio, 128), testID, "high"},
		"/thumb/" + testID + "?q=maxresdefault":               {endpointArt, art("maxresdefault"), testID, "max"},
		"/exists/" + testVOYO:                                 {endpointExists, stream(resolver.Audio, 128), testVOYO, "high"},
		"/exists/" + testVOYO + "?=video&=low":                {endpointExists, stream(resolver.Audio, 128), testVOYO, "high"},
		"/stream?v=" + testVOYO + "&quality=low":              {endpointLocate, stream(resolver.Audio, 64), testVOYO, "low"},
		"/prefetch?v=" + testID + "&type=video":               {endpointPrefetch, stream(resolver.Video, 128), testID, "high"},
		"/health":                                             {endpoint: endpointHealth},
		"/health?x=y":                                         {endpoint: endpointHealth},
	} {
		u := httptest.NewRequest("GET", target, nil).URL
		at, ours := locate(u)
		if !ours {
			t.Errorf("%s: not ours", target)
			continue
		}
		got, err := at.parse(u, true)
		if err != nil || got != want {
			t.Errorf("%s:\n got %+v, %v\nwant %+v", target, got, err, want)
		}
	}
}

func TestRoutesOfOthers(t *testing.T) {
	for _, target := range []string{
		"/", "/index.html", "/cdn", "/cdn/", "/cdn/stream", "/cdn/streamX", "/cdn/streams/" + testID, "/CDN/stream/" + testID,
		"/cdn%2Fstream/" + testID, "/x/cdn/stream/" + testID, "/health/", "/healthz", "/proxy/", "/proxyv=" + testID,
		"/thumbnail/" + testID, "/stream/", "/prefetch/x", "/audio", "/thumb", "/exists", "/api/track",
	} {
		if at, ours := locate(httptest.NewRequest("GET", target, nil).URL); ours {
			t.Errorf("%s is taken for %s", target, at.path)
		}
	}
}

func TestInvalidIDs(t *testing.T) {
	for _, target := range []string{
		"/cdn/stream/", "/cdn/stream/a/b", "/cdn/stream/%2F..", "/cdn/stream/..", "/cdn/stream/" + testID + "/", "/cdn/stream//" + testID,
		"/cdn/stream/" + testID + "%2F", "/cdn/stream/" + testID + "/" + testID, "/cdn/stream/" + testID + "a", "/cdn/stream/OSBan_sH_b",
		"/cdn/stream/%4FSBan_sH_b8", "/cdn/stream/OSBan%5FsH_b8", "/cdn/stream/OSBan_sH_b%00", "/cdn/stream/OSBan_sH_b8%20", "/cdn/stream/OSBan+sH+b8",
		"/cdn/stream/" + testVOYO + "=", "/cdn/stream/vyo_T1NCYW5fc0hfYjh", "/cdn/stream/VYO_T1NCYW5fc0hfYjg", "/cdn/stream/vyo_",
		"/cdn/art/", "/cdn/art/x", "/audio/", "/thumb/a/b", "/exists/", "/exists/" + testID + "%2f",
		"/proxy", "/proxy?v=", "/proxy?id=" + testID, "/proxy?v=x&v=" + testID, "/proxy?V=" + testID, "/proxy?v=" + testID + "%2F",
		"/thumbnail", "/thumbnail?v=" + testID, "/stream", "/prefetch", "/prefetch?v=%zz",
	} {
		u := httptest.NewRequest("GET", target, nil).URL
		at, ours := locate(u)
		if !ours {
			t.Errorf("%s: not ours", target)
			continue
		}
		if req, err := at.parse(u, true); err == nil {
			t.Errorf("%s: taken for %+v", target, req)
		}
	}
}

func TestRawIDsOff(t *testing.T) {
	for target, valid := range map[string]bool{
		"/cdn/stream/" + testID:         false,
		"/cdn/stream/" + testVOYO:       true,
		"/proxy?v=" + testID:            false,
		"/proxy?v=" + testVOYO:          true,
		"/cdn/art/vyo_ABCDEFG":          false, // a source ID that looks like a VOYO ID
		"/health":                       true,
		"/exists/" + testID:             false,
		"/thumbnail?id=" + testVOYO:     true,
		"/prefetch?v=" + testID + "&x=": false,
	} {
		u := httptest.NewRequest("GET", target, nil).URL
		at, _ := locate(u)
		if _, err := at.parse(u, false); (err == nil) != valid {
			t.Errorf("%s: got %v, want valid: %t", target, err, valid)
		}
	}
}
