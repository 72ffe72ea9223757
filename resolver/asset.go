package resolver

import (
	"slices"
	"strconv"
)

// Kind is what of a track is asked for.
type Kind string

// The kinds.
const (
	Stream Kind = "stream"
	Art    Kind = "art"
)

// Type is the medium of a stream.
type Type string

// The types.
const (
	Audio Type = "audio"
	Video Type = "video"
)

// The bitrates that VOYO keeps, in kbit/s. High stands for "128 and up".
const (
	LowBitrate  = 64
	HighBitrate = 128
)

// images are the names of cover images, the largest first.
var images = [...]string{"maxresdefault", "hqdefault", "mqdefault", "default"}

// imageQualities are the names that VOYO's clients have for images, in the same order.
var imageQualities = [...]string{"max", "high", "medium", "default"}

// Asset is one thing that can be fetched of a track, and what a cache entry is
// named after. It is comparable.
type Asset struct {
	ID   ID
	Kind Kind

	Type    Type // of a stream; empty for art
	Bitrate int  // of a stream, in kbit/s: LowBitrate or HighBitrate; 0 for art

	Image string // of art: maxresdefault, hqdefault, mqdefault or default; empty for a stream
}

// Key returns the asset's cache key: kind, ID and variant. It never depends on
// an upstream URL, which expires and rotates.
func (a Asset) Key() string {
	if a.Kind == Art {
		return "art/" + string(a.ID) + "/" + a.Image
	}
	return "stream/" + string(a.ID) + "/" + string(a.Type) + "/" + strconv.Itoa(a.Bitrate)
}

// Quality returns the name that VOYO's clients have for the variant: low or high
// for a stream; max, high, medium or default for art.
func (a Asset) Quality() string {
	switch {
	case a.Kind == Art:
		if i := slices.Index(images[:], a.Image); i >= 0 {
			return imageQualities[i]
		}
		return ""
	case a.Bitrate == LowBitrate:
		return "low"
	default:
		return "high"
	}
}

// Alternatives returns the assets that may be served for a, in order, a itself
// first: a smaller cover where a size is missing, the other bitrate where there
// is only one. The caller owns the slice.
func (a Asset) Alternatives() []Asset {
	alts := []Asset{a}
	if a.Kind == Stream {
		other := a
		other.Bitrate = HighBitrate
		if a.Bitrate == HighBitrate {
			other.Bitrate = LowBitrate
		}
		return append(alts, other)
	}
	for _, image := range images[slices.Index(images[:], a.Image)+1:] {
		smaller := a
		smaller.Image = image
		alts = append(alts, smaller)
	}
	return alts
}

// Assets returns all that can be kept of a track: each stream and each cover.
func (id ID) Assets() []Asset {
	var all []Asset
	for _, typ := range []Type{Audio, Video} {
		for _, bitrate := range []int{LowBitrate, HighBitrate} {
			all = append(all, Asset{ID: id, Kind: Stream, Type: typ, Bitrate: bitrate})
		}
	}
	for _, image := range images {
		all = append(all, Asset{ID: id, Kind: Art, Image: image})
	}
	return all
}

// ParseType reads a client's word for a type. Words that it does not know are Audio.
func ParseType(s string) Type {
	if s == string(Video) {
		return Video
	}
	return Audio
}

// ParseBitrate reads a client's word for a stream's quality and returns a
// bitrate in kbit/s. Words that it does not know are HighBitrate, as are
// "medium" and "high", which share a cache entry.
func ParseBitrate(quality string) int {
	if quality == "low" {
		return LowBitrate
	}
	return HighBitrate
}

// ParseImage reads a client's word for an image, which is a quality (max, high,
// medium, default) or the image's own name. Words that it does not know are
// hqdefault.
func ParseImage(quality string) string {
	if i := slices.Index(imageQualities[:], quality); i >= 0 {
		return images[i]
	}
	if i := slices.Index(images[:], quality); i >= 0 {
		return images[i]
	}
	return "hqdefault"
}
