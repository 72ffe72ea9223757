package main

// note is one sound of one instrument. Times are in seconds.
type note struct {
	start, length float64
	pitch         float64 // MIDI number; for drums the kind of drum
	velocity      float64 // 0 to 1
	pan           float64 // -1 left to 1 right
}

// The drums, as pitches.
const (
	kick = iota
	brush
	hat
)

// score holds each instrument's notes.
type score struct {
	pad, pluck, bass, drums, lead []note
	length                        float64 // seconds, without the tail
}

const (
	beatsPerBar = 4
	melodyBars  = 4 // a phrase of the melody, before it is repeated
)

// compose writes the track's music down.
func (t *track) compose() *score {
	s := &score{}
	beat := 60 / t.tempo
	phrase := t.melody()
	bar := 0
	for _, sec := range t.sections {
		for i, degree := range sec.chords {
			m := measure{
				track: t, at: float64(bar*beatsPerBar) * beat, beat: beat, degree: degree,
				index: i, last: i == len(sec.chords)-1,
			}
			m.write(s, sec.play, phrase[i%melodyBars])
			bar++
		}
	}
	s.length = float64(bar*beatsPerBar) * beat
	last := measure{track: t, at: s.length, beat: beat}
	last.writePad(s, t.tail)
	return s
}

// measure is one bar of the piece.
type measure struct {
	track  *track
	at     float64 // seconds
	beat   float64 // seconds
	degree int     // of the chord
	index  int     // within the section
	last   bool    // of the section
}

func (m measure) write(s *score, play layer, phrase []step) {
	if play&pad != 0 {
		m.writePad(s, beatsPerBar*m.beat)
	}
	if play&pluck != 0 {
		m.writePluck(s)
	}
	if play&bass != 0 {
		m.writeBass(s)
	}
	if play&drums != 0 {
		m.writeDrums(s)
	}
	if play&lead != 0 {
		m.writeLead(s, phrase)
	}
}

// pitch is the MIDI number of a degree of the scale, above the tonic.
func (t *track) pitch(degree int) int {
	n := len(t.scale)
	octave, d := degree/n, degree%n
	if d < 0 {
		octave, d = octave-1, d+n
	}
	return t.key + 12*octave + t.scale[d]
}

// chord returns root, third, fifth and seventh, each moved by octaves to lie
// close above low, so that one chord leads smoothly to the next.
func (m measure) chord(low int) []int {
	tones := make([]int, 0, 4)
	for i := range 4 {
		p := m.track.pitch(m.degree + 2*i)
		for p >= low+12 {
			p -= 12
		}
		for p < low {
			p += 12
		}
		tones = append(tones, p)
	}
	return tones
}

func (m measure) writePad(s *score, length float64) {
	for i, p := range m.chord(52) {
		s.pad = append(s.pad, note{m.at, length, float64(p), 0.8 - 0.1*float64(i), 0.5*float64(i) - 0.75})
	}
}

// writePluck breaks the chord into eighths, up and down again.
func (m measure) writePluck(s *score) {
	tones := m.chord(64)
	order := [...]int{0, 2, 1, 3, 2, 3, 1, 2}
	for i, tone := range order {
		p := tones[tone]
		if tone == 3 {
			p -= 12 // the seventh, softly below
		}
		velocity := 0.55
		if i%4 == 0 {
			velocity = 0.8
		}
		pan := 0.4
		if i%2 == 0 {
			pan = -pan
		}
		s.pluck = append(s.pluck, note{m.at + float64(i)*m.beat/2, m.beat, float64(p), velocity, pan})
	}
}

func (m measure) writeBass(s *score) {
	root := m.track.pitch(m.degree)
	for root >= 48 {
		root -= 12
	}
	if root < 34 {
		root += 12
	}
	fifth := root + 7
	s.bass = append(s.bass,
		note{m.at, 1.4 * m.beat, float64(root), 0.9, 0},
		note{m.at + 1.5*m.beat, 0.5 * m.beat, float64(root), 0.6, 0},
		note{m.at + 2*m.beat, 1.4 * m.beat, float64(root), 0.8, 0},
		note{m.at + 3.5*m.beat, 0.5 * m.beat, float64(fifth), 0.6, 0})
}

func (m measure) writeDrums(s *score) {
	hit := func(beats float64, drum int, velocity, pan float64) {
		s.drums = append(s.drums, note{m.at + beats*m.beat, 0.5, float64(drum), velocity, pan})
	}
	hit(0, kick, 0.9, 0)
	hit(2, kick, 0.8, 0)
	hit(2.5, kick, 0.5, 0)
	hit(1, brush, 0.6, 0.1)
	hit(3, brush, 0.65, 0.1)
	for i := range 8 {
		velocity := 0.5
		if i%2 == 1 {
			velocity = 0.3
		}
		hit(float64(i)/2, hat, velocity, 0.35)
	}
	if m.last { // a small fill leads to what comes next
		hit(3.25, brush, 0.3, 0.1)
		hit(3.5, brush, 0.4, 0.1)
		hit(3.75, brush, 0.5, 0.1)
	}
}

// step is a note of the melody, before it is fitted to a chord.
type step struct {
	at, length float64 // beats
	degree     int     // above the chord's root
}

// melody returns the bars of a phrase: a rhythm of the track's own, and a line
// that stands on the chord's tones where the beat is strong and moves by
// neighbors where it isn't.
func (t *track) melody() [][]step {
	d := t.dice()
	rhythms := [][]float64{
		{1, 1, 2}, {1.5, 0.5, 1, 1}, {2, 1, 1}, {0.5, 0.5, 1, 2}, {1.5, 1.5, 1},
	}
	bars := make([][]step, 0, melodyBars)
	degree := 4
	for range melodyBars {
		var bar []step
		at := 0.0
		for _, length := range rhythms[d.below(len(rhythms))] {
			if at == 0 || at == 2 {
				degree = 2 * d.below(4) // root, third, fifth or seventh
			} else {
				degree += d.below(3) - 1
			}
			bar = append(bar, step{at, length, degree})
			at += length
		}
		bars = append(bars, bar)
	}
	return bars
}

func (m measure) writeLead(s *score, phrase []step) {
	for _, st := range phrase {
		p := m.track.pitch(m.degree + st.degree)
		for p > 84 {
			p -= 12
		}
		for p < 69 {
			p += 12
		}
		s.lead = append(s.lead, note{m.at + st.at*m.beat, 0.95 * st.length * m.beat, float64(p), 0.7, -0.1})
	}
}
