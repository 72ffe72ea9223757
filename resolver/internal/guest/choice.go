package guest

import (
	"errors"
	"fmt"
	"slices"

	"github.com/caddyserver/caddy/v2"

	"github.com/voyo-music/caddy-voyo/internal/expand"
	"github.com/voyo-music/caddy-voyo/resolver"
)

// Choice has the candidates for each thing that a track can have, each list in
// the order in which to try it.
type Choice[T any] struct {
	audio, video, art []T
}

// NewChoice expands and compiles the candidates of a configuration, of which
// there must be at least one.
func NewChoice[T any](
	repl *caddy.Replacer, audio, video, art []string,
	compile func(text string, kinds ...resolver.Kind) (T, error),
) (Choice[T], error) {
	var c Choice[T]
	if err := CheckChoice(audio, video, art); err != nil {
		return c, err
	}
	for _, list := range []struct {
		name  string
		kind  resolver.Kind
		texts []string
		to    *[]T
	}{
		{"audio", resolver.Stream, audio, &c.audio},
		{"video", resolver.Stream, video, &c.video},
		{"art", resolver.Art, art, &c.art},
	} {
		for i, text := range list.texts {
			compiled, err := candidate(repl, list.name, i, list.kind, text, compile)
			if err != nil {
				return Choice[T]{}, err
			}
			*list.to = append(*list.to, compiled)
		}
	}
	return c, nil
}

// CheckChoice checks that there is something to choose from.
func CheckChoice(audio, video, art []string) error {
	if len(audio)+len(video)+len(art) == 0 {
		return errors.New("at least one of audio, video and art is needed")
	}
	return nil
}

// candidate expands and compiles the candidate at a position in the list named.
func candidate[T any](
	repl *caddy.Replacer, list string, i int, kind resolver.Kind, text string,
	compile func(text string, kinds ...resolver.Kind) (T, error),
) (compiled T, err error) {
	field := fmt.Sprintf("%s, candidate %d", list, i+1)
	if text, err = expand.Template(repl, field, text); err != nil {
		return compiled, err
	}
	if compiled, err = compile(text, kind); err != nil {
		return compiled, fmt.Errorf("%s: %w", field, err)
	}
	return compiled, nil
}

// For returns the candidates for an asset; none if there are none.
func (c Choice[T]) For(a resolver.Asset) []T {
	switch {
	case a.Kind == resolver.Art:
		return c.art
	case a.Type == resolver.Video:
		return c.video
	default:
		return c.audio
	}
}

// All returns every candidate.
func (c Choice[T]) All() []T {
	return slices.Concat(c.audio, c.video, c.art)
}
