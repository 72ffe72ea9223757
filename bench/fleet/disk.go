package main

// What a file takes of the disk, and what is there without one: as in cache/disk/index.go.
// The meta data of an object is smaller than a block.
const (
	blockSize = 4096
	entrySize = 128
	layout    = 258 * blockSize
	metaCost  = blockSize + entrySize
)

// disk is which slices are on a node's disk: an LRU of slices, whose meta data goes with
// the last one of an object. Slice s is at s+1 in the list, whose ends are at 0.
type disk struct {
	c            *catalogue
	limit, bytes int64
	before       []uint32 // the one that was used next after it
	after        []uint32 // the one that was used last before it; absent: it is not there
	kept         []uint8  // slices of each object
}

const absent = ^uint32(0)

func newDisk(c *catalogue, limit int64) *disk {
	d := &disk{
		c: c, limit: limit, bytes: layout,
		before: make([]uint32, c.slices()+1), after: make([]uint32, c.slices()+1), kept: make([]uint8, len(c.sizes)),
	}
	for i := range d.after[1:] {
		d.after[i+1] = absent
	}
	return d
}

func (d *disk) has(s uint32) bool { return d.after[s+1] != absent }

// use counts as a use of a slice, which is put there if it was not.
func (d *disk) use(s uint32) {
	i := s + 1
	if d.has(s) {
		d.unlink(i)
	} else {
		d.take(s)
	}
	head := d.after[0]
	d.before[i], d.after[i] = 0, head
	d.before[head], d.after[0] = i, i
}

// take counts what a slice takes that is not there, and makes room for it.
func (d *disk) take(s uint32) {
	o := d.c.owner[s]
	d.kept[o]++ // so that its meta data stays
	cost := sliceCost(d.c.length(s))
	if d.kept[o] == 1 {
		cost += metaCost
	}
	for d.bytes+cost > d.limit && d.before[0] != 0 {
		d.drop(d.before[0] - 1)
	}
	d.bytes += cost
}

func sliceCost(n int64) int64 { return (n+blockSize-1)/blockSize*blockSize + entrySize }

// drop removes a slice that is there.
func (d *disk) drop(s uint32) {
	o := d.c.owner[s]
	d.unlink(s + 1)
	d.after[s+1] = absent
	d.bytes -= sliceCost(d.c.length(s))
	if d.kept[o]--; d.kept[o] == 0 {
		d.bytes -= metaCost
	}
}

func (d *disk) unlink(i uint32) {
	b, a := d.before[i], d.after[i]
	d.after[b], d.before[a] = a, b
}
