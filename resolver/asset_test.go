package resolver

import (
	"slices"
	"testing"
)

const testID ID = "dQw4w9WgXcQ"

func TestAsset(t *testing.T) {
	for _, tt := range []struct {
		asset        Asset
		key, quality string
		alternatives []Asset
	}{
		{
			stream(Audio, 64), "stream/dQw4w9WgXcQ/audio/64", "low",
			[]Asset{stream(Audio, 64), stream(Audio, 128)},
		}, {
			stream(Audio, 128), "stream/dQw4w9WgXcQ/audio/128", "high",
			[]Asset{stream(Audio, 128), stream(Audio, 64)},
		}, {
			stream(Video, 128), "stream/dQw4w9WgXcQ/video/128", "high",
			[]Asset{stream(Video, 128), stream(Video, 64)},
		}, {
			art("maxresdefault"), "art/dQw4w9WgXcQ/maxresdefault", "max",
			[]Asset{art("maxresdefault"), art("hqdefault"), art("mqdefault"), art("default")},
		}, {
			art("hqdefault"), "art/dQw4w9WgXcQ/hqdefault", "high",
			[]Asset{art("hqdefault"), art("mqdefault"), art("default")},
		}, {
			art("mqdefault"), "art/dQw4w9WgXcQ/mqdefault", "medium",
			[]Asset{art("mqdefault"), art("default")},
		}, {
			art("default"), "art/dQw4w9WgXcQ/default", "default",
			[]Asset{art("default")},
		}, {
			art(""), "art/dQw4w9WgXcQ/", "", // made by nobody, but nothing breaks of it
			[]Asset{art(""), art("maxresdefault"), art("hqdefault"), art("mqdefault"), art("default")},
		},
	} {
		t.Run(tt.key, func(t *testing.T) {
			if got := tt.asset.Key(); got != tt.key {
				t.Errorf("key is %q", got)
			}
			if got := tt.asset.Quality(); got != tt.quality {
				t.Errorf("quality is %q, want %q", got, tt.quality)
			}
			if got := tt.asset.Alternatives(); !slices.Equal(got, tt.alternatives) {
				t.Errorf("alternatives are %v, want %v", got, tt.alternatives)
			}
		})
	}
}

func TestParseWords(t *testing.T) {
	for word, want := range map[string]Type{
		"audio": Audio, "video": Video, "": Audio, "Video": Audio, "flac": Audio,
	} {
		if got := ParseType(word); got != want {
			t.Errorf("ParseType(%q) = %q, want %q", word, got, want)
		}
	}
	for word, want := range map[string]int{
		"low": 64, "medium": 128, "high": 128, "": 128, "LOW": 128, "64": 128,
	} {
		if got := ParseBitrate(word); got != want {
			t.Errorf("ParseBitrate(%q) = %d, want %d", word, got, want)
		}
	}
	for word, want := range map[string]string{
		"max": "maxresdefault", "high": "hqdefault", "medium": "mqdefault", "default": "default",
		"maxresdefault": "maxresdefault", "hqdefault": "hqdefault", "mqdefault": "mqdefault",
		"": "hqdefault", "huge": "hqdefault", "../max": "hqdefault", "Max": "hqdefault",
	} {
		if got := ParseImage(word); got != want {
			t.Errorf("ParseImage(%q) = %q, want %q", word, got, want)
		}
	}
}

func stream(typ Type, bitrate int) Asset {
	return Asset{ID: testID, Kind: Stream, Type: typ, Bitrate: bitrate}
}

func art(image string) Asset {
	return Asset{ID: testID, Kind: Art, Image: image}
}

func TestAssets(t *testing.T) {
	keys := make(map[string]bool)
	for _, a := range ID("OSBan_sH_b8").Assets() {
		keys[a.Key()] = true
		for _, other := range a.Alternatives() {
			if !slices.Contains(a.ID.Assets(), other) {
				t.Errorf("%s is not listed", other.Key())
			}
		}
	}
	if len(keys) != 8 {
		t.Errorf("got %d: %v", len(keys), keys)
	}
}
