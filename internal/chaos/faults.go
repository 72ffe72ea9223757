package chaos

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// fault is one way in which an answer goes wrong. It reports whether that is possible
// with the message at hand.
type fault struct {
	name string
	do   func(x *exchange, m *message) bool
}

// Faults lists the names of all faults of answers.
func Faults() (names []string) {
	for _, f := range faults {
		names = append(names, f.name)
	}
	return names
}

// faults are all that there are.
var faults = concat(breaks(), statuses(), lengths(), ranges(), versions(), headers(), chunks(), redirects(), connections())

func concat(lists ...[]fault) (all []fault) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

// breaks are those that stop at each stage, in each way.
func breaks() (list []fault) {
	for _, s := range []struct {
		stage stage
		name  string
	}{{atStatus, "before the status"}, {inHeader, "in the header"}, {afterHeader, "after the header"}, {inBody, "in the body"}} {
		for _, how := range []string{"hangs", "resets", "closes"} {
			list = append(list, fault{how + " " + s.name, func(x *exchange, m *message) bool {
				m.stage, m.how, m.at = s.stage, how, x.offset(m)
				return s.stage != inBody || m.hasBody() && m.n > 0
			}})
		}
	}
	return append(list,
		fault{"trickles its header", func(x *exchange, m *message) bool {
			m.stage, m.how, m.pause = inHeader, "trickles", time.Duration(x.reply.Times)*time.Second/3
			return true
		}},
		fault{"trickles its body", func(x *exchange, m *message) bool {
			m.stage, m.how, m.pause = inBody, "trickles", time.Duration(x.reply.Times)*2*time.Second
			return m.hasBody() && m.n > 0
		}})
}

// statuses are those that refuse.
func statuses() (list []fault) {
	for _, status := range []int{500, 502, 503, 404, 403, 410, 429, 416, 204, 101, 999} {
		list = append(list, fault{fmt.Sprintf("status %d", status), func(_ *exchange, m *message) bool {
			m.refuse(status)
			if status == http.StatusNoContent || status == http.StatusSwitchingProtocols {
				m.page = ""
				m.header.Del("Content-Length")
			}
			return true
		}})
	}
	return append(list,
		fault{"304 unasked", func(x *exchange, m *message) bool {
			m.refuse(http.StatusNotModified)
			m.page = ""
			m.header.Del("Content-Length")
			return x.r.Header.Get("If-None-Match") == "" && x.r.Header.Get("If-Modified-Since") == ""
		}},
		fault{"status 100 flood", func(_ *exchange, m *message) bool {
			m.stage, m.flood = atStatus, "HTTP/1.1 103 Early Hints\r\nLink: </"+Secret+">\r\n\r\n"
			return true
		}},
		fault{"some interim answers", func(x *exchange, m *message) bool {
			m.before = strings.Repeat("HTTP/1.1 103 Early Hints\r\nSet-Cookie: "+Secret+"=1\r\n\r\n", x.reply.Times)
			return true
		}})
}

// lengths are those whose Content-Length is not the body's.
func lengths() []fault {
	set := func(values func(n int64) []string) func(*exchange, *message) bool {
		return func(_ *exchange, m *message) bool {
			if !m.hasBody() || len(m.header["Content-Length"]) == 0 || m.n == 0 {
				return false
			}
			m.header["Content-Length"] = values(m.n)
			m.close = true
			return true
		}
	}
	return []fault{
		{"length too long", func(x *exchange, m *message) bool {
			if m.status == http.StatusOK { // which may be true until all is there
				x.size += 77
			}
			return set(func(n int64) []string { return []string{strconv.FormatInt(n+77, 10)} })(x, m)
		}},
		{"length too short", func(x *exchange, m *message) bool {
			short := x.offset(m) / 2
			if m.status == http.StatusOK { // a lie that nobody can see through
				x.size = short
			}
			return set(func(int64) []string { return []string{strconv.FormatInt(short, 10)} })(x, m)
		}},
		{"length negative", set(func(int64) []string { return []string{"-1"} })},
		{"two lengths", set(func(n int64) []string { return []string{fmt.Sprint(n), fmt.Sprint(n + 1)} })},
		{"length garbage", set(func(int64) []string { return []string{"0x10, many"} })},
		{"length and chunked", func(_ *exchange, m *message) bool {
			if !m.hasBody() || len(m.header["Content-Length"]) == 0 {
				return false
			}
			m.header["Content-Length"] = []string{strconv.FormatInt(m.n/2, 10)} // which does not count (RFC 9112, section 6.3)
			m.header.Set("Transfer-Encoding", "chunked")
			m.chunked = true
			return true
		}},
		{"endless body", func(_ *exchange, m *message) bool {
			if !m.hasBody() {
				return false
			}
			m.header.Del("Content-Length")
			m.header.Del("Content-Range")
			m.status, m.n, m.off, m.close = http.StatusOK, -1, 0, true
			return true
		}},
	}
}

// ranges are those that have another range than was asked for.
func ranges() []fault {
	lie := func(field func(off, n, size int64) string) func(*exchange, *message) bool {
		return func(x *exchange, m *message) bool {
			if m.status != http.StatusPartialContent || m.n < 2 {
				return false
			}
			m.header.Set("Content-Range", field(m.off, m.n, x.size))
			return true
		}
	}
	// As long as nobody asks for what is not there, the total may be true.
	more := func(n int64, field func(off, n, size int64) string) func(*exchange, *message) bool {
		return func(x *exchange, m *message) bool {
			x.size += n
			return lie(field)(x, m)
		}
	}
	return []fault{
		{"range from elsewhere", lie(func(off, n, size int64) string { return fmt.Sprintf("bytes %d-%d/%d", off+1, off+n, size) })},
		{"range too large", more(99, func(off, n, size int64) string { return fmt.Sprintf("bytes %d-%d/%d", off, off+n+9, size) })},
		{"range of another total", more(4321, func(off, n, size int64) string {
			return fmt.Sprintf("bytes %d-%d/%d", off, off+n-1, size)
		})},
		{"range beyond its total", lie(func(off, n, _ int64) string { return fmt.Sprintf("bytes %d-%d/%d", off, off+n-1, off+n-2) })},
		{"range of another unit", lie(func(off, n, size int64) string { return fmt.Sprintf("seconds %d-%d/%d", off, off+n-1, size) })},
		{"range of unknown total", lie(func(off, n, _ int64) string { return fmt.Sprintf("bytes %d-%d/*", off, off+n-1) })},
		{"range garbage", lie(func(int64, int64, int64) string { return "bytes 99999999999999999999-/x" })},
		{"no Content-Range", func(_ *exchange, m *message) bool {
			m.header.Del("Content-Range")
			return m.status == http.StatusPartialContent
		}},
		{"200 to a range", func(x *exchange, m *message) bool {
			if m.status != http.StatusPartialContent {
				return false
			}
			m.header.Del("Content-Range")
			m.status, m.off, m.n = http.StatusOK, 0, x.size
			if len(m.header["Content-Length"]) > 0 {
				m.header.Set("Content-Length", strconv.FormatInt(m.n, 10))
			}
			return true
		}},
		{"206 unasked", func(x *exchange, m *message) bool {
			if m.status != http.StatusOK || x.r.Header.Get("Range") != "" || m.n < 2 {
				return false
			}
			m.status = http.StatusPartialContent
			m.header.Set("Content-Range", fmt.Sprintf("bytes 0-%d/%d", m.n-1, x.size))
			return true
		}},
		{"206 of several parts", func(x *exchange, m *message) bool {
			m.refuse(http.StatusPartialContent)
			m.header.Set("Content-Type", "multipart/byteranges; boundary=b")
			m.page = fmt.Sprintf("--b\r\nContent-Range: bytes 0-1/%d\r\n\r\nxy\r\n--b--\r\n", x.size)
			m.header.Set("Content-Length", strconv.Itoa(len(m.page)))
			return true
		}},
	}
}

// versions are those with another version than before.
func versions() []fault {
	strip := func(_ *exchange, m *message) bool {
		m.header.Del("Etag")
		m.header.Del("Last-Modified")
		return m.hasBody()
	}
	return []fault{
		{"new version in the body", func(x *exchange, m *message) bool {
			m.stage, m.how, m.at = inBody, "changes", x.offset(m)
			return m.hasBody() && m.n > 0
		}},
		{"new version after it", func(_ *exchange, m *message) bool {
			m.stage, m.how = atEnd, "changes"
			return m.hasBody()
		}},
		{"weak tag", func(_ *exchange, m *message) bool {
			tag := m.header.Get("Etag")
			m.header.Set("Etag", "W/"+tag)
			return strings.HasPrefix(tag, `"`)
		}},
		{"no validators", strip},
		{"tag garbage", func(x *exchange, m *message) bool {
			ok := strip(x, m)
			m.header.Set("Etag", `unquoted "tag`)
			return ok
		}},
	}
}

// headers are those that say what they should not.
func headers() []fault {
	set := func(name, value string) func(*exchange, *message) bool {
		return func(_ *exchange, m *message) bool {
			m.header.Add(name, value)
			return true
		}
	}
	content := func(name, value string) func(*exchange, *message) bool {
		return func(_ *exchange, m *message) bool {
			m.header.Set(name, value)
			return m.hasBody()
		}
	}
	return []fault{
		{"Set-Cookie", set("Set-Cookie", "session="+Secret)},
		{"junk fields", func(_ *exchange, m *message) bool {
			m.lines = append(m.lines, "X-Powered-By: "+Secret, "Access-Control-Allow-Origin: *", "Cache-Status: "+Secret+"; hit",
				"Content-Disposition: attachment", "Content-Security-Policy: none", "Strict-Transport-Security: max-age=1",
				"Alt-Svc: h3=\""+Secret+"\"", "Refresh: 0; url=//"+Secret)
			return true
		}},
		{"bad field", func(_ *exchange, m *message) bool {
			m.lines = append(m.lines, "no colon here", " : "+Secret, "\x00\x01: \xff")
			return true
		}},
		{"Vary *", set("Vary", "*")},
		{"gzip unasked", content("Content-Encoding", "gzip")},
		{"text/html", content("Content-Type", "text/html; charset=utf-8")},
		{"type garbage", content("Content-Type", "audio/;;=\"")},
		{"enormous header", func(_ *exchange, m *message) bool {
			m.lines = append(m.lines, "X-Large: "+strings.Repeat(Secret, 20_000))
			return true
		}},
		{"endless header", func(_ *exchange, m *message) bool {
			m.stage, m.flood = inHeader, "X-More: "+strings.Repeat(Secret, 4000)+"\r\n"
			return true
		}},
		{"no HTTP", func(_ *exchange, m *message) bool {
			m.stage, m.how, m.before = atStatus, "closes", "\x16\x03\x01 hello "+Secret+"\r\n\r\n"
			return true
		}},
		{"HTTP/0.9", func(x *exchange, m *message) bool {
			m.stage, m.how, m.before = atStatus, "closes", string(Body(x.o.Path, x.version, 0, 3000))
			return true
		}},
	}
}

// chunks are those with bad chunks.
func chunks() []fault {
	chunked := func(change func(x *exchange, m *message)) func(*exchange, *message) bool {
		return func(x *exchange, m *message) bool {
			if !m.hasBody() {
				return false
			}
			m.chunked, m.close = true, false
			m.header.Del("Content-Length")
			m.header.Set("Transfer-Encoding", "chunked")
			change(x, m)
			return true
		}
	}
	return []fault{
		{"chunk size garbage", chunked(func(x *exchange, m *message) { m.stage, m.how, m.at = inBody, "garbles", x.offset(m) })},
		{"no last chunk", chunked(func(_ *exchange, m *message) { m.tail, m.close = "", true })},
		{"huge chunk extension", chunked(func(_ *exchange, m *message) { m.tail = "0;x=" + strings.Repeat("x", 100_000) + "\r\n\r\n" })},
		{"trailers", chunked(func(_ *exchange, m *message) {
			m.header.Set("Trailer", "Set-Cookie, Etag")
			m.tail = "0\r\nSet-Cookie: " + Secret + "=1\r\nEtag: \"other\"\r\n\r\n"
		})},
		{"unknown coding", func(_ *exchange, m *message) bool {
			m.header.Del("Content-Length")
			m.header.Set("Transfer-Encoding", "gzip, chunked")
			return m.hasBody()
		}},
	}
}

// redirects are those to somewhere else.
func redirects() []fault {
	to := func(target func(x *exchange) string) func(*exchange, *message) bool {
		return func(x *exchange, m *message) bool {
			m.refuse([]int{301, 302, 303, 307, 308}[x.reply.Times%5])
			m.header.Set("Location", target(x))
			return true
		}
	}
	places := []string{
		"http://10.0.0.7", "http://127.0.0.1:2019", "http://169.254.169.254", "http://[::1]", "http://[::ffff:10.0.0.7]", "http://0.0.0.0",
		"http://100.64.0.1", "http://inside.example", "http://elsewhere.example",
	}
	return []fault{
		{"redirect", to(func(x *exchange) string { return x.u.elsewhere() + x.o.Path + "?hops=0" })},
		{"redirect chain", to(func(x *exchange) string { return fmt.Sprintf("%s%s?hops=%d", x.u.elsewhere(), x.o.Path, x.reply.Times) })},
		{"redirect loop", to(func(x *exchange) string { return x.u.elsewhere() + x.o.Path + "?hops=1000" })},
		{"redirect to inside", to(func(x *exchange) string { return places[int(x.reply.At*1000)%len(places)] + x.o.Path })},
		{"redirect to another scheme", to(func(x *exchange) string {
			targets := []string{
				"file:///etc/passwd", "ftp://cdn.example/x", "gopher://cdn.example/x", "//", "http://", "javascript:alert(1)",
			}
			return targets[x.reply.Times%6]
		})},
		{"redirect to nowhere", func(x *exchange, m *message) bool {
			to(func(*exchange) string { return "" })(x, m)
			m.header.Del("Location")
			return true
		}},
	}
}

// connections are those after the answer, which is right.
func connections() []fault {
	return []fault{
		{"closes after it", func(_ *exchange, m *message) bool {
			m.close = true
			return len(m.header["Content-Length"]) > 0 || m.chunked
		}},
		{"resets after it", func(_ *exchange, m *message) bool {
			m.stage, m.how = atEnd, "resets"
			return len(m.header["Content-Length"]) > 0 || m.chunked
		}},
		{"another answer after it", func(_ *exchange, m *message) bool {
			m.after = "HTTP/1.1 200 OK\r\nContent-Type: audio/ogg\r\nContent-Length: 26\r\n\r\n" + Secret + " smuggled!!"
			return len(m.header["Content-Length"]) > 0 || m.chunked
		}},
	}
}
