package main

import (
	"image"
	"image/color"
	"image/jpeg"
	"math"
)

// size is one of the cover images that VOYO keeps of a track.
type size struct {
	name          string
	width, height int
}

var covers = []size{
	{"maxresdefault", 1280, 720},
	{"hqdefault", 480, 360},
	{"mqdefault", 320, 180},
	{"default", 120, 90},
}

// disc is a soft-edged circle of a drawing. Lengths are in heights of the picture.
type disc struct {
	x, y, radius float64
	ring         float64 // width of the line; 0 for a filled disc
	ink          color.RGBA
	opacity      float64
	orbit        float64 // radians a second, in the video
}

// discs are what is drawn on the track's background.
func (t *track) discs() []disc {
	d := t.dice()
	out := make([]disc, 0, 16)
	sun := disc{0.45 * d.unit(), -0.06 + 0.1*d.unit(), 0.27, 0, t.palette[2], 0.95, 0.1}
	out = append(out, sun)
	for i := range 4 {
		r := sun.radius + 0.07*float64(i+1)
		out = append(out, disc{sun.x, sun.y, r, 0.006, t.palette[3], 0.5 - 0.1*float64(i), 0.1})
	}
	for range 9 {
		out = append(out, disc{
			x: 0.95 * d.unit(), y: 0.5 * d.unit(), radius: 0.02 + 0.05*math.Abs(d.unit()),
			ink: t.palette[2+d.below(2)], opacity: 0.25 + 0.25*math.Abs(d.unit()), orbit: 0.6 * d.unit(),
		})
	}
	return out
}

// draw paints the track's picture, as it is at that second of the video.
func (t *track) draw(width, height int, second float64) *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	discs := t.discs()
	for i := range discs {
		c := &discs[i]
		sin, cos := math.Sincos(c.orbit * second)
		c.x, c.y = c.x*cos-c.y*sin, c.x*sin+c.y*cos
	}
	unit := float64(height)
	for py := range height {
		for px := range width {
			x, y := (float64(px)-float64(width)/2)/unit, float64(py)/unit-0.5
			img.SetRGBA(px, py, t.paint(x, y, 1/unit, discs))
		}
	}
	return img
}

// paint returns the color at a point; the picture's middle is 0, 0.
func (t *track) paint(x, y, pixel float64, discs []disc) color.RGBA {
	c := blend(t.palette[0], t.palette[1], clamp(0.5+y+0.15*math.Sin(3*x)))
	for _, d := range discs {
		distance := math.Hypot(x-d.x, y-d.y) - d.radius
		if d.ring > 0 {
			distance = math.Abs(distance) - d.ring/2
		}
		c = blend(c, d.ink, d.opacity*clamp(0.5-distance/pixel))
	}
	// two hills in the foreground
	for i, phase := range [...]float64{1.1, 3.7} {
		top := 0.26 + 0.1*float64(i) + 0.05*math.Sin(2.4*x+phase)
		c = blend(c, t.palette[0], 0.75*clamp((y-top)/pixel))
	}
	return c
}

func clamp(x float64) float64 { return min(1, max(0, x)) }

func blend(a, b color.RGBA, share float64) color.RGBA {
	mix := func(a, b uint8) uint8 { return uint8(math.Round(float64(a) + share*(float64(b)-float64(a)))) }
	return color.RGBA{mix(a.R, b.R), mix(a.G, b.G), mix(a.B, b.B), 0xff}
}

func writeCover(name string, t *track, s size) error {
	f, err := create(name)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := jpeg.Encode(f, t.draw(s.width, s.height, 0), &jpeg.Options{Quality: 86}); err != nil {
		return err
	}
	return f.Close()
}
