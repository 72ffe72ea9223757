package resolver

import (
	"encoding/base64"
	"errors"
	"strings"
)

// ErrInvalidID is returned by ParseID for anything that is not a track ID. It
// does not quote what it was given.
var ErrInvalidID = errors.New("invalid track ID")

const (
	sourceLen  = 11
	voyoPrefix = "vyo_"
	voyoLen    = len(voyoPrefix) + 15 // 11 bytes are 15 characters of unpadded base64
)

// voyoEncoding is base64url (RFC 4648, section 5) without padding. Strict
// refuses trailing bits that are not zero (section 3.5): without it four
// strings would name each track, and each would be a way around a purge.
var voyoEncoding = base64.RawURLEncoding.Strict()

// ID is a track's source ID: exactly 11 characters of A-Z a-z 0-9 - _. Only
// ParseID makes one.
type ID string

// ParseID reads a track ID in either of its forms: the source ID, or the VOYO
// ID, which is "vyo_" and the base64url of the source ID. Each track has one
// string of either form and no more; the error is always ErrInvalidID.
func ParseID(s string) (ID, error) {
	// The length alone tells the forms apart: a source ID may begin with "vyo_".
	if len(s) == sourceLen {
		return parseSource(s)
	}
	if !IsVOYO(s) {
		return "", ErrInvalidID
	}
	source, err := voyoEncoding.DecodeString(s[len(voyoPrefix):])
	if err != nil {
		return "", ErrInvalidID
	}
	// The decoder skips line breaks, so that what is left may be too short.
	return parseSource(string(source))
}

// IsVOYO reports whether a string that ParseID accepts is in the VOYO form. If
// it is not, it is a source ID.
func IsVOYO(s string) bool {
	return len(s) == voyoLen && strings.HasPrefix(s, voyoPrefix)
}

// String returns the source form.
func (id ID) String() string { return string(id) }

// VOYO returns the VOYO form.
func (id ID) VOYO() string {
	return voyoPrefix + voyoEncoding.EncodeToString([]byte(id))
}

func parseSource(s string) (ID, error) {
	if len(s) != sourceLen {
		return "", ErrInvalidID
	}
	for i := range len(s) {
		if !isAlphanumeric(s[i]) && s[i] != '-' && s[i] != '_' {
			return "", ErrInvalidID
		}
	}
	return ID(s), nil
}

func isAlphanumeric(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
