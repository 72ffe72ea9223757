package bench

import (
	"fmt"
	"testing"

	"github.com/voyo-music/caddy-voyo/cache"
	"github.com/voyo-music/caddy-voyo/cache/disk"
)

// BenchmarkStitch measures answers that are put together from many slices, beginning and
// ending in the middle of one, out of memory and out of files.
func BenchmarkStitch(b *testing.B) {
	const slice = 16 << 10 // so that the shortest answer has some, too
	for _, tier := range []string{"memory", "disk"} {
		e := newEdge(b, cache.Limits{Memory: 64 << 20, Slice: slice}, 5<<20)
		key := keysOf(0, 1)[0]
		if tier == "disk" {
			e.ontoDisk(b, key)
		} else {
			e.warm(b, []string{key})
		}
		for size := 64 << 10; size <= 4<<20; size *= 4 {
			b.Run(fmt.Sprintf("%s/%dKiB", tier, size>>10), func(b *testing.B) {
				const first = slice + slice/2
				field := fmt.Sprintf("bytes=%d-%d", first, first+size-1)
				c := newClient(field, size)
				c.check(b, e, key, e.body[first:first+size])
				before := e.Stats()
				b.SetBytes(int64(size))
				b.ReportAllocs()
				report := meter(b)
				for b.Loop() {
					if err := c.hit(e, key); err != nil {
						b.Fatal(err)
					}
				}
				report()
				after := e.Stats()
				if read := after.FromDisk - before.FromDisk; tier == "disk" && read != after.Sent-before.Sent || tier != "disk" && read != 0 {
					b.Fatalf("%d bytes from the disk", read)
				}
			})
		}
	}
}

// ontoDisk has an object on the disk, and nothing of it in memory.
func (e edge) ontoDisk(b *testing.B, key string) {
	b.Helper()
	d, err := disk.Open(b.TempDir(), 1<<30, disk.Events{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		e.SetDisk(nil, "")
		if err := d.Close(); err != nil {
			b.Error(err)
		}
	})
	e.SetDisk(d, "")
	e.warm(b, []string{key})
	d.Flush()
	e.SetLimits(cache.Limits{Memory: 1})
	if e.Stats().Bytes != 0 {
		b.Fatal("something stays in memory")
	}
}
