package voyo

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

const (
	allowedMethods = "GET, HEAD, OPTIONS"

	// What a page may send besides what every request may have: players ask for
	// ranges, and caches in the page revalidate.
	allowedHeaders = "Range, If-Range, If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since, Cache-Control"

	// What a page may read besides Cache-Control, Content-Type, Expires and
	// Last-Modified, which it always may.
	exposedHeaders = "Content-Range, Accept-Ranges, Content-Length, ETag, Age, Cache-Status, Server-Timing"

	// How long a browser may remember a preflight, in seconds. Browsers have
	// limits of their own, the longest being Firefox's day.
	preflightAge = "86400"
)

// origin is a web origin (RFC 6454, section 4), in lower case and with its port
// left out where it is the scheme's own.
type origin struct {
	scheme, host, port string
}

// originList holds the origins whose pages may read the answers. The zero value
// lists none.
type originList struct {
	any       bool
	exact     map[origin]bool
	wildcards []origin // host is the suffix, with its dot
}

// parseOrigins reads a list of exact origins, origins such as
// https://*.voyo.example, which stands for all subdomains, and "*" for all.
func parseOrigins(values []string) (originList, error) {
	list := originList{exact: make(map[origin]bool)}
	for _, v := range values {
		if v == "*" {
			list.any = true
			continue
		}
		// a star is no host, so that only the one at the beginning is taken
		scheme, rest, wildcard := strings.Cut(v, "://*.")
		if wildcard {
			v = scheme + "://" + rest
		}
		o, err := parseOrigin(v)
		if err != nil {
			return originList{}, fmt.Errorf("origin %q: %w", v, err)
		}
		if wildcard {
			o.host = "." + o.host
			list.wildcards = append(list.wildcards, o)
			continue
		}
		list.exact[o] = true
	}
	return list, nil
}

// defaultPorts are what browsers leave out of an origin.
var defaultPorts = map[string]string{"http": "80", "https": "443"}

func parseOrigin(s string) (origin, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return origin{}, errors.New("not a URL")
	case u.Scheme == "" || u.Hostname() == "":
		return origin{}, errors.New("must have a scheme and a host, as in https://voyo.example")
	case u.User != nil || u.Path != "" || u.RawQuery != "" || u.ForceQuery || strings.Contains(s, "#"):
		return origin{}, errors.New("must have nothing but a scheme, a host and a port")
	case strings.Contains(u.Hostname(), ":") != strings.HasPrefix(u.Host, "["):
		return origin{}, errors.New("has a colon that is not in an IPv6 address in brackets")
	case strings.ContainsFunc(u.Hostname(), isNoHostRune):
		return origin{}, errors.New("has a character that no host has; an internationalized name is written in Punycode")
	}
	o := origin{strings.ToLower(u.Scheme), strings.ToLower(u.Hostname()), u.Port()}
	if o.port == defaultPorts[o.scheme] {
		o.port = ""
	}
	return o, nil
}

// isNoHostRune reports whether a rune is in no name and no address as browsers
// write them.
func isNoHostRune(c rune) bool {
	return c <= ' ' || c > '~' || strings.ContainsRune("*,\"'<>[\\]^`{|}", c)
}

// has reports whether the list has the origin of an Origin field. A null origin,
// which a sandboxed page has as well as a local file, is only known by the star.
func (l originList) has(field string) bool {
	if l.any {
		return true
	}
	o, err := parseOrigin(field)
	if err != nil {
		return false
	}
	if l.exact[o] {
		return true
	}
	for _, w := range l.wildcards {
		if o.scheme == w.scheme && o.port == w.port && len(o.host) > len(w.host) && strings.HasSuffix(o.host, w.host) {
			return true
		}
	}
	return false
}

// admit lets the page that asks read the answer, if its origin is listed. It
// reports whether there is nothing against serving it: a request without an
// Origin does not come from another site's page.
func (l originList) admit(header, request http.Header) bool {
	fields := request.Values("Origin")
	if len(fields) == 0 {
		return true
	}
	if len(fields) > 1 || !l.has(fields[0]) {
		return false
	}
	header.Set("Access-Control-Allow-Origin", fields[0])
	header.Set("Access-Control-Expose-Headers", exposedHeaders)
	header.Set("Timing-Allow-Origin", fields[0])
	return true
}

// answerPreflight answers OPTIONS, be it a browser's preflight or not. What it
// allows is of use only to a page whose origin is listed.
func answerPreflight(w http.ResponseWriter) {
	header := w.Header()
	header.Set("Allow", allowedMethods)
	if header.Get("Access-Control-Allow-Origin") != "" {
		header.Set("Access-Control-Allow-Methods", allowedMethods)
		header.Set("Access-Control-Allow-Headers", allowedHeaders)
		header.Set("Access-Control-Max-Age", preflightAge)
		header.Del("Access-Control-Expose-Headers") // not for preflights
	}
	w.WriteHeader(http.StatusNoContent)
}
