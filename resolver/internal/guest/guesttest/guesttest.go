// Package guesttest loads resolvers for tests as Caddy loads them.
package guesttest

import (
	"context"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/voyo-music/caddy-voyo/internal/expand"
	"github.com/voyo-music/caddy-voyo/resolver"
)

const namespace = "http.voyo.resolvers."

// Track is the track that tests ask for.
const Track = resolver.ID("OSBan_sH_b8")

// Assets of Track.
var (
	Audio    = resolver.Asset{ID: Track, Kind: resolver.Stream, Type: resolver.Audio, Bitrate: resolver.HighBitrate}
	LowAudio = resolver.Asset{ID: Track, Kind: resolver.Stream, Type: resolver.Audio, Bitrate: resolver.LowBitrate}
	Video    = resolver.Asset{ID: Track, Kind: resolver.Stream, Type: resolver.Video, Bitrate: resolver.HighBitrate}
	LowVideo = resolver.Asset{ID: Track, Kind: resolver.Stream, Type: resolver.Video, Bitrate: resolver.LowBitrate}
	Art      = resolver.Asset{ID: Track, Kind: resolver.Art, Image: "maxresdefault"}
)

// Adapt returns the JSON of a resolver's Caddyfile segment, which begins with
// its name.
func Adapt(segment string) (string, error) {
	d := caddyfile.NewTestDispenser(segment)
	d.Next()
	module, err := caddyfile.UnmarshalModule(d, namespace+d.Val())
	if err != nil {
		return "", err
	}
	config, err := json.Marshal(module)
	return string(config), err
}

// CheckAdapt checks that a segment becomes the JSON, or the error where one is
// given.
func CheckAdapt(t *testing.T, segment, want, wantErr string) {
	t.Helper()
	got, err := Adapt(segment)
	if wantErr != "" {
		if err == nil || err.Error() != wantErr {
			t.Errorf("got error %v, want %s", err, wantErr)
		}
		return
	}
	if err != nil || got != want {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
}

// where ends an error that names the line.
var where = regexp.MustCompile(`, at Testfile:\d+$`)

// CheckRefused checks that a segment is refused, with the error given, which does not
// hold the secret: when it is adapted, with the line, or if it has placeholders when it is
// loaded.
func CheckRefused(t *testing.T, segment, want, secret string) {
	t.Helper()
	config, err := Adapt(segment)
	adapted := err == nil
	if adapted && expand.Holds(segment) {
		_, err = load(t, segment, config)
	}
	if err == nil || adapted != !where.MatchString(err.Error()) || !strings.HasSuffix(": "+where.ReplaceAllString(err.Error(), ""), ": "+want) {
		t.Fatalf("got %v, want %s", err, want)
	}
	if strings.Contains(err.Error(), secret) {
		t.Errorf("error holds a secret: %v", err)
	}
}

// Load loads a resolver from its Caddyfile segment, by way of JSON.
func Load(t *testing.T, segment string) (resolver.Resolver, error) {
	t.Helper()
	config, err := Adapt(segment)
	if err != nil {
		t.Fatalf("adapting: %v", err)
	}
	return load(t, segment, config)
}

func load(t *testing.T, segment, config string) (resolver.Resolver, error) {
	t.Helper()
	d := caddyfile.NewTestDispenser(segment)
	d.Next()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	module, err := ctx.LoadModuleByID(namespace+d.Val(), json.RawMessage(config))
	if err != nil {
		return nil, err
	}
	return module.(resolver.Resolver), nil
}

// MustLoad is Load for a segment that is right.
func MustLoad(t *testing.T, segment string) resolver.Resolver {
	t.Helper()
	r, err := Load(t, segment)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// URLs returns an answer's URLs.
func URLs(answer *resolver.Answer) []string {
	urls := make([]string, len(answer.Targets))
	for i, target := range answer.Targets {
		urls[i] = target.URL.String()
	}
	return urls
}
