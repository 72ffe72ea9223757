package s3

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"

	"github.com/voyo-music/caddy-voyo/internal/expand"
	"github.com/voyo-music/caddy-voyo/resolver/internal/pattern"
)

func (s *S3) provisionBucket(repl *caddy.Replacer) error {
	endpoint, err := expand.Value(repl, "endpoint", s.Endpoint)
	if err != nil {
		return err
	}
	base, err := pattern.ParseEndpoint(endpoint)
	if err != nil {
		return fmt.Errorf("endpoint: %w", err)
	}
	if strings.Trim(base.Path, "/") != "" || strings.ContainsAny(endpoint, "?#") {
		return errors.New("endpoint: only scheme, host and port are allowed")
	}
	bucket, err := name(repl, "bucket", s.Bucket)
	if err != nil {
		return err
	}
	region := s.Region
	if region == "" {
		region = defaultRegion
	}
	if s.region, err = name(repl, "region", region); err != nil {
		return err
	}
	s.base = url.URL{Scheme: base.Scheme, Host: base.Host, Path: "/" + bucket}
	return nil
}

// name expands a value that becomes part of paths and signatures as it is.
func name(repl *caddy.Replacer, field, value string) (string, error) {
	expanded, err := expand.Value(repl, field, value)
	if err != nil {
		return "", err
	}
	valid := func(r rune) bool {
		return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("-._", r)
	}
	if strings.Trim(expanded, ".") == "" || strings.ContainsFunc(expanded, func(r rune) bool { return !valid(r) }) {
		return "", fmt.Errorf("%s: must be a name of letters, digits, '-', '.' and '_'", field)
	}
	return expanded, nil
}
