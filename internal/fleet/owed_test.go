package fleet

import (
	"slices"
	"sync"
	"testing"
)

// What can't be answered at the moment is owed on, in order, however many followers find that
// out at a time.
func TestOwedInOrder(t *testing.T) {
	const entries = 6
	for range 1000 {
		l := new(Log)
		f := &Follower{log: l}
		l.followers = map[*Follower]struct{}{f: {}}
		var want []owed
		var work sync.WaitGroup
		for seq := range uint64(entries) {
			want = append(want, owed{seq: seq + 1, to: "instance.call"})
			l.owe(want[seq])
		}
		for _, o := range want {
			work.Go(func() {
				l.mu.Lock()
				f.at.Seq = max(f.at.Seq, o.seq)
				l.mu.Unlock()
				l.settle()
			})
		}
		work.Wait()
		if !slices.Equal(l.owed, want) {
			t.Fatalf("owed are %+v", l.owed)
		}
	}
}
