package api

import (
	"cmp"
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/voyo-music/caddy-voyo/resolver"
)

// maxStreams is how many streams of a kind are looked at. Piped names some thirty.
const maxStreams = 100

// pipedAnswer is what Piped answers to /streams/{id}, as far as it matters here. Of
// arrays, encoding/json drops what is too much: in memory, streams may take fifty
// times what they take in JSON.
type pipedAnswer struct {
	AudioStreams [maxStreams]pipedStream `json:"audioStreams"`
	VideoStreams [maxStreams]pipedStream `json:"videoStreams"`
	ThumbnailURL string                  `json:"thumbnailUrl"`
}

type pipedStream struct {
	URL            string  `json:"url"`
	MIMEType       string  `json:"mimeType"`
	Quality        string  `json:"quality"` // such as "128 kbps" and "720p60"
	Bitrate        float64 `json:"bitrate"` // in bit/s
	Height         float64 `json:"height"`
	VideoOnly      bool    `json:"videoOnly"`
	AudioTrackType string  `json:"audioTrackType"` // ORIGINAL, DUBBED, DESCRIPTIVE or absent
}

// rank orders streams: those that are second choice come last, then the nearest
// comes first.
type rank struct {
	second   bool
	distance float64
}

func completePiped(service string) string {
	path, query, found := strings.Cut(service, "?")
	path = strings.TrimSuffix(path, "/") + "/streams/{http.voyo.id}"
	if found {
		return path + "?" + query
	}
	return path
}

func locationsPiped(body []byte, a resolver.Asset) ([]string, error) {
	var answer pipedAnswer
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, errMalformed
	}
	switch {
	case a.Kind == resolver.Art:
		return []string{answer.ThumbnailURL}, nil
	case a.Type == resolver.Video:
		height := 720.0
		if a.Bitrate == resolver.LowBitrate {
			height = 360
		}
		return nearest(answer.VideoStreams[:], func(s pipedStream) rank { return s.videoRank(height) }), nil
	default:
		bitrate := float64(a.Bitrate) * 1000
		return nearest(answer.AudioStreams[:], func(s pipedStream) rank { return s.audioRank(bitrate) }), nil
	}
}

// nearest returns the streams' URLs by rank, without the playlists and those that have
// none.
func nearest(streams []pipedStream, rankOf func(pipedStream) rank) []string {
	streams = slices.DeleteFunc(streams, func(s pipedStream) bool {
		return s.URL == "" || strings.Contains(strings.ToLower(s.MIMEType), "mpegurl")
	})
	slices.SortStableFunc(streams, func(s, t pipedStream) int {
		a, b := rankOf(s), rankOf(t)
		if a.second != b.second {
			if a.second {
				return 1
			}
			return -1
		}
		return cmp.Compare(a.distance, b.distance)
	})
	locations := make([]string, len(streams))
	for i, s := range streams {
		locations[i] = s.URL
	}
	return locations
}

// audioRank puts a stream that is noticeably worse than what was asked for
// behind all others, and one that is not the original behind it.
func (s pipedStream) audioRank(bitrate float64) rank {
	has := s.Bitrate
	if has <= 0 {
		has = leadingNumber(s.Quality) * 1000
	}
	translated := s.AudioTrackType != "" && s.AudioTrackType != "ORIGINAL"
	return rank{second: translated || has < bitrate*3/4, distance: math.Abs(has - bitrate)}
}

// videoRank puts a stream that has no sound behind all others.
func (s pipedStream) videoRank(height float64) rank {
	has := s.Height
	if has <= 0 {
		has = leadingNumber(s.Quality)
	}
	return rank{second: s.VideoOnly, distance: math.Abs(has - height)}
}

// leadingNumber returns the number that a text begins with, 0 if with none.
func leadingNumber(text string) float64 {
	end := strings.IndexFunc(text, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		end = len(text)
	}
	n, err := strconv.ParseFloat(text[:end], 64)
	if err != nil {
		return 0
	}
	return n
}
