package main

import (
	"bytes"
	"encoding/binary"
	"image/jpeg"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
)

const demoDir = "../../testdata/demo"

// TestFilesMatchTracks holds the files in the repository to the table that they
// are made from: none missing, none left over.
func TestFilesMatchTracks(t *testing.T) {
	want := map[string]bool{"README.md": true, listName: true}
	for i := range tracks {
		tr := &tracks[i]
		if !regexp.MustCompile(`^[A-Za-z0-9_-]{11}$`).MatchString(tr.id) {
			t.Errorf("%q is not a source ID", tr.id)
		}
		for _, kbps := range tr.bitrates {
			want[strconv.Itoa(kbps)+"/"+tr.id+".opus"] = true
		}
		for _, c := range covers {
			want["art/"+tr.id+"/"+c.name+".jpg"] = c.name != "maxresdefault" || !tr.noMaxCover
		}
		if tr.videoSeconds > 0 {
			want["video/"+tr.id+".mp4"] = true
		}
	}
	total := int64(0)
	err := fs.WalkDir(os.DirFS(demoDir), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if !want[name] {
			t.Errorf("%s belongs to no track", name)
		}
		delete(want, name)
		info, err := d.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, present := range want {
		if present {
			t.Errorf("%s is missing", name)
		}
	}
	if total > 7<<20 {
		t.Errorf("the demo has grown to %d bytes", total)
	}
}

func TestListFile(t *testing.T) {
	want, err := list(demoDir)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(demoDir, listName))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("got %s, %v; want %s", got, err, want)
	}
}

func TestOpusFiles(t *testing.T) {
	for i := range tracks {
		for _, kbps := range tracks[i].bitrates {
			name := opusName(demoDir, &tracks[i], kbps)
			b, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.HasPrefix(b, []byte("OggS")) || !bytes.Contains(b[:64], []byte("OpusHead")) {
				t.Errorf("%s is not Opus in Ogg", name)
				continue
			}
			// the last page's granule position counts samples
			last := bytes.LastIndex(b, []byte("OggS"))
			seconds := float64(binary.LittleEndian.Uint64(b[last+6:])) / sampleRate
			if want := tracks[i].compose().length + tracks[i].tail; math.Abs(seconds-want) > 0.1 {
				t.Errorf("%s is %.1f s long, want %.1f", name, seconds, want)
			}
			if rate := float64(len(b)) * 8 / seconds / 1000; math.Abs(rate-float64(kbps)) > 0.1*float64(kbps) {
				t.Errorf("%s has %.0f kbit/s", name, rate)
			}
		}
	}
	if s := tracks[0].compose().length + tracks[0].tail; s < 180 {
		t.Errorf("%s is %.1f s long, want at least three minutes", tracks[0].id, s)
	}
}

func TestCoverFiles(t *testing.T) {
	for i := range tracks {
		for _, c := range covers {
			f, err := os.Open(filepath.Join(demoDir, "art", tracks[i].id, c.name+".jpg"))
			if os.IsNotExist(err) && tracks[i].noMaxCover {
				continue
			}
			if err != nil {
				t.Fatal(err)
			}
			cfg, err := jpeg.DecodeConfig(f)
			f.Close()
			if err != nil || cfg.Width != c.width || cfg.Height != c.height {
				t.Errorf("%s/%s: %dx%d, %v; want %dx%d", tracks[i].id, c.name, cfg.Width, cfg.Height, err, c.width, c.height)
			}
		}
	}
}

// TestRender plays one bar: the same each time, loud enough, and not too loud.
func TestRender(t *testing.T) {
	bar := track{
		id: "AAAAAAAAAAA", tempo: 240, key: 60, scale: major, tail: 1,
		sections: []section{{[]int{0}, pad | pluck | bass | drums | lead}},
	}
	var first, second bytes.Buffer
	s := bar.render()
	if err := writeWAV(&first, s); err != nil {
		t.Fatal(err)
	}
	if err := writeWAV(&second, bar.render()); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two renderings differ")
	}
	if want := 44 + 2*sampleRate*4; first.Len() != want {
		t.Errorf("two seconds take %d bytes, want %d", first.Len(), want)
	}
	if p := s.peak(); p > headroom+1e-9 || p < headroom/2 {
		t.Errorf("peak %v, want up to %v", p, headroom)
	}
	if r := decibels(s.rms()); r < -30 {
		t.Errorf("loudness %.1f dBFS, which is close to silence", r)
	}
}
