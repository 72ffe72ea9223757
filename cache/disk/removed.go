package disk

// Removed reports whether the object was removed, replaced or evicted.
func (o *Object) Removed() bool {
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	return o.gone
}
