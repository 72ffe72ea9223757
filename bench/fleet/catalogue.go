package main

import "math/rand/v2"

// variants is how many objects a track has: one for each bitrate.
const variants = 2

// catalogue is all that there is to be asked for. Objects are numbered, those of a track
// one after the other, and so are the slices of all of them.
type catalogue struct {
	slice int64    // bytes
	sizes []int64  // of the objects, in bytes
	first []uint32 // each object's first slice; one more entry, for the end
	owner []uint32 // the object of each slice
}

// newCatalogue returns one with objects of so many bytes.
func newCatalogue(slice int64, sizes []int64) *catalogue {
	c := &catalogue{slice: slice, sizes: sizes, first: make([]uint32, len(sizes)+1)}
	for o, size := range sizes {
		n := uint32((size + slice - 1) / slice) //nolint:gosec // a few dozen
		c.first[o+1] = c.first[o] + n
		for range n {
			c.owner = append(c.owner, uint32(o)) //nolint:gosec // there are fewer objects than slices
		}
	}
	return c
}

// someSizes returns the sizes of n objects, evenly spread from least to most.
func someSizes(rng *rand.Rand, n int, least, most int64) []int64 {
	sizes := make([]int64, n)
	for i := range sizes {
		sizes[i] = least + rng.Int64N(most-least+1)
	}
	return sizes
}

func (c *catalogue) slices() int { return len(c.owner) }

// length returns how many bytes a slice has.
func (c *catalogue) length(s uint32) int64 {
	o := c.owner[s]
	if s+1 < c.first[o+1] {
		return c.slice
	}
	return c.sizes[o] - int64(s-c.first[o])*c.slice
}

// start returns the offset of a slice in its object.
func (c *catalogue) start(s uint32) int64 { return int64(s-c.first[c.owner[s]]) * c.slice }

// bytes returns how many bytes all objects have.
func (c *catalogue) bytes() (sum int64) {
	for _, size := range c.sizes {
		sum += size
	}
	return sum
}
