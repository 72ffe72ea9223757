package main

import (
	"hash/fnv"
	"image/color"
)

// track is one piece of music and what is made of it.
type track struct {
	id    string // source ID
	title string

	tempo    float64 // beats a minute; four beats make a bar
	key      int     // MIDI number of the tonic, in the octave of middle C
	scale    []int   // semitones above the tonic
	sections []section
	tail     float64 // seconds for the last chord to fade

	bitrates     []int // kbit/s
	noMaxCover   bool  // leave out the largest cover
	videoSeconds int   // length of the video; 0 for none
	palette      [4]color.RGBA
}

// section is a run of bars that share a progression and the instruments playing.
type section struct {
	chords []int // degrees of the scale, one a bar
	play   layer
}

// layer is a set of instruments.
type layer uint8

const (
	pad layer = 1 << iota
	pluck
	bass
	drums
	lead
)

var (
	major  = []int{0, 2, 4, 5, 7, 9, 11}
	minor  = []int{0, 2, 3, 5, 7, 8, 10}
	dorian = []int{0, 2, 3, 5, 7, 9, 10}
)

// The long piece's two progressions: I V vi IV and its answer.
var (
	verse  = []int{0, 4, 5, 3, 0, 4, 3, 3}
	chorus = []int{5, 3, 0, 4, 5, 3, 1, 4}
)

var tracks = []track{
	{
		id: "OSBan_sH_b8", title: "Harbor Lights",
		tempo: 86, key: 62, scale: major, tail: 6,
		sections: []section{
			{verse, pad | pluck},
			{verse, pad | pluck | bass},
			{verse, pad | pluck | bass | drums | lead},
			{chorus, pad | pluck | bass | drums | lead},
			{verse, pad | lead},
			{verse, pad | pluck | bass | drums},
			{chorus, pad | pluck | bass | drums | lead},
			{verse, pad | pluck},
		},
		bitrates: []int{128, 64},
		palette: [4]color.RGBA{
			{0x0b, 0x1d, 0x3a, 0xff}, {0x1f, 0x6f, 0x8b, 0xff}, {0xff, 0xb3, 0x47, 0xff}, {0xff, 0xe3, 0xb0, 0xff},
		},
	},
	{
		id: "dQw4w9WgXcQ", title: "Paper Lanterns",
		tempo: 104, key: 57, scale: minor, tail: 4,
		sections: []section{
			{[]int{0, 5}, pad | pluck | bass},
			{[]int{0, 5, 2, 6, 0, 5, 3, 4}, pad | pluck | bass | drums | lead},
		},
		bitrates: []int{128, 64}, videoSeconds: 8,
		palette: [4]color.RGBA{
			{0x2b, 0x0a, 0x1f, 0xff}, {0x9d, 0x1f, 0x3c, 0xff}, {0xff, 0x7a, 0x3d, 0xff}, {0xff, 0xd5, 0x6b, 0xff},
		},
	},
	{
		id: "voyo-demo_3", title: "Slow Train",
		tempo: 72, key: 55, scale: dorian, tail: 5,
		sections: []section{
			{[]int{0, 3, 0, 6, 0, 3}, pad | pluck | bass | drums},
		},
		bitrates: []int{128},
		palette: [4]color.RGBA{
			{0x10, 0x24, 0x1c, 0xff}, {0x2f, 0x7d, 0x4f, 0xff}, {0xc6, 0xd9, 0x5b, 0xff}, {0xf4, 0xf7, 0xd2, 0xff},
		},
	},
	{
		id: "voyo-demo_4", title: "Morning Tram",
		tempo: 120, key: 65, scale: major, tail: 4,
		sections: []section{
			{[]int{0, 3, 1, 4, 0, 3, 4, 0}, pad | pluck | bass | drums | lead},
		},
		bitrates: []int{128, 64}, noMaxCover: true,
		palette: [4]color.RGBA{
			{0x24, 0x1b, 0x4b, 0xff}, {0x5b, 0x4b, 0xc4, 0xff}, {0xf2, 0x8c, 0xb8, 0xff}, {0xfd, 0xe6, 0xf0, 0xff},
		},
	},
}

// dice returns a source of numbers that are always the same for the track.
func (t *track) dice() *dice {
	h := fnv.New64a()
	_, _ = h.Write([]byte(t.id))
	return &dice{state: h.Sum64() | 1}
}

// dice is a xorshift generator: seeded, and the same on every machine.
type dice struct{ state uint64 }

func (d *dice) next() uint64 {
	d.state ^= d.state << 13
	d.state ^= d.state >> 7
	d.state ^= d.state << 17
	return d.state
}

// below returns a number from 0 up to n-1.
func (d *dice) below(n int) int { return int(d.next() % uint64(n)) } //nolint:gosec // n is a small constant

// unit returns a number from -1 up to 1.
func (d *dice) unit() float64 { return float64(d.next()>>11)/(1<<52) - 1 }
