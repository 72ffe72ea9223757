package main

import "math"

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
			c.owner = append(c.owner, uint32(o))
		}
	}
	return c
}

// evenSizes returns the sizes of n objects, from least to most. Those of any tracks that
// follow each other are spread evenly, so that it is not by chance how large the popular ones
// are: a few of them have most of the plays.
func evenSizes(n int, least, most int64) []int64 {
	steps := [variants]float64{math.Phi - 1, math.Sqrt2 - 1} // multiples of such numbers are spread so
	sizes := make([]int64, n)
	for i := range sizes {
		_, at := math.Modf(float64(i/variants+1) * steps[i%variants])
		sizes[i] = least + int64(at*float64(most-least))
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
