package disk

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"strconv"
	"strings"
)

const (
	// maxSlice bounds a slice, and maxMeta an object's meta data, in bytes, so that
	// no foreign file can ask for more.
	maxSlice = 1 << 30
	maxMeta  = 64 << 10

	metaHeader = 4 // a meta file's checksum
)

// ident is what a file's name says: whose it is, and what it should hold.
type ident struct {
	id      ID
	version uint64
	index   int64 // of the slice; below zero: see metaIndex
	size    int64 // of the slice; the name of a meta file doesn't say
	crc     uint32
}

// metaIndex stands for the meta data of an object that is of use with n slices
// only, 0 for one that is of use with any.
func metaIndex(n int) int64 { return ^int64(n) }

// shard returns the name of the directory that an ID's files are in.
func shard(k byte) string { return hex.EncodeToString([]byte{k}) }

// String returns the file's name.
func (n ident) String() string {
	if n.index < 0 {
		return fmt.Sprintf("%x-%016x-meta-%x", n.id[:], n.version, ^n.index)
	}
	return fmt.Sprintf("%x-%016x-%x-%x-%08x", n.id[:], n.version, n.index, n.size, n.crc)
}

// parse reads a file's name, and reports whether it is one that String returns.
func parse(name string) (n ident, ok bool) {
	part := strings.Split(name, "-")
	if len(part) < 4 {
		return ident{}, false
	}
	id, err := hex.DecodeString(part[0])
	if err != nil || len(id) != len(n.id) {
		return ident{}, false
	}
	copy(n.id[:], id)
	var numbers [4]int64
	rest := part[1:]
	if rest[1] == "meta" {
		rest[1] = "0"
	}
	if len(rest) > len(numbers) {
		return ident{}, false
	}
	for i, p := range rest {
		if numbers[i], err = strconv.ParseInt(p, 16, 64); err != nil {
			return ident{}, false
		}
	}
	n.version = uint64(numbers[0]) //nolint:gosec // a negative number has a sign, which String does not write
	if len(rest) == 3 {
		n.index = ^numbers[2]
	} else {
		n.index, n.size, n.crc = numbers[1], numbers[2], uint32(numbers[3]) //nolint:gosec // likewise if it is too large
	}
	return n, n.size <= maxSlice && n.String() == name
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seed returns the checksum of nothing: it depends on whose file it is, so that one
// with another's name is not taken for it.
func (n ident) seed() uint32 {
	b := make([]byte, 0, len(n.id)+16)
	b = append(b, n.id[:]...)
	b = binary.BigEndian.AppendUint64(b, n.version)
	b = binary.BigEndian.AppendUint64(b, uint64(n.index)) //nolint:gosec // any bits will do
	return crc32.Update(0, castagnoli, b)
}

// checksum returns the checksum of a file's data.
func (n ident) checksum(data []byte) uint32 {
	return crc32.Update(n.seed(), castagnoli, data)
}

// encodeMeta returns what the meta file holds.
func (n ident) encodeMeta(meta []byte) []byte {
	b := make([]byte, 0, metaHeader+len(meta))
	b = binary.BigEndian.AppendUint32(b, n.checksum(meta))
	return append(b, meta...)
}

// decodeMeta returns the meta data of a meta file.
func (n ident) decodeMeta(b []byte) ([]byte, error) {
	if len(b) < metaHeader {
		return nil, fmt.Errorf("%w: too short", ErrDamaged)
	}
	meta := b[metaHeader:]
	if binary.BigEndian.Uint32(b) != n.checksum(meta) {
		return nil, fmt.Errorf("%w: wrong checksum", ErrDamaged)
	}
	return meta, nil
}
