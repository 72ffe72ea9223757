package main

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"strings"
)

// kind is a sort of object. %s stands for its ID in paths.
type kind struct {
	path        string // at the origin, and at all servers but the edge
	edge        string // at the edge
	contentType string
	begins      string // by which its type is known
	size        int64
}

var (
	cover = kind{"/vi/%s/hqdefault.jpg", "/cdn/art/%s", "image/jpeg", "\xff\xd8\xff\xe0\x00\x10JFIF\x00", 20 << 10}
	track = kind{"/128/%s.opus", "/cdn/stream/%s", "audio/ogg", "OggS\x00\x02", 4 << 20}
	video = kind{"/video/%s.mp4", "/cdn/stream/%s?type=video", "video/mp4", "\x00\x00\x00\x18ftypisom", 64 << 20}
)

// object is something that the origin has. Its bytes follow from its path and their
// offset, so that none need be stored to be compared.
type object struct {
	kind

	id    string
	start int64 // of it in the noise
}

// noise is random bytes over and over again. They repeat after a prime number of them, so
// that no part of an object is the same as its next one, whatever the parts' size.
var noise = func() []byte {
	b := make([]byte, period, period+64<<10)
	_, _ = rand.NewChaCha8([32]byte{}).Read(b) // cannot fail
	return append(b, b[:cap(b)-len(b)]...)
}()

const period = 1<<20 - 3

func (k kind) object(id string) object {
	h := fnv.New32a()
	_, _ = io.WriteString(h, k.path+id) // cannot fail
	return object{k, id, int64(h.Sum32()) % period}
}

// objects returns n objects of a family, whose name has at most five letters.
func (k kind) objects(family string, n int) []object {
	all := make([]object, n)
	for i := range all {
		all[i] = k.object(fmt.Sprintf("%s%0*d", family, 11-len(family), i))
	}
	return all
}

// lookUp returns what the origin has at a path.
func lookUp(path string) (object, bool) {
	for _, k := range []kind{cover, track, video} {
		before, after, _ := strings.Cut(k.path, "%s")
		if id, ok := strings.CutPrefix(path, before); ok {
			id, ok = strings.CutSuffix(id, after)
			return k.object(id), ok
		}
	}
	return object{}, false
}

func (o object) pathAtOrigin() string { return fmt.Sprintf(o.path, o.id) }

func (o object) pathAtEdge() string {
	return fmt.Sprintf(o.edge, "vyo_"+base64.RawURLEncoding.EncodeToString([]byte(o.id)))
}

// part returns at most n of the object's bytes from off on, and at least one.
func (o object) part(off int64, n int) []byte {
	if begins := int64(len(o.begins)); off < begins {
		return []byte(o.begins[off:min(begins, off+int64(n))])
	}
	i := (o.start + off) % period
	return noise[i:min(i+int64(n), int64(len(noise)))]
}

// ReadAt is an io.ReaderAt.
func (o object) ReadAt(p []byte, off int64) (int, error) {
	var n int
	for n < len(p) && off < o.size {
		c := copy(p[n:], o.part(off, int(min(int64(len(p)-n), o.size-off))))
		n, off = n+c, off+int64(c)
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// has reports whether p is what the object has from off on.
func (o object) has(p []byte, off int64) bool {
	for len(p) > 0 && off < o.size {
		want := o.part(off, int(min(int64(len(p)), o.size-off)))
		if !bytes.HasPrefix(p, want) {
			return false
		}
		p, off = p[len(want):], off+int64(len(want))
	}
	return len(p) == 0
}
