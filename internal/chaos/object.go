package chaos

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Object is what an upstream has at a path. It has versions, from 0 on.
type Object struct {
	Path      string
	Missing   bool
	Size      int64  // of version 0
	Validator string // "etag", "weak", "date", "both" or "none"
	Control   string // Cache-Control
	Ranges    bool   // are heeded
	Framing   string // "length", "chunked" or "close"
}

// epoch is when version 0 of everything was modified.
var epoch = time.Date(1999, 1, 2, 3, 4, 5, 0, time.UTC)

// controls are what upstreams say of caching, with the time for which what they say may
// be used, stale or not. 0 says that it is the edge's to decide.
var controls = map[string]time.Duration{
	"":                     0,
	"max-age=30":           30 * time.Second,
	"max-age=0":            0,
	"no-store":             0,
	"private, max-age=100": 100 * time.Second,
	"public, s-maxage=20":  20 * time.Second,
	"max-age=5, stale-while-revalidate=20, stale-if-error=40": 45 * time.Second,
}

// Object returns what an upstream has at a path.
func (s Script) Object(path string) Object {
	r := draw(s.Seed, "object", path)
	const slice = 16 << 10
	o := Object{
		Path:    path,
		Missing: r.IntN(8) == 0,
		Size: pick(r, 0, 1, 700, slice-1, slice, slice+1, 2*slice,
			3*slice+r.Int64N(slice), 9*slice+r.Int64N(9*slice), 65536*2+r.Int64N(slice)),
		Validator: pick(r, "etag", "etag", "etag", "both", "weak", "date", "none"),
		Ranges:    r.IntN(8) > 0,
		Framing:   pick(r, "length", "length", "length", "length", "chunked", "close"),
		Control: pick(r, "", "", "", "", "max-age=30", "max-age=0", "no-store", "private, max-age=100", "public, s-maxage=20",
			"max-age=5, stale-while-revalidate=20, stale-if-error=40"),
	}
	o.Size = max(o.Size, 1) // what is empty is no track; some faults make one so
	if strings.HasSuffix(path, ".png") {
		o.Size = max(o.Size, int64(len(pngSignature)))
	}
	return o
}

func (o Object) String() string {
	if o.Missing {
		return o.Path + ": missing"
	}
	return fmt.Sprintf("%s: %d bytes, validator %s, Cache-Control %q, ranges %t, %s",
		o.Path, o.Size, o.Validator, o.Control, o.Ranges, o.Framing)
}

// SizeOf returns the size of a version. Some versions have the same.
func (o Object) SizeOf(version int) int64 {
	if version%3 == 1 {
		return o.Size
	}
	return o.Size + int64(version%5)*1000
}

// Tag returns the entity tag of a version, as a strong one.
func (o Object) Tag(version int) string { return fmt.Sprintf(`"%x-%d"`, hash(o.Path), version) }

// setHeader sets what describes a version.
func (o Object) setHeader(h http.Header, version int) {
	switch o.Validator {
	case "etag", "both":
		h.Set("Etag", o.Tag(version))
	case "weak":
		h.Set("Etag", "W/"+o.Tag(version))
	}
	if o.Validator != "etag" && o.Validator != "none" {
		h.Set("Last-Modified", epoch.Add(time.Duration(version)*time.Hour).Format(http.TimeFormat))
	}
	if o.Control != "" {
		h.Set("Cache-Control", o.Control)
	}
	h.Set("Content-Type", "audio/ogg")
	if strings.HasSuffix(o.Path, ".png") {
		h.Set("Content-Type", "image/png")
	}
}

// versionOf returns the version that an entity tag names, and whether it is one of the
// object's.
func (o Object) versionOf(tag string) (int, bool) {
	digits, ok := strings.CutPrefix(strings.TrimPrefix(tag, "W/"), fmt.Sprintf(`"%x-`, hash(o.Path)))
	if !ok {
		return 0, false
	}
	version, err := strconv.Atoi(strings.TrimSuffix(digits, `"`))
	return version, err == nil
}

// pathsOf lists where the files of a track are: its bitrates, and the sizes of its cover,
// each from the best one on.
func pathsOf(id string) []string {
	paths := []string{"/audio/" + id + "/128.opus", "/audio/" + id + "/64.opus"}
	for _, image := range []string{"maxresdefault", "hqdefault", "mqdefault", "default"} {
		paths = append(paths, "/art/"+id+"/"+image+".png")
	}
	return paths
}
