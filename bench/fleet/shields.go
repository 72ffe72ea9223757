package main

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// tier is what the edges ask for what they have not: shields and, where there is none or
// none is well, the origin.
type tier struct {
	shields []*node
	lost    []bool
	order   [][]uint8 // for each track, the shields in the order in which they are preferred
	origin  tally     // requests and asked only
}

// ask asks for a part of an object.
func (t *tier) ask(object int, part span) {
	if i := t.owner(object); i >= 0 {
		t.shields[i].request(object, part)
		return
	}
	t.fetch(object, part)
}

// owner returns the shield that is asked for an object; -1 if none is well.
func (t *tier) owner(object int) int {
	for _, i := range t.order[object/variants] {
		if !t.lost[i] {
			return int(i)
		}
	}
	return -1
}

// fetch asks the origin, and is the shields' source.
func (t *tier) fetch(_ int, part span) {
	t.origin.requests++
	t.origin.asked += part.to - part.from
}

// newTier returns shields for a catalogue, of which order says who is asked for a track.
func newTier(c *catalogue, n int, l limits, readAhead int, order [][]uint8) *tier {
	t := &tier{lost: make([]bool, n), order: order}
	for range n {
		t.shields = append(t.shields, newNode(c, l, readAhead, t.fetch))
	}
	return t
}

// rendezvous returns the order in which the shields with some addresses are preferred for
// each track, whose path is given: as Caddy's uri_hash has it, which is the default.
func rendezvous(addresses []string, tracks int, path func(track int) string) [][]uint8 {
	var policy reverseproxy.URIHashSelection
	pool := make(reverseproxy.UpstreamPool, len(addresses))
	index := make(map[*reverseproxy.Upstream]uint8)
	for i, address := range addresses {
		pool[i] = &reverseproxy.Upstream{Dial: address, Host: new(reverseproxy.Host)}
		index[pool[i]] = uint8(i)
	}
	order := make([][]uint8, tracks)
	for track := range order {
		r := &http.Request{RequestURI: path(track)}
		left := slices.Clone(pool)
		for len(left) > 0 {
			best := policy.Select(left, r, nil)
			order[track] = append(order[track], index[best])
			left = slices.DeleteFunc(left, func(u *reverseproxy.Upstream) bool { return u == best })
		}
	}
	return order
}

// byModulo is what rendezvous is compared with: a track's number modulo that of the shields
// that are well says who has it, so that the loss of one moves nearly all tracks.
func byModulo(lost []bool, tracks int) [][]uint8 {
	var well []uint8
	for i, is := range lost {
		if !is {
			well = append(well, uint8(i))
		}
	}
	order := make([][]uint8, tracks)
	for track := range order {
		order[track] = []uint8{well[track%len(well)]}
	}
	return order
}

// somewhere returns the addresses of n shields.
func somewhere(n int) []string {
	addresses := make([]string, n)
	for i := range addresses {
		addresses[i] = fmt.Sprintf("https://shield-%d.example.com", i+1)
	}
	return addresses
}
