// Package pattern compiles texts with placeholders for a track's asset, such as
// {http.voyo.id}, into parts that are cheap to join for each request.
package pattern

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/voyo-music/caddy-voyo/resolver"
)

const prefix = "http.voyo."

// values are what the placeholders stand for. Each consists of characters that
// need no escaping in a URL, and is empty for a kind that has no such thing.
var values = map[string]func(resolver.Asset) string{
	"id":      func(a resolver.Asset) string { return a.ID.String() },
	"vyo_id":  func(a resolver.Asset) string { return a.ID.VOYO() },
	"kind":    func(a resolver.Asset) string { return string(a.Kind) },
	"type":    func(a resolver.Asset) string { return string(a.Type) },
	"quality": resolver.Asset.Quality,
	"bitrate": func(a resolver.Asset) string {
		if a.Kind == resolver.Art {
			return ""
		}
		return strconv.Itoa(a.Bitrate)
	},
	"image": func(a resolver.Asset) string { return a.Image },
}

// samples are assets to try a placeholder on.
var samples = map[resolver.Kind]resolver.Asset{
	resolver.Stream: {ID: "AAAAAAAAAAA", Kind: resolver.Stream, Type: resolver.Audio, Bitrate: resolver.HighBitrate},
	resolver.Art:    {ID: "AAAAAAAAAAA", Kind: resolver.Art, Image: "hqdefault"},
}

// Pattern is a compiled text. The zero value is the empty text.
type Pattern struct {
	parts []part
}

// part is either a literal or, if value is not nil, a placeholder.
type part struct {
	literal string
	value   func(resolver.Asset) string
}

// Compile reads a text that will be expanded for assets of these kinds. A
// placeholder that none of them fills is an error.
func Compile(text string, kinds ...resolver.Kind) (Pattern, error) {
	var p Pattern
	for rest := text; rest != ""; {
		literal, after, found := strings.Cut(rest, "{")
		if strings.Contains(literal, "}") {
			return Pattern{}, errors.New("closing brace without an opening one")
		}
		if literal != "" {
			p.parts = append(p.parts, part{literal: literal})
		}
		if !found {
			break
		}
		key, next, closed := strings.Cut(after, "}")
		if !closed {
			return Pattern{}, errors.New("unclosed placeholder")
		}
		value, err := lookup(key, kinds)
		if err != nil {
			return Pattern{}, err
		}
		p.parts = append(p.parts, part{value: value})
		rest = next
	}
	return p, nil
}

func lookup(key string, kinds []resolver.Kind) (func(resolver.Asset) string, error) {
	name, ours := strings.CutPrefix(key, prefix)
	if !ours {
		// It may be part of a secret that the text was expanded with: don't show it.
		return nil, errors.New("unknown placeholder in an expanded value")
	}
	value, known := values[name]
	if !known {
		return nil, fmt.Errorf("unknown placeholder {%s}", key)
	}
	for _, kind := range kinds {
		if value(samples[kind]) == "" {
			return nil, fmt.Errorf("placeholder {%s} is empty for kind %s", key, kind)
		}
	}
	return value, nil
}

// Expand returns the text for one asset.
func (p Pattern) Expand(a resolver.Asset) string {
	var sb strings.Builder
	for _, part := range p.parts {
		if part.value != nil {
			sb.WriteString(part.value(a))
			continue
		}
		sb.WriteString(part.literal)
	}
	return sb.String()
}

// Map returns the pattern with its literals passed through f.
func (p Pattern) Map(f func(string) string) Pattern {
	parts := make([]part, len(p.parts))
	for i, part := range p.parts {
		if part.value == nil {
			part.literal = f(part.literal)
		}
		parts[i] = part
	}
	return Pattern{parts: parts}
}
