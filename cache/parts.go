package cache

import "iter"

// parts is what an object has in memory: slices by index, of which there may be any number
// anywhere, for what is claimed to be huge takes no more room than what is there. Most
// objects have one, at the beginning, which takes no table. Guarded by Cache.mu.
type parts struct {
	first *slice
	rest  map[int]*slice
}

// at returns the slice with an index; nil if it is not there.
func (p *parts) at(i int) *slice {
	if i == 0 {
		return p.first
	}
	return p.rest[i]
}

func (p *parts) set(s *slice) {
	if s.i == 0 {
		p.first = s
		return
	}
	if p.rest == nil {
		p.rest = make(map[int]*slice)
	}
	p.rest[s.i] = s
}

func (p *parts) remove(i int) {
	if i == 0 {
		p.first = nil
		return
	}
	delete(p.rest, i)
}

// all yields the slices, the first one first and the others in any order. They may be
// removed meanwhile.
func (p *parts) all() iter.Seq[*slice] {
	return func(yield func(*slice) bool) {
		if p.first != nil && !yield(p.first) {
			return
		}
		for _, s := range p.rest {
			if !yield(s) {
				return
			}
		}
	}
}
