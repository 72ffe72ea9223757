// Package api resolves tracks by asking a JSON service.
package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/voyo-music/caddy-voyo/internal/expand"
	"github.com/voyo-music/caddy-voyo/resolver"
	"github.com/voyo-music/caddy-voyo/resolver/internal/guest"
	"github.com/voyo-music/caddy-voyo/resolver/internal/pattern"
)

const (
	defaultFormat  = "voyo"
	defaultTimeout = 8 * time.Second
)

func init() {
	caddy.RegisterModule(API{})
}

// API resolves tracks by asking a JSON service where they are.
//
// Values may come from the environment, `{env.NAME}`, or a file, `{file./path}`;
// both are read when the configuration is loaded and must not be empty. The
// service is asked through the handler's transport. Of a redirect it follows at
// most 5 hops, and sends the configured headers to its own host only.
type API struct {
	// The service's absolute `http` or `https` URL. Required. Its path and query
	// may have the placeholders of the template resolver; without any, the
	// format says what is added to it.
	URL string `json:"url,omitempty"`

	// What the service is asked and answers. Default: `voyo`.
	//
	// `voyo` is VOYO's `/stream`: it adds `v`, `type` and `quality` to the query
	// and reads `url`, for audio also `audioUrl`; relative URLs are the
	// service's own. It has no art.
	//
	// `piped` is the API of Piped: it adds `/streams/` and the source ID to the
	// path. The audio stream whose bitrate is nearest comes first; one below three
	// quarters of it comes after all others, and so does a dubbed or descriptive
	// track. The video stream nearest to 360p, or 720p for high quality, comes
	// first, those without sound last. Playlists are left out. Art is the video's
	// thumbnail, which has one size.
	Format string `json:"format,omitempty"`

	// Headers to send to the service. Default: none but Accept and User-Agent. A
	// header whose name contains auth, cookie, credential, key, password, secret,
	// session, signature or token must take its value from a placeholder.
	Headers map[string]string `json:"headers,omitempty"`

	// How long the service may take for its whole answer. Default: 8s; zero
	// means the default.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	url    *pattern.URL
	format format
	header http.Header
	client *http.Client
}

// CaddyModule returns the Caddy module information.
func (API) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.voyo.resolvers.api",
		New: func() caddy.Module { return new(API) },
	}
}

// Provision expands the configuration and compiles the URL.
func (a *API) Provision(caddy.Context) error {
	if a.Timeout == 0 {
		a.Timeout = caddy.Duration(defaultTimeout)
	}
	repl := caddy.NewReplacer()
	if err := a.compile(repl); err != nil {
		return err
	}
	var err error
	a.header, err = expandHeaders(repl, a.Headers)
	return err
}

// compile expands and compiles the URL, as its format wants it.
func (a *API) compile(repl *caddy.Replacer) error {
	if a.Format == "" {
		a.Format = defaultFormat
	}
	var known bool
	if a.format, known = formats[a.Format]; !known {
		return fmt.Errorf("unknown format %q: must be voyo or piped", a.Format)
	}
	text, err := expand.Template(repl, "url", a.URL)
	if err != nil {
		return err
	}
	if a.url, err = a.format.compile(text); err != nil {
		return fmt.Errorf("url: %w", err)
	}
	return nil
}

// Validate refuses a timeout that makes no sense.
func (a *API) Validate() error {
	if a.Timeout < 0 {
		return errors.New("timeout must not be negative")
	}
	return nil
}

// UseTransport sets what the service is asked through.
func (a *API) UseTransport(rt http.RoundTripper) {
	a.client = &http.Client{Transport: rt, CheckRedirect: a.checkRedirect}
}

// Resolve asks the service.
func (a *API) Resolve(ctx context.Context, asset resolver.Asset) (*resolver.Answer, error) {
	if a.client == nil {
		// http.DefaultTransport would fetch from any host.
		return nil, errors.New("no transport to ask the service through")
	}
	if !slices.Contains(a.format.kinds, asset.Kind) {
		return nil, resolver.ErrNotFound
	}
	ctx, cancel := context.WithTimeout(ctx, time.Duration(a.Timeout))
	defer cancel()
	body, from, err := a.ask(ctx, a.url.Expand(asset))
	if err != nil {
		return nil, err
	}
	return a.format.read(body, from, asset)
}

// Hosts returns the service's host.
func (a *API) Hosts() []string {
	return []string{a.url.HostPort()}
}

// Identity covers the service's URL as it is written, and as it is expanded but
// for the query, which is where keys are; and the headers as they are written.
func (a *API) Identity() string {
	return guest.Identity("api", a.Format, a.URL, a.url.Location(), a.Headers)
}

// UnmarshalCaddyfile reads the resolver from the Caddyfile. Syntax:
//
//	api <url> {
//		format  voyo|piped
//		header  <name> <value>
//		timeout <duration>
//	}
func (a *API) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the module's name
	if err := guest.Value(d, &a.URL); err != nil {
		return err
	}
	for d.NextBlock(0) {
		var err error
		switch d.Val() {
		case "format":
			err = a.unmarshalFormat(d)
		case "header":
			err = a.unmarshalHeader(d)
		case "timeout":
			err = a.unmarshalTimeout(d)
		default:
			err = guest.Unknown(d, "format, header, timeout")
		}
		if err != nil {
			return err
		}
	}
	read := *a // defaults are not for the configuration that is written
	return guest.Check(d, read.compile, a.URL)
}

func (a *API) unmarshalFormat(d *caddyfile.Dispenser) error {
	if err := guest.Value(d, &a.Format); err != nil {
		return err
	}
	if _, known := formats[a.Format]; !known {
		return d.Errf("unknown format %s: must be voyo or piped", a.Format)
	}
	return nil
}

func (a *API) unmarshalHeader(d *caddyfile.Dispenser) error {
	var name, value string
	if !d.AllArgs(&name, &value) {
		return d.ArgErr()
	}
	name = http.CanonicalHeaderKey(name)
	if _, given := a.Headers[name]; given {
		return d.Errf("header %s is already given", name)
	}
	if a.Headers == nil {
		a.Headers = make(map[string]string)
	}
	a.Headers[name] = value
	return guest.Check(d, func(repl *caddy.Replacer) error {
		_, err := expandHeaders(repl, map[string]string{name: value})
		return err
	}, value)
}

func (a *API) unmarshalTimeout(d *caddyfile.Dispenser) error {
	var text string
	if a.Timeout != 0 {
		return d.Err("timeout is already given")
	}
	if err := guest.Value(d, &text); err != nil {
		return err
	}
	timeout, err := caddy.ParseDuration(text)
	if err != nil || timeout <= 0 {
		return d.Errf("invalid timeout %s: must be a positive duration, as in 8s", text)
	}
	a.Timeout = caddy.Duration(timeout)
	return nil
}

// Interface guards
var (
	_ caddy.Provisioner      = (*API)(nil)
	_ caddy.Validator        = (*API)(nil)
	_ caddyfile.Unmarshaler  = (*API)(nil)
	_ resolver.Resolver      = (*API)(nil)
	_ resolver.HostLister    = (*API)(nil)
	_ resolver.Identifier    = (*API)(nil)
	_ resolver.TransportUser = (*API)(nil)
)
