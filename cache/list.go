package cache

// list is slices in an order, the one that came or was used last first. There may be
// millions of slices, and each hit moves some: the links are in the slices themselves,
// where simplelru's would cost a hash of their names and more memory than the slice takes
// besides its bytes. Guarded by Cache.mu.
type list struct {
	root slice
	n    int
}

func newList() *list {
	l := new(list)
	l.root.prev, l.root.next = &l.root, &l.root
	return l
}

// oldest returns the last one in the order; nil if there is none.
func (l *list) oldest() *slice {
	if l.n == 0 {
		return nil
	}
	return l.root.prev
}

// push makes s, which is in no list, the first one.
func (l *list) push(s *slice) {
	s.prev, s.next = &l.root, l.root.next
	s.prev.next, s.next.prev = s, s
	l.n++
}

// remove takes out s, which is in the list.
func (l *list) remove(s *slice) {
	s.prev.next, s.next.prev = s.next, s.prev
	s.prev, s.next = nil, nil
	l.n--
}

// front makes s, which is in the list, the first one.
func (l *list) front(s *slice) {
	l.remove(s)
	l.push(s)
}
