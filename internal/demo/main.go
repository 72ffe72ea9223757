// Command demo makes the files below testdata/demo: a few tracks composed and
// synthesized here, in the layout of VOYO's object store, with their covers.
// It needs ffmpeg with libopus and libx264, and is run from the module's root:
//
//	go run ./internal/demo
//
// The same ffmpeg makes the same files: nothing is drawn from a clock or from a
// random source that isn't seeded with the track's ID.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
)

func main() {
	out := flag.String("o", filepath.Join("testdata", "demo"), "directory to write to")
	flag.Parse()

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()

	for i := range tracks {
		if err := produce(ctx, *out, &tracks[i]); err != nil {
			fmt.Fprintf(os.Stderr, "demo: %s: %v\n", tracks[i].id, err)
			os.Exit(1) //nolint:gocritic // the deferred stop only restores the signal handler
		}
	}
	if err := writeList(*out); err != nil {
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		os.Exit(1)
	}
}

// produce writes everything that belongs to one track.
func produce(ctx context.Context, dir string, t *track) error {
	mix := t.render()
	fmt.Printf("%s  %-16s %6.1f s, peak %.1f dBFS, loudness about %.1f dBFS\n",
		t.id, t.title, mix.seconds(), decibels(mix.peak()), decibels(mix.rms()))

	for _, kbps := range t.bitrates {
		if err := encodeOpus(ctx, opusName(dir, t, kbps), t, mix, kbps); err != nil {
			return err
		}
	}
	for _, c := range covers {
		if c.name == "maxresdefault" && t.noMaxCover {
			continue
		}
		name := filepath.Join(dir, "art", t.id, c.name+".jpg")
		if err := writeCover(name, t, c); err != nil {
			return err
		}
	}
	if t.videoSeconds == 0 {
		return nil
	}
	return encodeVideo(ctx, filepath.Join(dir, "video", t.id+".mp4"), t, mix)
}

// opusName returns the name of the file with one of a track's streams.
func opusName(dir string, t *track, kbps int) string {
	return filepath.Join(dir, strconv.Itoa(kbps), t.id+".opus")
}

// create opens a file for writing, with the directories above it.
func create(name string) (*os.File, error) {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil { //nolint:gosec // as a checkout is
		return nil, err
	}
	return os.Create(name) //nolint:gosec // the name is made of the output directory and the table of tracks
}
