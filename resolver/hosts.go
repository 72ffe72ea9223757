package resolver

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

var (
	errHostEmpty   = errors.New("host is empty")
	errHostChars   = errors.New("host has characters that no name has")
	errHostLabels  = errors.New("host has an empty or overlong label")
	errHostNumeric = errors.New("host ends in a number but is not an IP address")
	errHostZone    = errors.New("host is an address with a zone")
	errHostBracket = errors.New("only an IPv6 address has brackets, and always has them")
	errPort        = errors.New("port is not a number from 1 to 65535")
)

// host is a host in its one canonical form: a name in lower case without the
// root's dot, or an IP address.
type host struct {
	name string     // an address is formatted as netip does, a v4-mapped one as IPv4
	addr netip.Addr // valid if the host is an address
}

// endpoint is a host with a port.
type endpoint struct {
	name string
	port uint16
}

// parseHost reads a host in the form that url.URL.Host and host:port pairs have
// it, so that an IPv6 address has brackets.
//
// It is narrower than DNS and than RFC 3986, section 3.2.2: what could be read
// as something else further on is refused. So is a name whose last label is a
// number, which some resolvers take for IPv4 in octal, hexadecimal or as one
// integer (the "ends in a number" check of WHATWG's URL standard), and one that
// is not ASCII, for which there is punycode.
func parseHost(s string) (host, error) {
	inner, bracketed := strings.CutPrefix(s, "[")
	if bracketed {
		var closed bool
		if inner, closed = strings.CutSuffix(inner, "]"); !closed {
			return host{}, errHostBracket
		}
	}
	if addr, err := netip.ParseAddr(inner); err == nil {
		switch {
		case addr.Is6() != bracketed:
			return host{}, errHostBracket
		case addr.Zone() != "":
			return host{}, errHostZone
		}
		addr = addr.Unmap()
		return host{name: addr.String(), addr: addr}, nil
	}
	if bracketed {
		return host{}, errHostBracket
	}
	name, err := parseName(s)
	return host{name: name}, err
}

// parseName checks a name's letters and the lengths of RFC 1035, section 2.3.4.
// Unlike RFC 1123 it allows the underscore, which names of containers have.
func parseName(s string) (string, error) {
	name := strings.ToLower(strings.TrimSuffix(s, "."))
	if name == "" {
		return "", errHostEmpty
	}
	if len(name) > 253 {
		return "", errHostLabels
	}
	last := ""
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 {
			return "", errHostLabels
		}
		for i := range len(label) {
			if c := label[i]; !isAlphanumeric(c) && c != '-' && c != '_' {
				return "", errHostChars
			}
		}
		last = label
	}
	if isNumber(last) {
		return "", errHostNumeric
	}
	return name, nil
}

// isNumber reports whether a lower-case label is a decimal, octal or
// hexadecimal number.
func isNumber(label string) bool {
	if hex, ok := strings.CutPrefix(label, "0x"); ok {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}

// parsePort reads a port.
func parsePort(s string) (uint16, error) {
	port, err := strconv.ParseUint(s, 10, 16)
	if err != nil || port == 0 {
		return 0, errPort
	}
	return uint16(port), nil
}

// splitPort splits "host:port" or "[v6]:port", where the port may be missing.
func splitPort(s string) (hostPart, portPart string, hasPort bool) {
	if i := strings.LastIndexByte(s, ':'); i > strings.LastIndexByte(s, ']') {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}

// parseEndpoint reads "host:port". Where withoutPort is allowed for, a missing
// port is 0.
func parseEndpoint(s string, withoutPort bool) (host, endpoint, error) {
	hostPart, portPart, hasPort := splitPort(s)
	var port uint16
	if hasPort || !withoutPort {
		var err error
		if port, err = parsePort(portPart); err != nil {
			return host{}, endpoint{}, err
		}
	}
	h, err := parseHost(hostPart)
	if err != nil {
		return host{}, endpoint{}, err
	}
	return h, endpoint{h.name, port}, nil
}

// hostList holds the hosts that may be fetched from besides the configuration's own.
type hostList struct {
	// exact and suffixes have port 0 where an entry states none, which stands for
	// the scheme's default.
	exact    map[endpoint]struct{}
	suffixes map[endpoint]struct{} // without "*."
	prefixes []netip.Prefix
}

// newHostList reads entries: a host or *.suffix, with or without a port, or a CIDR.
func newHostList(entries []string) (hostList, error) {
	l := hostList{
		exact:    make(map[endpoint]struct{}),
		suffixes: make(map[endpoint]struct{}),
	}
	for _, entry := range entries {
		if err := l.add(entry); err != nil {
			return hostList{}, fmt.Errorf("allowed upstream %q: %w", entry, err)
		}
	}
	return l, nil
}

func (l *hostList) add(entry string) error {
	if strings.Contains(entry, "/") {
		prefix, err := parseCIDR(entry)
		if err != nil {
			return err
		}
		l.prefixes = append(l.prefixes, prefix)
		return nil
	}
	suffix, wildcard := strings.CutPrefix(entry, "*.")
	if strings.Contains(suffix, "*") {
		return errors.New(`a wildcard stands for whole labels and only in front, as in "*.example.com"`)
	}
	h, end, err := parseEndpoint(suffix, true)
	switch {
	case err != nil:
		return err
	case !wildcard:
		l.exact[end] = struct{}{}
	case h.addr.IsValid():
		return errors.New("an IP address has no subdomains")
	default:
		l.suffixes[end] = struct{}{}
	}
	return nil
}

func parseCIDR(s string) (netip.Prefix, error) {
	prefix, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return netip.Prefix{}, errors.New("neither a host nor a CIDR")
	case prefix.Addr().Is4In6():
		return netip.Prefix{}, errors.New("an IPv4 range is written as IPv4")
	case prefix != prefix.Masked():
		return netip.Prefix{}, fmt.Errorf("bits are set past the prefix, %s is meant", prefix.Masked())
	}
	return prefix, nil
}

// allows reports whether a host is on the list with that port. isDefault says
// that the port is the scheme's default.
func (l *hostList) allows(h host, port uint16, isDefault bool) bool {
	if has(l.exact, h.name, port, isDefault) {
		return true
	}
	if h.addr.IsValid() {
		return l.opens(h.addr)
	}
	// Each step cuts one label off the front, so that a suffix begins at a dot
	// and there is at least one label before it.
	rest := h.name
	for {
		_, parent, ok := strings.Cut(rest, ".")
		if !ok {
			return false
		}
		if has(l.suffixes, parent, port, isDefault) {
			return true
		}
		rest = parent
	}
}

// opens reports whether an address is in a range on the list.
func (l *hostList) opens(addr netip.Addr) bool {
	for _, prefix := range l.prefixes {
		if prefix.Contains(addr) {
			return true
		}
	}
	return false
}

func has(set map[endpoint]struct{}, name string, port uint16, isDefault bool) bool {
	if _, ok := set[endpoint{name, port}]; ok {
		return true
	}
	if !isDefault {
		return false
	}
	_, ok := set[endpoint{name, 0}]
	return ok
}
