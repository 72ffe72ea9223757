// Package chaos has what it takes to try an edge with everything that goes wrong: an
// upstream, a network and clients that misbehave as a seed has it, and an oracle that
// knows every byte and so can tell each answer for right, for an honest error, or for
// a lie. Nothing in it is for production.
//
// A Script (script.go) is all that is drawn from a seed. An Upstream (upstream.go)
// serves any path of any net.Listener as the script says, and notes in its Ledger
// (ledger.go) what it has claimed. A client (client.go) asks for something in a manner of
// its own, and Ledger.Check (oracle.go) judges what it got. A Network (network.go) is one
// without a kernel, for use inside a testing/synctest bubble.
package chaos

import (
	"bytes"
	"encoding/binary"
	"hash/fnv"
	"strings"
)

// pngSignature is how a cover begins, by which an edge knows it for one.
const pngSignature = "\x89PNG\r\n\x1a\n"

// Fill fills b with the bytes from off on of a version of what is at the path. They
// follow from these alone, so that none need be stored to be compared.
func Fill(b []byte, path string, version int, off int64) {
	key := mix(hash(path) + uint64(version)*golden) //nolint:gosec // no version is negative, nor any offset
	at := uint64(off)                               //nolint:gosec // as above
	var word [8]byte
	for n := 0; n < len(b); {
		binary.LittleEndian.PutUint64(word[:], mix(key+at/8*golden))
		written := copy(b[n:], word[at%8:])
		n, at = n+written, at+uint64(written) //nolint:gosec // as above
	}
	if strings.HasSuffix(path, ".png") && off < int64(len(pngSignature)) {
		copy(b, pngSignature[off:])
	}
}

// Body returns n bytes from off on of a version of what is at the path.
func Body(path string, version int, off, n int64) []byte {
	b := make([]byte, n)
	Fill(b, path, version, off)
	return b
}

// differs returns the first index at which got is not what Body has from off on; -1 if
// there is none.
func differs(got []byte, path string, version int, off int64) int {
	var block [4096]byte
	for n := 0; n < len(got); n += len(block) {
		part := got[n:min(n+len(block), len(got))]
		want := block[:len(part)]
		Fill(want, path, version, off+int64(n))
		if bytes.Equal(part, want) {
			continue
		}
		for i := range part {
			if part[i] != want[i] {
				return n + i
			}
		}
	}
	return -1
}

// golden is the odd number next to 2^64 divided by the golden ratio.
const golden = 0x9e3779b97f4a7c15

// mix is the finalizer of SplitMix64.
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

func hash(s string) uint64 {
	h := fnv.New64a()
	_, _ = h.Write([]byte(s))
	return mix(h.Sum64())
}
