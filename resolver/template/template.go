// Package template resolves tracks by URL templates.
package template

import (
	"context"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/voyo-music/caddy-voyo/resolver"
	"github.com/voyo-music/caddy-voyo/resolver/internal/guest"
	"github.com/voyo-music/caddy-voyo/resolver/internal/pattern"
)

func init() {
	caddy.RegisterModule(Template{})
}

// Template resolves tracks to URLs that follow from the track alone, such as
// those of a web server or a public bucket.
//
// A template is an absolute `http` or `https` URL. Its parts may come from the
// environment, `{env.NAME}`, or a file, `{file./path}`; both are read when the
// configuration is loaded and must not be empty. Its path and query may have
// these placeholders:
//
// Placeholder | Stands for
// ------------|-----------
// `{http.voyo.id}` | the track's source ID, 11 characters
// `{http.voyo.vyo_id}` | the track's VOYO ID, `vyo_` and 15 characters
// `{http.voyo.kind}` | `stream` or `art`
// `{http.voyo.type}` | `audio` or `video`; not for art
// `{http.voyo.quality}` | `low` or `high`; for art `max`, `high`, `medium` or `default`
// `{http.voyo.bitrate}` | `64` or `128`; not for art
// `{http.voyo.image}` | `maxresdefault`, `hqdefault`, `mqdefault` or `default`; for art only
type Template struct {
	// Where audio is, the first URL that has the track wins. Default: audio is
	// not resolved by this resolver.
	Audio []string `json:"audio,omitempty"`

	// Where video is, likewise. Default: video is not resolved by this resolver.
	Video []string `json:"video,omitempty"`

	// Where cover images are, likewise. Default: art is not resolved by this
	// resolver.
	Art []string `json:"art,omitempty"`

	urls guest.Choice[*pattern.URL]
}

// CaddyModule returns the Caddy module information.
func (Template) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.voyo.resolvers.template",
		New: func() caddy.Module { return new(Template) },
	}
}

// Provision compiles the templates.
func (t *Template) Provision(caddy.Context) error {
	urls, err := guest.NewChoice(caddy.NewReplacer(), t.Audio, t.Video, t.Art, pattern.CompileURL)
	if err != nil {
		return err
	}
	t.urls = urls
	return nil
}

// Resolve returns the asset's candidates.
func (t *Template) Resolve(_ context.Context, a resolver.Asset) (*resolver.Answer, error) {
	urls := t.urls.For(a)
	if len(urls) == 0 {
		return nil, resolver.ErrNotFound
	}
	targets := make([]resolver.Target, len(urls))
	for i, u := range urls {
		targets[i].URL = u.Expand(a)
	}
	return &resolver.Answer{Targets: targets, Computed: true}, nil
}

// Hosts returns the hosts of all templates.
func (t *Template) Hosts() []string {
	all := t.urls.All()
	hosts := make([]string, len(all))
	for i, u := range all {
		hosts[i] = u.HostPort()
	}
	return hosts
}

// Identity covers the templates as they are written, and as they are expanded
// but for the query, which is where keys are.
func (t *Template) Identity() string {
	all := t.urls.All()
	locations := make([]string, len(all))
	for i, u := range all {
		locations[i] = u.Location()
	}
	return guest.Identity("template", t.Audio, t.Video, t.Art, locations)
}

// UnmarshalCaddyfile reads the resolver from the Caddyfile. Syntax:
//
//	template {
//		audio <url>...
//		video <url>...
//		art   <url>...
//	}
func (t *Template) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the module's name
	if d.NextArg() {
		return d.ArgErr()
	}
	for d.NextBlock(0) {
		var err error
		switch d.Val() {
		case "audio":
			err = guest.Candidates(d, &t.Audio, pattern.CompileURL)
		case "video":
			err = guest.Candidates(d, &t.Video, pattern.CompileURL)
		case "art":
			err = guest.Candidates(d, &t.Art, pattern.CompileURL)
		default:
			err = guest.Unknown(d, "art, audio, video")
		}
		if err != nil {
			return err
		}
	}
	if err := guest.CheckChoice(t.Audio, t.Video, t.Art); err != nil {
		return d.WrapErr(err)
	}
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Template)(nil)
	_ caddyfile.Unmarshaler = (*Template)(nil)
	_ resolver.Resolver     = (*Template)(nil)
	_ resolver.HostLister   = (*Template)(nil)
	_ resolver.Identifier   = (*Template)(nil)
)
