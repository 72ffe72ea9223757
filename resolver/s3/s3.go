// Package s3 resolves tracks to presigned reads from a bucket.
package s3

import (
	"context"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/voyo-music/caddy-voyo/internal/expand"
	"github.com/voyo-music/caddy-voyo/resolver"
	"github.com/voyo-music/caddy-voyo/resolver/internal/guest"
	"github.com/voyo-music/caddy-voyo/resolver/internal/pattern"
)

const defaultRegion = "auto"

func init() {
	caddy.RegisterModule(S3{})
}

// S3 resolves tracks to objects in a bucket of Amazon S3, Cloudflare R2 or
// another store with their API. The bucket stays private: each URL is signed
// for a GET and works for 6 hours. Signing asks nobody, so the store is first
// contacted when the bytes are read. Buckets are addressed by path.
//
// Values may come from the environment, `{env.NAME}`, or a file, `{file./path}`;
// both are read when the configuration is loaded and must not be empty. Object
// keys have the placeholders of the template resolver.
type S3 struct {
	// The store's `http` or `https` URL, without a path. Required.
	Endpoint string `json:"endpoint,omitempty"`

	// The bucket's name. Required.
	Bucket string `json:"bucket,omitempty"`

	// The region that requests are signed for. Default: `auto`, which R2 and
	// most stores other than Amazon's take.
	Region string `json:"region,omitempty"`

	// The keys under which audio is kept, the first one that exists wins.
	// Default: audio is not resolved by this resolver.
	Audio []string `json:"audio,omitempty"`

	// The keys for video, likewise. Default: video is not resolved by this
	// resolver.
	Video []string `json:"video,omitempty"`

	// The keys for cover images, likewise. Default: art is not resolved by this
	// resolver.
	Art []string `json:"art,omitempty"`

	// The access key's ID. Required, and a placeholder: a credential written
	// here is refused.
	AccessKey string `json:"access_key,omitempty"`

	// The access key's secret. Required, and a placeholder likewise.
	SecretKey string `json:"secret_key,omitempty"`

	base        url.URL // the bucket's
	region      string
	keys        guest.Choice[key]
	credentials aws.Credentials
	signer      *v4.Signer
	now         func() time.Time
}

// CaddyModule returns the Caddy module information.
func (S3) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.voyo.resolvers.s3",
		New: func() caddy.Module { return new(S3) },
	}
}

// Provision expands the configuration and compiles the keys.
func (s *S3) Provision(caddy.Context) error {
	repl := caddy.NewReplacer()
	if err := s.provisionBucket(repl); err != nil {
		return err
	}
	var err error
	if s.keys, err = guest.NewChoice(repl, s.Audio, s.Video, s.Art, compileKey); err != nil {
		return err
	}
	if s.credentials.AccessKeyID, err = expand.Secret(repl, "access_key", s.AccessKey); err != nil {
		return err
	}
	if s.credentials.SecretAccessKey, err = expand.Secret(repl, "secret_key", s.SecretKey); err != nil {
		return err
	}
	s.signer = v4.NewSigner(func(o *v4.SignerOptions) {
		o.DisableURIPathEscaping = true // keys are escaped already; S3 wants that done once
	})
	s.now = time.Now
	return nil
}

// Resolve returns signed URLs for the asset's candidates.
func (s *S3) Resolve(ctx context.Context, a resolver.Asset) (*resolver.Answer, error) {
	keys := s.keys.For(a)
	if len(keys) == 0 {
		return nil, resolver.ErrNotFound
	}
	now := s.now().Truncate(time.Second) // as it is signed
	targets := make([]resolver.Target, len(keys))
	for i, k := range keys {
		u, err := s.sign(ctx, k, a, now)
		if err != nil {
			return nil, err
		}
		targets[i].URL = u
	}
	return &resolver.Answer{Targets: targets, Expires: now.Add(lifetime)}, nil
}

// Hosts returns the endpoint's host.
func (s *S3) Hosts() []string {
	return []string{pattern.HostPort(&s.base)}
}

// Identity covers the bucket and its keys, but not the credentials.
func (s *S3) Identity() string {
	all := s.keys.All()
	keys := make([]string, len(all))
	for i, k := range all {
		keys[i] = k.text
	}
	return guest.Identity("s3", s.base.String(), s.region, s.Audio, s.Video, s.Art, keys)
}

// UnmarshalCaddyfile reads the resolver from the Caddyfile. Syntax:
//
//	s3 {
//		endpoint <url>
//		bucket <name>
//		region <name>
//		audio <key>...
//		video <key>...
//		art   <key>...
//		access_key <placeholder>
//		secret_key <placeholder>
//	}
func (s *S3) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the module's name
	if d.NextArg() {
		return d.ArgErr()
	}
	values := map[string]*string{
		"endpoint":   &s.Endpoint,
		"bucket":     &s.Bucket,
		"region":     &s.Region,
		"access_key": &s.AccessKey,
		"secret_key": &s.SecretKey,
	}
	lists := map[string]*[]string{
		"audio": &s.Audio,
		"video": &s.Video,
		"art":   &s.Art,
	}
	for d.NextBlock(0) {
		var err error
		if value, ok := values[d.Val()]; ok {
			err = guest.Value(d, value)
		} else if list, ok := lists[d.Val()]; ok {
			err = guest.Candidates(d, list, compileKey)
		} else {
			err = guest.Unknown(d, "access_key, art, audio, bucket, endpoint, region, secret_key, video")
		}
		if err != nil {
			return err
		}
	}
	if err := s.checkBlock(); err != nil {
		return d.WrapErr(err)
	}
	return guest.Check(d, s.provisionBucket, s.Endpoint, s.Bucket, s.Region)
}

// checkBlock checks that what is required was given.
func (s *S3) checkBlock() error {
	if err := guest.CheckChoice(s.Audio, s.Video, s.Art); err != nil {
		return err
	}
	if err := expand.CheckSecret("access_key", s.AccessKey); err != nil {
		return err
	}
	return expand.CheckSecret("secret_key", s.SecretKey)
}

// Interface guards
var (
	_ caddy.Provisioner     = (*S3)(nil)
	_ caddyfile.Unmarshaler = (*S3)(nil)
	_ resolver.Resolver     = (*S3)(nil)
	_ resolver.HostLister   = (*S3)(nil)
	_ resolver.Identifier   = (*S3)(nil)
)
