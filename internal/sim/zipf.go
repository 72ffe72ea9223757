package sim

import (
	"math"
	"math/rand/v2"
	"sort"
)

// Popularity is how often each of some ranks is chosen.
type Popularity struct {
	cdf []float64
}

// Zipf returns the popularity of n ranks that falls with a power of the rank. (rand.Zipf
// knows exponents above 1 only.) Each of the ranks stands for group consecutive ones of
// as many times more, so that what is simulated may be smaller than what is meant.
func Zipf(n int, exponent float64, group int) Popularity {
	cdf := make([]float64, n)
	sum := 0.0
	for i := range cdf {
		for j := range group {
			sum += math.Pow(float64(i*group+j+1), -exponent)
		}
		cdf[i] = sum
	}
	for i := range cdf {
		cdf[i] /= sum
	}
	return Popularity{cdf}
}

// Draw returns a rank, from 0 on.
func (p Popularity) Draw(rng *rand.Rand) int {
	return min(sort.SearchFloat64s(p.cdf, rng.Float64()), len(p.cdf)-1)
}

// Share returns which share of the choices the first n ranks have.
func (p Popularity) Share(n int) float64 { return p.cdf[n-1] }
