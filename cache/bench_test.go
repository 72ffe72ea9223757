package cache

import (
	"net/http"
	"strconv"
	"testing"
)

// sunk is a writer that has nothing to do, so that what is measured is the cache.
type sunk struct{ header http.Header }

func (s sunk) Header() http.Header         { return s.header }
func (s sunk) WriteHeader(int)             {}
func (s sunk) Write(p []byte) (int, error) { return len(p), nil }

// BenchmarkHit measures answers out of memory, by one client and by many at a time.
func BenchmarkHit(b *testing.B) {
	for _, size := range []int{16 << 10, 4 << 20} {
		c := newTest(b, Limits{Memory: 64 << 20})
		req := Request{Key: "a", Policy: policy(), Fetch: newOrigin(content(1, size)).fetch}
		hit := func() {
			r := &http.Request{Method: http.MethodGet, Header: make(http.Header), ProtoMajor: 1, ProtoMinor: 1}
			if _, err := c.Serve(sunk{make(http.Header)}, r.WithContext(b.Context()), req); err != nil {
				b.Error(err)
			}
		}
		hit()
		c.work.Wait()
		b.Run(strconv.Itoa(size>>10)+"KiB", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				hit()
			}
		})
		b.Run(strconv.Itoa(size>>10)+"KiB/parallel", func(b *testing.B) {
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					hit()
				}
			})
		})
	}
}
