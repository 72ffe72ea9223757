package cache

// sent is how many bytes of bodies clients were sent.
type sent struct{ all, fromDisk int64 }

func (s *sent) addFromDisk(n int64) {
	s.all += n
	s.fromDisk += n
}

// tally counts what the transaction has sent since the last time. It is called where
// the lock is held anyway, which for a body is between its slices. The caller holds
// c.mu.
func (t *transaction) tally() {
	t.c.sent.all += t.sent.all
	t.c.sent.fromDisk += t.sent.fromDisk
	t.sent = sent{}
}

// count is tally for what may take long, and needs no lock.
func (t *transaction) count() {
	t.c.mu.Lock()
	defer t.c.mu.Unlock()
	t.tally()
}
