package voyo

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/voyo-music/caddy-voyo/cache"
)

// ownFields are what this edge tells the origin of a request, besides X-Forwarded-*.
var ownFields = []string{"Cdn-Loop", "Forwarded", "Via"}

// eventStream is what browsers accept, and nothing else, where they wait for events.
// Those are for one client, and do not end: there is nothing to keep, whatever the
// policy says of pages.
const eventStream = "text/event-stream"

// forwarding is a client's request as it goes to the origin. It holds nothing of the
// request itself, which may end before.
type forwarding struct {
	target    url.URL     // the target URI, as the client sees it
	url       url.URL     // the same, at the origin
	header    http.Header // what the origin is sent, all that it can tell clients apart by included
	upgrade   string      // the protocol to switch to, if the client asks for that
	cacheable bool        // the cache can answer

	expected *cache.Expected // the answer, if the cache may keep it though it goes past; else nil
}

// hasTarget reports whether a request has a target URI whose parts are what they seem
// to be. Not every server looks at the host: with a slash in it, or an opaque path, a
// client could have its page kept as another one's.
func hasTarget(r *http.Request) bool {
	return r.URL.Opaque == "" && r.URL.User == nil && (r.Host == "" || isHost(r.Host))
}

// newForwarding makes of a client's request what the origin is to be sent.
func newForwarding(r *http.Request, origin *url.URL) *forwarding {
	f := &forwarding{header: r.Header.Clone(), upgrade: upgradeOf(r)}
	f.cacheable = f.upgrade == "" && r.ContentLength == 0 && (r.Method == http.MethodGet || r.Method == http.MethodHead) &&
		r.Header.Get("Accept") != eventStream
	trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool)
	scheme, host := clientsView(r, trusted)
	f.target = *r.URL
	f.target.Scheme, f.target.Host = scheme, host
	if path := f.target.Path; path != "" && path != "*" && path[0] != '/' { // as another handler has left it
		f.target.Path, f.target.RawPath = "/"+path, ""
	}
	f.url = f.target
	f.url.Scheme, f.url.Host = origin.Scheme, origin.Host

	cache.RemoveHopByHop(f.header)
	if slices.Contains(listed(r.Header["Te"]), "trailers") {
		f.header.Set("Te", "trailers")
	}
	setForwarded(f.header, r.RemoteAddr, trusted, scheme, host)
	addVia(f.header, r.ProtoMajor, r.ProtoMinor)
	f.header.Add("Cdn-Loop", loopEntry)
	if _, ok := f.header["User-Agent"]; !ok {
		f.header["User-Agent"] = nil // or else net/http invents one
	}
	return f
}

// key is what the cache knows the target by. It has the host and scheme that the
// origin is told in X-Forwarded-Host and -Proto, exactly as it is told, so that no
// client can have a page made for another host kept for this one. For the same
// reason the path and query are as they go to the origin: that %7E means ~ to us is
// no promise of the origin's.
func (f *forwarding) key() string { return keyOf(&f.target) }

func keyOf(u *url.URL) string {
	key := strings.ToLower(u.Scheme) + "://" + normalHost(u.Scheme, u.Host) + u.RequestURI()
	if len(key) <= maxKey {
		return key
	}
	sum := sha256.Sum256([]byte(key))
	return "#" + hex.EncodeToString(sum[:])
}

// maxKey is how long a key can be, in bytes, that still is the target URI. The cache
// bounds how many it remembers, and not how long they are, as clients would have it.
const maxKey = 512

// related returns the key of a URI that an answer's header names, relative to the
// target as it may be. It reports false if it is of another origin, about which this
// one has nothing to say (RFC 9111, section 4.4).
func (f *forwarding) related(uri string) (key string, ok bool) {
	u, err := f.target.Parse(uri)
	if err != nil || uri == "" || u.Scheme != f.target.Scheme || normalHost(u.Scheme, u.Host) != f.target.Host {
		return "", false
	}
	return keyOf(u), true
}

// fetchHeader returns the header of a request that the cache makes. Its own
// conditions are given.
func (f *forwarding) fetchHeader(conditions http.Header) http.Header {
	h := f.header.Clone()
	delete(h, "Expect") // there is no body to wait with
	for _, name := range cache.ConditionFields {
		delete(h, name)
		if v := conditions[name]; len(v) > 0 {
			h[name] = slices.Clone(v)
		}
	}
	return h
}

// clientsView returns the scheme and host of the target URI. Between the client and
// this edge may be proxies, which say how they were asked; Caddy's configuration says
// which of them are believed.
func clientsView(r *http.Request, trusted bool) (scheme, host string) {
	scheme, host = "http", r.Host
	if r.TLS != nil {
		scheme = "https"
	}
	if trusted {
		if s := strings.ToLower(last(r.Header["X-Forwarded-Proto"])); s == "http" || s == "https" {
			scheme = s
		}
		if s := last(r.Header["X-Forwarded-Host"]); isHost(s) {
			host = s
		}
	}
	return scheme, normalHost(scheme, host)
}

// setForwarded sets who asked, and for what, as Caddy's reverse proxy does: what the
// request has of that already counts only if it is from a proxy that is trusted.
func setForwarded(h http.Header, remote string, trusted bool, scheme, host string) {
	if !trusted {
		// the standard's form of the same (RFC 7239)
		delete(h, "Forwarded")
	}
	// Of others, such as the port, the key says nothing: a page made of what one client
	// says there would be kept for all. A proxy does not write them with "_", but may let
	// through what does.
	maps.DeleteFunc(h, func(name string, _ []string) bool {
		return isForwarded(name) && (!trusted || strings.Contains(name, "_"))
	})
	prior := h["X-Forwarded-For"]
	delete(h, "X-Forwarded-For")
	// a Unix socket has no address
	if ip, _, err := net.SplitHostPort(remote); err == nil {
		ip, _, _ = strings.Cut(ip, "%") // a zone means nothing elsewhere
		prior = append(slices.Clone(prior), ip)
	}
	if len(prior) > 0 {
		h.Set("X-Forwarded-For", strings.Join(prior, ", "))
	}
	h.Set("X-Forwarded-Host", host)
	h.Set("X-Forwarded-Proto", scheme)
}

// isForwarded reports whether a field is one of X-Forwarded-*, as careless servers read
// names, too: those that hand fields to programs as CGI has it (RFC 3875, section 4.1.18)
// make "_" of "-", and take X_Forwarded_Host for X-Forwarded-Host.
func isForwarded(name string) bool {
	return strings.HasPrefix(strings.ToLower(strings.ReplaceAll(name, "_", "-")), "x-forwarded-")
}

// upgradeOf returns the protocol that a client wants to switch to, empty if it does
// not. h2c is left out: what comes after it would be requests that nobody here sees.
func upgradeOf(r *http.Request) string {
	if r.ProtoMajor != 1 || r.ProtoMinor < 1 || !slices.Contains(listed(r.Header["Connection"]), "upgrade") {
		return ""
	}
	for _, protocol := range listed(r.Header["Upgrade"]) {
		if protocol != "h2c" {
			return protocol // the one that it likes best
		}
	}
	return ""
}

// addVia adds this edge to those that a message has passed, with the version of HTTP
// in which it came (RFC 9110, section 7.6.3).
func addVia(h http.Header, major, minor int) {
	h.Add("Via", fmt.Sprintf("%d.%d %s", major, minor, edgeName))
}

// listed returns the members of a list field, in lower case.
func listed(lines []string) (members []string) {
	for _, line := range lines {
		for member := range strings.SplitSeq(line, ",") {
			if member = strings.ToLower(strings.TrimSpace(member)); member != "" {
				members = append(members, member)
			}
		}
	}
	return members
}

func last(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return strings.TrimSpace(lines[len(lines)-1])
}

// isHost reports whether s is a host, with or without a port, and nothing else.
func isHost(s string) bool {
	u, err := url.Parse("http://" + s)
	return err == nil && s != "" && u.Host == s
}

// normalHost returns a host in the one form that all of its forms mean (RFC 9110,
// section 4.2.3).
func normalHost(scheme, host string) string {
	host = strings.ToLower(host)
	host = strings.TrimSuffix(host, ":"+defaultPort(strings.ToLower(scheme)))
	return strings.TrimSuffix(host, ":")
}

func defaultPort(scheme string) string {
	if scheme == "https" {
		return "443"
	}
	return "80"
}

// hostPort returns a URL's host with its port, be it in the URL or not.
func hostPort(u *url.URL) string {
	port := u.Port()
	if port == "" {
		port = defaultPort(u.Scheme)
	}
	return net.JoinHostPort(u.Hostname(), port)
}
