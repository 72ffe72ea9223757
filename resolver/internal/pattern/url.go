package pattern

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/voyo-music/caddy-voyo/resolver"
)

// URL is a compiled URL whose path and query may have placeholders. Its host
// never has: it is known, and trusted, from the configuration alone.
type URL struct {
	base                 url.URL
	path, rawPath, query Pattern
}

// CompileURL reads an absolute http or https URL that will be expanded for
// assets of these kinds. Errors don't quote the text, which may hold secrets.
func CompileURL(text string, kinds ...resolver.Kind) (*URL, error) {
	authority, rest := split(text)
	if _, err := Compile(text, kinds...); err != nil {
		return nil, err
	}
	if start := strings.IndexByte(authority, '{'); start >= 0 {
		end := strings.IndexByte(authority, '}')
		return nil, fmt.Errorf("placeholder %s is not allowed before the path", authority[start:end+1])
	}
	if strings.Contains(rest, "#") {
		return nil, errors.New("fragment is not allowed in the URL")
	}
	base, err := ParseEndpoint(text)
	if err != nil {
		return nil, err
	}
	if strings.ContainsFunc(base.RawQuery, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return nil, errors.New("query is not percent-encoded")
	}

	u := &URL{base: *base}
	for _, c := range []struct {
		to   *Pattern
		text string
	}{{&u.path, base.Path}, {&u.rawPath, base.RawPath}, {&u.query, base.RawQuery}} {
		if *c.to, err = Compile(c.text, kinds...); err != nil {
			return nil, err
		}
	}
	return u, nil
}

// split parts a URL where its path, query or fragment begins.
func split(text string) (authority, rest string) {
	start := 0
	if i := strings.Index(text, "://"); i >= 0 {
		start = i + len("://")
	}
	if i := strings.IndexAny(text[start:], "/?#"); i >= 0 {
		return text[:start+i], text[start+i:]
	}
	return text, ""
}

// ParseEndpoint reads an absolute http or https URL that names a host and no
// user. The default port is left out, as clients leave it out of Host headers.
func ParseEndpoint(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		// The parser's own error quotes the text.
		return nil, errors.New("malformed URL")
	}
	switch {
	case u.Scheme != "http" && u.Scheme != "https":
		return nil, errors.New("URL must begin with http:// or https://")
	case u.Hostname() == "":
		return nil, errors.New("URL has no host")
	case u.User != nil:
		return nil, errors.New("user info is not allowed in the URL")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return nil, errors.New("URL has an invalid port")
		}
	}
	u.Host = strings.ToLower(strings.TrimSuffix(u.Host, ":"))
	if u.Port() == defaultPort(u.Scheme) {
		u.Host = strings.TrimSuffix(u.Host, ":"+u.Port())
	}
	return u, nil
}

// HostPort returns a URL's host with its port, as in "127.0.0.1:9000".
func HostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = defaultPort(u.Scheme)
	}
	return net.JoinHostPort(strings.ToLower(u.Hostname()), port)
}

func defaultPort(scheme string) string {
	if scheme == "https" {
		return "443"
	}
	return "80"
}

// Expand returns the URL for one asset.
func (u *URL) Expand(a resolver.Asset) *url.URL {
	// Placeholders stand for characters that are their own escapes, so that the
	// path and its escaped form stay each other's equals.
	expanded := u.base
	expanded.Path = u.path.Expand(a)
	expanded.RawPath = u.rawPath.Expand(a)
	expanded.RawQuery = u.query.Expand(a)
	return &expanded
}

// HostPort returns the URL's host with its port.
func (u *URL) HostPort() string { return HostPort(&u.base) }

// Location returns the URL up to its query, placeholders and all.
func (u *URL) Location() string {
	return u.base.Scheme + "://" + u.base.Host + u.base.Path
}
