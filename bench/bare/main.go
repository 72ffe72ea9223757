// Command bare is Caddy with a handler that writes bytes which it has in memory, and does
// nothing else: no cache can take less. It is what the edge is measured against.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

func main() {
	caddy.RegisterModule(new(bare))
	httpcaddyfile.RegisterHandlerDirective("bare", func(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		b := new(bare)
		err := b.UnmarshalCaddyfile(h.Dispenser)
		return b, err
	})
	httpcaddyfile.RegisterDirectiveOrder("bare", httpcaddyfile.Before, "reverse_proxy")
	caddycmd.Main()
}

// bare answers with what its origin has at the same path, which it asks once.
type bare struct {
	// The origin's URL, without a path.
	Origin string `json:"origin,omitempty"`

	// Sends the same header fields as the edge. Default: none but those that any answer
	// needs.
	Header bool `json:"header,omitempty"`

	known sync.Map // of *object, by path
}

type object struct {
	contentType []string
	body        []byte
	length      []string // of the body
}

// CaddyModule returns the Caddy module information.
func (*bare) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.bare", New: func() caddy.Module { return new(bare) }}
}

// UnmarshalCaddyfile reads the directive. Syntax: bare <origin> [header]
func (b *bare) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	args := d.RemainingArgs()
	switch {
	case len(args) == 2 && args[1] == "header":
		b.Header = true
	case len(args) != 1:
		return d.ArgErr()
	}
	b.Origin = args[0]
	return nil
}

// ServeHTTP writes the object, or one range of the form that players ask for.
func (b *bare) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	o, err := b.object(r.Context(), r.URL.Path)
	if err != nil {
		return caddyhttp.Error(http.StatusBadGateway, err)
	}
	h := w.Header()
	h["Content-Type"] = o.contentType
	if b.Header {
		h["Vary"] = []string{"Origin"}
		h["Cross-Origin-Resource-Policy"] = []string{"cross-origin"}
		h["X-Content-Type-Options"] = []string{"nosniff"}
		h["Etag"] = []string{`"v1"`}
		h["Date"] = []string{"Tue, 24 Nov 2026 00:32:27 GMT"}
		h["Accept-Ranges"] = []string{"bytes"}
		h["Cache-Control"] = []string{"public, max-age=3600"}
		h["Age"] = []string{"100"}
		h["Cache-Status"] = []string{"voyo; hit; ttl=86300"}
	}
	var first, last int
	if n, _ := fmt.Sscanf(r.Header.Get("Range"), "bytes=%d-%d", &first, &last); n != 2 || first > last || last >= len(o.body) {
		h["Content-Length"] = o.length
		_, err = w.Write(o.body)
		return err
	}
	h.Set("Content-Length", strconv.Itoa(last+1-first))
	h.Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", first, last, len(o.body)))
	w.WriteHeader(http.StatusPartialContent)
	_, err = w.Write(o.body[first : last+1])
	return err
}

func (b *bare) object(ctx context.Context, path string) (*object, error) {
	if known, ok := b.known.Load(path); ok {
		return known.(*object), nil
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, b.Origin+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode != http.StatusOK:
		return nil, errors.New(resp.Status)
	}
	o := &object{contentType: resp.Header["Content-Type"], body: body, length: []string{strconv.Itoa(len(body))}}
	known, _ := b.known.LoadOrStore(path, o)
	return known.(*object), nil
}
