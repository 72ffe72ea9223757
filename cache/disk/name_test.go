package disk

import (
	"bytes"
	"errors"
	"math"
	"regexp"
	"testing"
)

func TestNewID(t *testing.T) {
	seen := make(map[ID]bool)
	for _, k := range [][2]string{{"", ""}, {"a", "b"}, {"ab", ""}, {"", "ab"}, {"a", "bc"}, {"ab", "c"}, {"\x01", ""}} {
		id := NewID(k[0], k[1])
		if seen[id] || id != NewID(k[0], k[1]) {
			t.Errorf("%q", k)
		}
		seen[id] = true
	}
}

func TestName(t *testing.T) {
	id := ID{0xab, 15: 1}
	for _, n := range []ident{
		{id: id, version: 1, index: 0, size: 0, crc: 0},
		{id: id, version: math.MaxInt64, index: 1 << 60, size: maxSlice, crc: math.MaxUint32},
		{id: id, version: 7, index: metaIndex(0)},
		{id: id, version: 7, index: metaIndex(math.MaxInt32)},
	} {
		if got, ok := parse(n.String()); !ok || got != n || len(n.String()) > 255 {
			t.Errorf("%s: %+v", n, got)
		}
	}
}

// fileName is the form of the names of files, spelled out.
var fileName = regexp.MustCompile(`^[0-9a-f]{32}-[0-7][0-9a-f]{15}-(?:meta-` + number + `|` + number + `-` + sliceLength + `-[0-9a-f]{8})$`)

const (
	number      = `(?:0|[1-9a-f][0-9a-f]{0,14}|[1-7][0-9a-f]{15})`
	sliceLength = `(?:0|[1-9a-f][0-9a-f]{0,6}|[1-3][0-9a-f]{7}|40000000)`
)

func FuzzName(f *testing.F) {
	good := ident{id: ID{1, 2, 3}, version: 5, index: 0x1f, size: 0x2000, crc: 0xab}
	f.Add(good.String())
	f.Add(ident{id: ID{1, 2, 3}, version: 5, index: metaIndex(9)}.String())
	for _, s := range []string{
		"", "-", "----", "meta", good.String() + "-1", good.String() + "\n", "0" + good.String(),
		"01020300000000000000000000000000-0000000000000005-meta", "01020300000000000000000000000000-0000000000000005-meta--1",
		"01020300000000000000000000000000-8000000000000000-1-1-00000001", "01020300000000000000000000000000-0000000000000005-01-1-00000001",
		"01020300000000000000000000000000-0000000000000005-1-40000001-00000001", "01020300000000000000000000000000-0000000000000005-1-1-100000001",
		"01020300000000000000000000000000-0000000000000005-meta-1-00000001", "01020300000000000000000000000000-0000000000000005-+1-1-00000001",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		n, ok := parse(name)
		if ok != fileName.MatchString(name) {
			t.Errorf("%q is a name: %t", name, ok)
		}
		if !ok {
			return
		}
		if n.String() != name {
			t.Errorf("%q is %q", name, n)
		}
		if n.size < 0 || n.size > maxSlice || int64(n.version) < 0 {
			t.Errorf("%+v", n)
		}
	})
}

func FuzzMeta(f *testing.F) {
	n := ident{id: ID{1}, version: 5, index: metaIndex(3)}
	f.Add(n.encodeMeta([]byte("meta")), uint8(0))
	f.Add(n.encodeMeta(nil), uint8(1))
	f.Add([]byte{}, uint8(0))
	f.Add([]byte{0, 0, 0}, uint8(0))
	f.Add([]byte{0, 0, 0, 0}, uint8(0))
	f.Fuzz(func(t *testing.T, b []byte, at uint8) {
		if meta, err := n.decodeMeta(b); err == nil && !bytes.Equal(n.encodeMeta(meta), b) || err != nil && !errors.Is(err, ErrDamaged) {
			t.Errorf("%q, %v", meta, err)
		}
		good := n.encodeMeta(b)
		if meta, err := n.decodeMeta(good); err != nil || !bytes.Equal(meta, b) {
			t.Errorf("%q, %v", meta, err)
		}
		good[int(at)%len(good)] ^= 1 << (at % 8)
		if _, err := n.decodeMeta(good); err == nil {
			t.Error("damage was not noticed")
		}
		for _, other := range []ident{{id: ID{2}, version: 5, index: n.index}, {id: n.id, version: 6, index: n.index}, {id: n.id, version: 5, index: metaIndex(2)}} {
			if _, err := other.decodeMeta(n.encodeMeta(b)); err == nil {
				t.Errorf("it is taken for that of %s", other)
			}
		}
	})
}
