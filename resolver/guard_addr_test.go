package resolver

import (
	"net/netip"
	"testing"
)

// special has addresses of every range of IANA's special-purpose registries that is
// not globally reachable, and of each way to wrap a private IPv4 address.
var special = []struct{ name, addr string }{
	{"this network", "0.0.0.0"},
	{"this network", "0.1.2.3"},
	{"private use", "10.0.0.1"},
	{"private use", "10.255.255.255"},
	{"shared address space", "100.64.0.1"},
	{"shared address space", "100.127.255.255"},
	{"loopback", "127.0.0.1"},
	{"loopback", "127.255.255.254"},
	{"link local", "169.254.169.254"},
	{"private use", "172.16.0.1"},
	{"private use", "172.31.255.255"},
	{"IETF protocol assignments", "192.0.0.1"},
	{"DS-Lite", "192.0.0.2"},
	{"dummy", "192.0.0.8"},
	{"port control", "192.0.0.9"},
	{"TURN", "192.0.0.10"},
	{"NAT64 discovery", "192.0.0.170"},
	{"documentation", "192.0.2.1"},
	{"AS112", "192.31.196.1"},
	{"AMT", "192.52.193.1"},
	{"6to4 relay anycast", "192.88.99.1"},
	{"private use", "192.168.0.1"},
	{"AS112", "192.175.48.1"},
	{"benchmarking", "198.18.0.1"},
	{"benchmarking", "198.19.255.255"},
	{"documentation", "198.51.100.1"},
	{"documentation", "203.0.113.1"},
	{"multicast", "224.0.0.1"},
	{"multicast", "239.255.255.255"},
	{"reserved", "240.0.0.1"},
	{"broadcast", "255.255.255.255"},

	{"unspecified", "::"},
	{"loopback", "::1"},
	{"IPv4-compatible", "::10.0.0.1"},
	{"IPv4-mapped private", "::ffff:10.0.0.1"},
	{"IPv4-mapped loopback", "::ffff:127.0.0.1"},
	{"IPv4-translated", "::ffff:0:8.8.8.8"},
	{"NAT64 of private", "64:ff9b::10.0.0.1"},
	{"NAT64 of loopback", "64:ff9b::127.0.0.1"},
	{"NAT64 of link local", "64:ff9b::169.254.169.254"},
	{"local-use NAT64", "64:ff9b:1::8.8.8.8"},
	{"discard only", "100::1"},
	{"dummy", "100:0:0:1::1"},
	{"IETF protocol assignments", "2001:1ff::1"},
	{"Teredo", "2001:0:4136:e378:8000:63bf:f5ff:fffe"},
	{"port control", "2001:1::1"},
	{"TURN", "2001:1::2"},
	{"benchmarking", "2001:2::1"},
	{"AMT", "2001:3::1"},
	{"AS112", "2001:4:112::1"},
	{"ORCHID", "2001:10::1"},
	{"ORCHIDv2", "2001:20::1"},
	{"drones", "2001:30::1"},
	{"documentation", "2001:db8::1"},
	{"6to4 of private", "2002:a00:1::1"},
	{"6to4 of public", "2002:808:808::1"},
	{"AS112", "2620:4f:8000::1"},
	{"documentation", "3fff::1"},
	{"segment routing", "5f00::1"},
	{"not assigned", "4000::1"},
	{"unique local", "fc00::1"},
	{"unique local", "fdff::1"},
	{"link local", "fe80::1"},
	{"link local with a zone", "fe80::1%lo"},
	{"public with a zone", "2606:4700::1111%lo"},
	{"site local", "fec0::1"},
	{"multicast", "ff02::1"},
}

func TestGuardSafe(t *testing.T) {
	g := newGuard(t, nil, nil)
	for _, tt := range special {
		if g.safe(netip.MustParseAddr(tt.addr)) {
			t.Errorf("%s (%s) passes for public", tt.addr, tt.name)
		}
	}
	for _, addr := range []string{
		"1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "172.15.255.255",
		"172.32.0.0", "192.0.1.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "::ffff:8.8.8.8",
		"2606:4700::1111", "64:ff9b::8.8.8.8",
	} {
		if !g.safe(netip.MustParseAddr(addr)) {
			t.Errorf("%s does not pass for public", addr)
		}
	}
}

func TestGuardSafeOpened(t *testing.T) {
	g := newGuard(t, nil, []string{"10.1.0.0/16", "127.0.0.1/32", "fd00:1::/32"})
	for addr, want := range map[string]bool{
		"10.1.2.3": true, "::ffff:10.1.2.3": true, "64:ff9b::10.1.2.3": true, "127.0.0.1": true, "fd00:1::1": true,
		"10.2.2.3": false, "::ffff:10.2.2.3": false, "64:ff9b::10.2.2.3": false, "127.0.0.2": false, "fd00:2::1": false,
		"fd00:1::1%lo": false, "2002:a01:203::1": false,
	} {
		if got := g.safe(netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: safe is %v, want %v", addr, got, want)
		}
	}
}
