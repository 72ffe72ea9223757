package disk

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

func BenchmarkOpenStore(b *testing.B) {
	for range b.N {
		dir := memDir(b)
		s, err := Open(dir, noLimit, Events{})
		if err != nil {
			b.Fatal(err)
		}
		s.Close()
	}
}

func benchStore(b *testing.B) *Store {
	b.Helper()
	s, err := Open(memDir(b), noLimit, Events{})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { s.Close() })
	s.Flush()
	return s
}

// BenchmarkPut measures from Put until the slice is written.
func BenchmarkPut(b *testing.B) {
	for _, size := range []int{4 << 10, 256 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := benchStore(b)
			s.SetLimit(layout + 1000*cost(int64(size)))
			data := content(ID{}, "", 0, size)
			o := s.Create(ID{}, []byte("meta"), false)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			i := int64(0)
			for b.Loop() {
				o.Put(Slice{i, data})
				s.Flush()
				i++
			}
		})
	}
}

// BenchmarkOpen measures how long it takes to open a slice that is verified.
func BenchmarkOpen(b *testing.B) {
	for _, size := range []int{4 << 10, 256 << 10} {
		for _, verified := range []bool{true, false} {
			b.Run(fmt.Sprintf("%d/verified=%v", size, verified), func(b *testing.B) {
				s := benchStore(b)
				o := s.Create(ID{}, []byte("meta"), false)
				o.Put(Slice{0, content(ID{}, "", 0, size)})
				s.Flush()
				f := o.slices[0]
				b.ReportAllocs()
				for b.Loop() {
					f.verified = verified
					file, err := o.Open(0)
					if err != nil {
						b.Fatal(err)
					}
					file.Close()
				}
			})
		}
	}
}

// BenchmarkIndex measures what the index takes of the memory for a slice, if all
// are listed.
func BenchmarkIndex(b *testing.B) {
	for _, n := range []int{1, 16} { // slices of an object
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			const objects = 20_000
			for range b.N {
				s := newIndex()
				before := heap()
				start := time.Now()
				for i := range objects {
					id := NewID("", fmt.Sprint(i))
					files := []found{{ident: ident{id: id, version: 1, index: metaIndex(0)}}}
					for j := range n {
						files = append(files, found{ident: ident{id: id, version: 1, index: int64(j)}})
					}
					s.adopt(id, files)
				}
				s.rank()
				b.ReportMetric(float64(time.Since(start).Nanoseconds())/float64(objects*n), "ns/slice")
				b.ReportMetric(float64(heap()-before)/float64(objects*n), "B/slice")
				runtime.KeepAlive(s)
			}
		})
	}
}

// newIndex returns a store without a directory and without a worker.
func newIndex() *Store {
	s := &Store{limit: noLimit, wake: make(chan struct{}, 1)}
	s.idle, _ = simplelru.NewLRU[ID, *Object](maxIdle, nil)
	s.reset()
	return s
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
