package voyo

import (
	"sync"
	"sync/atomic"

	"github.com/voyo-music/caddy-voyo/resolver"
)

// maxTakedowns is how many tracks may be taken down at a time: more than VOYO has. What
// is kept of them on disk has room for some more.
const maxTakedowns = 200_000

// takedowns are the tracks that nobody may be given. Requests look at it all the time, and
// most of the time there are none. The zero value is ready for use.
type takedowns struct {
	n   atomic.Int64
	ids sync.Map // by resolver.ID
}

// has reports whether the track is taken down.
func (t *takedowns) has(id resolver.ID) bool {
	if t.n.Load() == 0 {
		return false
	}
	_, ok := t.ids.Load(id)
	return ok
}

func (t *takedowns) add(ids ...resolver.ID) {
	for _, id := range ids {
		if _, known := t.ids.LoadOrStore(id, nil); !known {
			t.n.Add(1)
		}
	}
}

func (t *takedowns) lift(ids ...resolver.ID) {
	for _, id := range ids {
		if _, known := t.ids.LoadAndDelete(id); known {
			t.n.Add(-1)
		}
	}
}

// replace makes the tracks the ones that are taken down. None of them is not so meanwhile.
func (t *takedowns) replace(ids []resolver.ID) {
	keep := make(map[resolver.ID]bool, len(ids))
	for _, id := range ids {
		keep[id] = true
	}
	t.add(ids...)
	for _, id := range t.list() {
		if !keep[id] {
			t.lift(id)
		}
	}
}

// count returns how many tracks are taken down.
func (t *takedowns) count() int { return int(t.n.Load()) }

// list returns the tracks that are taken down, in no order.
func (t *takedowns) list() []resolver.ID {
	ids := make([]resolver.ID, 0, t.count())
	t.ids.Range(func(id, _ any) bool {
		ids = append(ids, id.(resolver.ID))
		return true
	})
	return ids
}
