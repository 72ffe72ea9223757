package s3

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/smithy-go/encoding/httpbinding"

	"github.com/voyo-music/caddy-voyo/resolver"
	"github.com/voyo-music/caddy-voyo/resolver/internal/pattern"
)

// lifetime is how long a signed URL works. It outlives the 4 hours for which a
// location is kept by default, and a long song begun at their end.
const lifetime = 6 * time.Hour

// unsignedPayload stands for the digest of a body, which a GET doesn't have.
const unsignedPayload = "UNSIGNED-PAYLOAD"

// key is a compiled object key.
type key struct {
	text           string // as expanded when the configuration was loaded
	plain, escaped pattern.Pattern
}

func compileKey(text string, kinds ...resolver.Kind) (key, error) {
	// Such keys are legal, but clients and proxies clean them from paths.
	if slices.ContainsFunc(strings.Split(text, "/"), func(s string) bool { return s == "" || s == "." || s == ".." }) {
		return key{}, errors.New("key must not have empty, . or .. segments")
	}
	plain, err := pattern.Compile(text, kinds...)
	if err != nil {
		return key{}, err
	}
	escaped := plain.Map(func(literal string) string { return httpbinding.EscapePath(literal, false) })
	return key{text: text, plain: plain, escaped: escaped}, nil
}

// sign returns the URL of one object, signed for a GET. Only the host is signed
// along: any range may be asked for with it.
func (s *S3) sign(ctx context.Context, k key, a resolver.Asset, now time.Time) (*url.URL, error) {
	object := s.base
	object.Path += "/" + k.plain.Expand(a)
	object.RawPath = s.base.Path + "/" + k.escaped.Expand(a)
	object.RawQuery = "X-Amz-Expires=" + strconv.Itoa(int(lifetime.Seconds()))

	r := &http.Request{Method: http.MethodGet, URL: &object, Host: object.Host, Header: make(http.Header)}
	signed, _, err := s.signer.PresignHTTP(ctx, s.credentials, r, unsignedPayload, "s3", s.region, now)
	if err != nil {
		return nil, errors.New("signing failed")
	}
	u, err := url.Parse(signed)
	if err != nil {
		return nil, errors.New("signing made a malformed URL")
	}
	return u, nil
}
