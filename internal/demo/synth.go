package main

import "math"

const sampleRate = 48000 // what Opus works at

// sound is stereo audio, from -1 to 1.
type sound struct{ left, right []float64 }

func newSound(seconds float64) *sound {
	n := int(seconds * sampleRate)
	return &sound{make([]float64, n), make([]float64, n)}
}

func (s *sound) seconds() float64 { return float64(len(s.left)) / sampleRate }

// add mixes o into s.
func (s *sound) add(o *sound, gain float64) {
	for i := range s.left {
		s.left[i] += gain * o.left[i]
		s.right[i] += gain * o.right[i]
	}
}

// peak is the largest amplitude.
func (s *sound) peak() float64 {
	p := 0.0
	for i := range s.left {
		p = max(p, math.Abs(s.left[i]), math.Abs(s.right[i]))
	}
	return p
}

// rms is the mean amplitude.
func (s *sound) rms() float64 {
	sum := 0.0
	for i := range s.left {
		sum += s.left[i]*s.left[i] + s.right[i]*s.right[i]
	}
	return math.Sqrt(sum / float64(2*len(s.left)))
}

func decibels(amplitude float64) float64 { return 20 * math.Log10(amplitude) }

// voice is an instrument: the sample of a note at t seconds after its start.
type voice func(n note, frequency, t float64) float64

// play renders notes. release is how long a note sounds on after its length.
func (s *sound) play(notes []note, release float64, v voice) {
	for _, n := range notes {
		frequency := 440 * math.Exp2((n.pitch-69)/12)
		gainLeft, gainRight := math.Sqrt((1-n.pan)/2), math.Sqrt((1+n.pan)/2)
		first := int(n.start * sampleRate)
		count := int((n.length + release) * sampleRate)
		for i := 0; i < count && first+i < len(s.left); i++ {
			x := n.velocity * v(n, frequency, float64(i)/sampleRate)
			s.left[first+i] += gainLeft * x
			s.right[first+i] += gainRight * x
		}
	}
}

// render plays the track: each instrument by itself, then effects and the mix.
func (t *track) render() *sound {
	s := t.compose()
	total := s.length + t.tail
	instrument := func(notes []note, release float64, v voice) *sound {
		out := newSound(total)
		out.play(notes, release, v)
		return out
	}
	pads := instrument(s.pad, padRelease, padVoice)
	plucks := instrument(s.pluck, 1.2, pluckVoice)
	basses := instrument(s.bass, 0.08, bassVoice)
	beats := instrument(s.drums, 0, drumVoice(t.dice()))
	leads := instrument(s.lead, leadRelease, leadVoice)

	step := 0.75 * 60 / t.tempo // a dotted eighth
	plucks.echo(step, 0.35)
	leads.echo(step, 0.3)

	mix := newSound(total)
	mix.add(pads, 0.16)
	mix.add(plucks, 0.30)
	mix.add(leads, 0.16)
	room := mix.reverb()
	mix.add(room, 0.35)
	mix.add(basses, 0.34)
	mix.add(beats, 0.42)
	mix.master(t.tail)
	return mix
}

const padRelease = 1.5

// padVoice is three slightly detuned, soft strings.
func padVoice(n note, frequency, t float64) float64 {
	envelope := min(1, t/0.7)
	if after := t - n.length; after > 0 {
		fade := 1 - after/padRelease
		envelope *= fade * fade
	}
	x := 0.0
	for i, detune := range [...]float64{0.9975, 1, 1.0027} {
		phase := 2*math.Pi*frequency*detune*t + float64(i)
		x += math.Sin(phase) + 0.42*math.Sin(2*phase) + 0.2*math.Sin(3*phase) + 0.1*math.Sin(4*phase)
	}
	return envelope * x / 3 * (0.9 + 0.1*math.Sin(2*math.Pi*0.23*t))
}

// pluckVoice is an electric piano, by frequency modulation.
func pluckVoice(_ note, frequency, t float64) float64 {
	w := 2 * math.Pi * frequency * t
	tine := 0.35 * math.Exp(-14*t) * math.Sin(7*w)
	body := math.Sin(w + 1.3*math.Exp(-4*t)*math.Sin(w) + tine)
	return min(1, t/0.004) * math.Exp(-2.6*t) * body
}

func bassVoice(n note, frequency, t float64) float64 {
	w := 2 * math.Pi * frequency * t
	envelope := min(1, t/0.012) * math.Exp(-0.9*t)
	if after := t - n.length; after > 0 {
		envelope *= max(0, 1-after/0.08)
	}
	return envelope * (math.Sin(w) + 0.35*math.Sin(2*w) + 0.12*math.Sin(3*w))
}

const leadRelease = 0.35

// leadVoice is a flute-like tone whose vibrato sets in late.
func leadVoice(n note, frequency, t float64) float64 {
	vibrato := 0.9 * min(1, t/0.6) * math.Sin(2*math.Pi*5.2*t)
	w := 2*math.Pi*frequency*t + vibrato*0.25
	envelope := min(1, t/0.05)
	if after := t - n.length; after > 0 {
		envelope *= max(0, 1-after/leadRelease)
	}
	return envelope * (math.Sin(w) + 0.22*math.Sin(2*w) + 0.09*math.Sin(3*w))
}

// drumVoice is a soft kick, a brushed snare and a closed hat.
func drumVoice(d *dice) voice {
	var before float64
	return func(n note, _, t float64) float64 {
		noise := d.unit()
		bright := noise - before
		before = noise
		switch int(n.pitch) {
		case kick:
			phase := 2 * math.Pi * (46*t + 60.0/28*(1-math.Exp(-28*t)))
			return min(1, t/0.002) * math.Exp(-8*t) * math.Sin(phase)
		case brush:
			return 0.35*math.Exp(-17*t)*noise + 0.25*math.Exp(-24*t)*math.Sin(2*math.Pi*185*t)
		default:
			return 0.22 * math.Exp(-70*t) * bright
		}
	}
}
