package main

import "math"

// echo adds repeats that wander from one side to the other and get duller.
func (s *sound) echo(seconds, feedback float64) {
	n := int(seconds * sampleRate)
	lineLeft, lineRight := make([]float64, n), make([]float64, n)
	var dullLeft, dullRight float64
	for i := range s.left {
		at := i % n
		dullLeft += 0.35 * (lineLeft[at] - dullLeft)
		dullRight += 0.35 * (lineRight[at] - dullRight)
		lineLeft[at] = s.left[i] + feedback*dullRight
		lineRight[at] = feedback * dullLeft
		s.left[i] += feedback * dullLeft
		s.right[i] += feedback * dullRight
	}
}

// reverb returns the sound of a room around s: after Schroeder, parallel combs
// into allpasses, with other lengths on each side.
func (s *sound) reverb() *sound {
	return &sound{
		room(s.left, [...]int{1687, 1601, 2053, 2251}, [...]int{347, 113}),
		room(s.right, [...]int{1709, 1627, 2069, 2273}, [...]int{359, 127}),
	}
}

func room(in []float64, combs [4]int, allpasses [2]int) []float64 {
	out := make([]float64, len(in))
	for _, n := range combs {
		line := make([]float64, n)
		dull := 0.0
		for i, x := range in {
			y := line[i%n]
			dull += 0.6 * (y - dull)
			line[i%n] = x + 0.83*dull
			out[i] += y / 4
		}
	}
	for _, n := range allpasses {
		line := make([]float64, n)
		for i, x := range out {
			y := line[i%n]
			line[i%n] = x + 0.5*y
			out[i] = y - 0.5*line[i%n]
		}
	}
	return out
}

// headroom is the peak that a finished track has: lossy coding overshoots a
// little, and must not clip.
const headroom = 0.7

// master rounds off what sticks out, brings the track to its loudness and fades
// both ends.
func (s *sound) master(tail float64) {
	drive := 1.2 / s.peak()
	for i := range s.left {
		s.left[i] = math.Tanh(drive * s.left[i])
		s.right[i] = math.Tanh(drive * s.right[i])
	}
	gain := headroom / s.peak()
	n := len(s.left)
	for i := range s.left {
		start := float64(i) / (0.02 * sampleRate)
		end := float64(n-1-i) / (tail * sampleRate)
		g := gain * min(1, start, end)
		s.left[i] *= g
		s.right[i] *= g
	}
}
