package voyo

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// The parameters of a signed URL.
const (
	paramExpires   = "expires"
	paramClient    = "client"
	paramSignature = "signature"
)

// linkForm begins what is signed: so a signature is good for nothing else that the key
// may be used for, and links of a later form can't be taken for those of this one.
const linkForm = "voyo-link-v1"

// lastExpiry is the end of the year 9999, the last one that can be written as a date
// (RFC 3339).
const lastExpiry = 253402300799

// errLinkForm is why a URL has no signature that could be right or wrong.
var errLinkForm = errors.New("not a signed URL")

// link is what a URL's signature is for. What it does not cover a client may choose:
// the type and the quality.
type link struct {
	target  string // of shape.target
	expires int64  // in Unix seconds, from when on the link is over
	client  string // the address or CIDR that it is for, as it is written; empty: for everybody
}

// target returns what names a track in a URL of the shape: the path, and the parameter
// with the ID if the path does not have it. An ID that was parsed needs no escaping, so
// this is the very text of the URL.
func (s *shape) target(asked string) string {
	if s.id == "" {
		return s.path + asked
	}
	return s.path + "?" + s.id + "=" + asked
}

// signature returns the link's signature. No field can have a line break in it, so no
// two links have the same text.
func (l link) signature(key []byte) string {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(strings.Join([]string{linkForm, l.target, strconv.FormatInt(l.expires, 10), l.client}, "\n")))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// over reports whether the link's time has come.
func (l link) over(now time.Time) bool { return now.Unix() >= l.expires }

// allows reports whether the link is for a client.
func (l link) allows(client netip.Addr) bool {
	if l.client == "" {
		return true
	}
	scope, err := parseScope(l.client)
	return err == nil && scope.Contains(client)
}

// linkKeys are the keys of signed URLs: the first one signs, and all of them verify.
type linkKeys [][]byte

// query returns the parameters that make a URL the link.
func (k linkKeys) query(l link) string {
	query := paramExpires + "=" + strconv.FormatInt(l.expires, 10)
	if l.client != "" {
		query += "&" + paramClient + "=" + url.QueryEscape(l.client)
	}
	return query + "&" + paramSignature + "=" + l.signature(k[0])
}

// verify reports whether a signature is the link's. The encoded texts are compared, as
// some texts that differ are the same bytes when they are decoded. The time that it takes
// tells nothing of the keys, not even which of them it was.
func (k linkKeys) verify(l link, signature string) bool {
	valid := false
	for _, key := range k {
		if hmac.Equal([]byte(l.signature(key)), []byte(signature)) {
			valid = true
		}
	}
	return valid
}

// parseLink reads the signature of a URL of the shape, and what it claims to be for.
func parseLink(s *shape, u *url.URL, asked string) (l link, signature string, err error) {
	query, err := uniqueParams(s, u)
	if err != nil {
		return link{}, "", err
	}
	l = link{target: s.target(asked), client: query.Get(paramClient)}
	if l.expires, err = parseExpiry(query.Get(paramExpires)); err != nil {
		return link{}, "", err
	}
	if query.Has(paramClient) {
		if _, err := parseScope(l.client); err != nil {
			return link{}, "", err
		}
	}
	return l, query.Get(paramSignature), nil
}

// uniqueParams returns a query in which the ID and the parameters of the signature are
// there at most once: of two, somebody on the way might look at the other one.
func uniqueParams(s *shape, u *url.URL) (url.Values, error) {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return nil, errLinkForm
	}
	for _, name := range []string{paramExpires, paramClient, paramSignature, s.id} {
		if name != "" && len(query[name]) > 1 {
			return nil, errLinkForm
		}
	}
	return query, nil
}

// parseExpiry reads a time in the only way in which it can be written.
func parseExpiry(s string) (int64, error) {
	seconds, err := strconv.ParseInt(s, 10, 64)
	if err != nil || seconds <= 0 || seconds > lastExpiry || strconv.FormatInt(seconds, 10) != s {
		return 0, errLinkForm
	}
	return seconds, nil
}

// parseScope reads an address or a CIDR. IPv4 in the form of IPv6 is IPv4, as it is in
// the addresses of clients.
func parseScope(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		addr, err := netip.ParseAddr(s)
		if err != nil || addr.Zone() != "" {
			return netip.Prefix{}, errLinkForm
		}
		addr = addr.Unmap()
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	const mapped = 96 // bits of ::ffff:0:0/96
	switch {
	case err != nil, p.Addr().Is4In6() && p.Bits() < mapped:
		return netip.Prefix{}, errLinkForm
	case p.Addr().Is4In6():
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-mapped)
	}
	return p, nil
}
