package chaos

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// clientSecret is in whatever a client says that is for the edge at most.
const clientSecret = "client-s3cret"

// Visit is what one client does.
type Visit struct {
	At     time.Duration
	What   string   // "stream", "cover", "exists", "locate", "prefetch" or "nonsense"
	Paths  []string // where the upstream may have what is asked for
	Method string
	Target string
	Proto  string // "1.0", "1.1" or "2"
	Header http.Header
	Manner string
	After  int64 // bytes of the body, after which it leaves
}

func (v Visit) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "at %s %s %s HTTP/%s, %s", v.At, v.Method, v.Target, v.Proto, v.Manner)
	if strings.HasSuffix(v.Manner, "in the body") {
		fmt.Fprintf(&b, " after %d bytes", v.After)
	}
	for _, name := range slices.Sorted(maps.Keys(v.Header)) {
		value := v.Header.Get(name)
		fmt.Fprintf(&b, ", %s: %s", name, value[:min(len(value), 80)])
	}
	return b.String()
}

// Manners are all that clients do. The last ones are for HTTP/1.
var Manners = []string{
	"reads", "reads slowly", "leaves before the answer", "leaves in the body", "resets in the body", "leaves soon",
	"asks again", "asks twice at once", "says no more", "is slow to ask", "asks without HTTP",
	"has a huge header", "has a bad field", "has a bad length",
}

const mannersOfAll = 6

// Kinds are all that clients ask for.
var Kinds = []string{"stream", "cover", "exists", "locate", "prefetch", "nonsense"}

// Visit returns the nth visit of a load that has no end.
func (s Script) Visit(n int) Visit { return s.drawVisit(draw(s.Seed, "visit", fmt.Sprint(n))) }

// drawVisit draws what a client does.
func (s Script) drawVisit(r *rand.Rand) Visit {
	id := s.Tracks[r.IntN(len(s.Tracks))]
	v := Visit{
		At: drawMoment(r),
		What: pick(r, "stream", "stream", "stream", "stream", "stream", "cover", "cover", "cover",
			"exists", "locate", "prefetch", "nonsense"),
		Method: pick(r, "GET", "GET", "GET", "GET", "GET", "GET", "HEAD", "HEAD", "OPTIONS", "POST"),
		Proto:  pick(r, "1.0", "1.1", "1.1", "1.1", "2", "2"),
		Header: make(http.Header),
		After:  pick(r, 0, 1, 5000, r.Int64N(100_000)),
	}
	v.Manner = "reads"
	if r.IntN(2) == 0 {
		v.Manner = pick(r, Manners[:mannersOfAll]...)
		if v.Proto != "2" {
			v.Manner = pick(r, Manners...)
		}
	}
	if v.Manner == "asks twice at once" && v.Method == http.MethodPost {
		v.Method = http.MethodGet
	}
	v.Paths, v.Target = aim(r, v.What, id)
	s.drawHeader(r, &v)
	return v
}

// aim draws what is asked for of a track.
func aim(r *rand.Rand, what, id string) (paths []string, target string) {
	paths = pathsOf(id)
	quality := pick(r, "", "?quality=high", "?quality=low", "?quality=medium")
	switch what {
	case "stream":
		target = pick(r, "/cdn/stream/"+id+quality, "/cdn/stream/"+id, "/audio/"+id+"?q=low", "/proxy?v="+id)
	case "cover":
		image := r.IntN(4)
		return paths[2+image:], "/cdn/art/" + id + "?quality=" + covers[image]
	case "exists":
		target = "/exists/" + id
	case "locate":
		target = "/stream?v=" + id
	case "prefetch":
		target = "/prefetch?v=" + id
	default:
		target = pick(r, "/cdn/stream/"+id+"x", "/cdn/stream/", "/cdn/stream/..%2f..%2fetc", "/cdn/art/"+id+"%00",
			"/proxy?v="+url.QueryEscape("http://10.0.0.7/"), "/cdn/stream/"+id+"/x", "/exists/vyo_"+id, "/thumbnail", "/prefetch?v=",
			"/cdn/stream/vyo_"+strings.Repeat("A", 5000))
	}
	return paths[:2], target
}

// covers are the sizes of covers, in clients' words.
var covers = []string{"max", "high", "medium", "default"}

// drawHeader draws the fields that a request has.
func (s Script) drawHeader(r *rand.Rand, v *Visit) {
	if r.IntN(3) == 0 {
		v.Header.Set("Cookie", clientSecret)
		v.Header.Set("Authorization", "Bearer "+clientSecret)
		v.Header.Set("X-Forwarded-For", clientSecret)
	}
	if r.IntN(8) == 0 {
		v.Header.Set("Cache-Control", pick(r, "no-cache", "no-store", "only-if-cached", "max-age=0"))
	}
	if v.What != "stream" && v.What != "cover" {
		return
	}
	o := s.Object(v.Paths[0])
	tag := o.Tag(r.IntN(3))
	if r.IntN(2) == 0 {
		v.Header.Set("Range", drawRange(r, o.Size))
		if r.IntN(4) == 0 {
			v.Header.Set("If-Range", pick(r, tag, "W/"+tag, epoch.Format(http.TimeFormat), "nonsense"))
		}
	}
	if r.IntN(8) == 0 {
		v.Header.Set("If-None-Match", pick(r, tag, "W/"+tag, `"x", `+tag, `"x"`, "*", "nonsense"))
	}
	if r.IntN(16) == 0 {
		name := pick(r, "If-Modified-Since", "If-Unmodified-Since")
		v.Header.Set(name, epoch.Add(pick(r, -time.Hour, 0, time.Hour)).Format(http.TimeFormat))
	}
	if r.IntN(16) == 0 {
		v.Header.Set("If-Match", pick(r, tag, `"x"`, "*"))
	}
}

// drawRange draws a Range field for what may be of the size.
func drawRange(r *rand.Rand, size int64) string {
	first := r.Int64N(size + 2)
	last := first + r.Int64N(size+2)
	return pick(r,
		"bytes=0-", "bytes=0-1", "bytes=0-0", "bytes=-1", "bytes=-0",
		fmt.Sprintf("bytes=%d-", first), fmt.Sprintf("bytes=%d-%d", first, last), fmt.Sprintf("bytes=%d-%d", first, last),
		fmt.Sprintf("bytes=-%d", last), fmt.Sprintf("bytes=%d-%d", first, min(first+100, last)),
		fmt.Sprintf("bytes=0-0,%d-%d", first, last), fmt.Sprintf("bytes=-1, %d-%d ,0-9", first, first),
		"bytes=0-10,5-20,3-3", fmt.Sprintf("bytes=%d-,0-99", first),
		fmt.Sprintf("bytes=%d-", size), "bytes=99999999999999999999-", "bytes=0-99999999999999999999",
		"bytes=-99999999999999999999", "bytes=9223372036854775807-9223372036854775807",
		"bytes=5-2", "bytes=-", "bytes=", "bytes", "seconds=0-1", "bytes=0-1-2", "bytes=a-b", "bytes = 0-1", "BYTES=0-9", "bytes=0-1,",
		strings.Repeat("bytes=0-0,", 300),
		"bytes="+strings.Repeat("0-0,", 300)+"1-1",
	)
}
