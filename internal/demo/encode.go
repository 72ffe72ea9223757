package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
)

const (
	videoWidth, videoHeight = 640, 360
	videoRate               = 24 // frames a second
)

// encodeOpus writes the sound as Opus in Ogg.
func encodeOpus(ctx context.Context, name string, t *track, s *sound, kbps int) error {
	return ffmpeg(ctx, name, func(w io.Writer) error { return writeWAV(w, s) },
		"-f", "wav", "-i", "pipe:0",
		"-c:a", "libopus", "-b:a", strconv.Itoa(kbps)+"k", "-vbr", "constrained",
		"-metadata", "title="+t.title, "-metadata", "artist=caddy-voyo demo",
		"-f", "ogg")
}

// encodeVideo writes the first seconds of the sound with a moving cover.
func encodeVideo(ctx context.Context, name string, t *track, s *sound) error {
	dir, err := os.MkdirTemp("", "voyo-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)

	n := t.videoSeconds * sampleRate
	var audio bytes.Buffer
	if err := writeWAV(&audio, &sound{s.left[:n], s.right[:n]}); err != nil {
		return err
	}
	wav := filepath.Join(dir, "audio.wav")
	if err := os.WriteFile(wav, audio.Bytes(), 0o600); err != nil {
		return err
	}
	frames := func(w io.Writer) error {
		for i := range t.videoSeconds * videoRate {
			img := t.draw(videoWidth, videoHeight, float64(i)/videoRate)
			if _, err := w.Write(img.Pix); err != nil {
				return err
			}
		}
		return nil
	}
	return ffmpeg(ctx, name, frames,
		"-f", "rawvideo", "-pixel_format", "rgba",
		"-video_size", fmt.Sprintf("%dx%d", videoWidth, videoHeight),
		"-framerate", strconv.Itoa(videoRate), "-i", "pipe:0", "-i", wav,
		"-threads", "1", "-c:v", "libx264", "-preset", "slow", "-crf", "27", "-pix_fmt", "yuv420p",
		"-c:a", "aac", "-b:a", "96k", "-metadata", "title="+t.title,
		"-movflags", "+faststart", "-f", "mp4")
}

// ffmpeg runs ffmpeg on what input writes, into the file called name.
func ffmpeg(ctx context.Context, name string, input func(io.Writer) error, args ...string) error {
	out, err := create(name)
	if err != nil {
		return err
	}
	if err := out.Close(); err != nil {
		return err
	}
	all := append([]string{"-nostdin", "-hide_banner", "-loglevel", "error", "-y"}, args...)
	// bitexact: no encoder's version, no date and no random serial number in the file
	all = append(all, "-map_metadata", "-1", "-fflags", "+bitexact", "-flags", "+bitexact", name)
	cmd := exec.CommandContext(ctx, "ffmpeg", all...) //nolint:gosec // the arguments are this program's own
	cmd.Stderr = os.Stderr
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	w := bufio.NewWriterSize(pipe, 1<<16)
	inputErr := input(w)
	if inputErr == nil {
		inputErr = w.Flush()
	}
	if err := pipe.Close(); inputErr == nil {
		inputErr = err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("ffmpeg: %w", err)
	}
	return inputErr
}

// writeWAV writes the sound as 16-bit stereo.
func writeWAV(w io.Writer, s *sound) error {
	const frame = 4 // bytes
	size := len(s.left) * frame
	if size > math.MaxInt32 {
		return fmt.Errorf("%d bytes are too many for a WAV file", size)
	}
	b := make([]byte, 0, 44+size)
	b = append(b, "RIFF"...)
	b = binary.LittleEndian.AppendUint32(b, uint32(36+size))
	b = append(b, "WAVEfmt "...)
	b = binary.LittleEndian.AppendUint32(b, 16)
	b = binary.LittleEndian.AppendUint16(b, 1) // PCM
	b = binary.LittleEndian.AppendUint16(b, 2)
	b = binary.LittleEndian.AppendUint32(b, sampleRate)
	b = binary.LittleEndian.AppendUint32(b, sampleRate*frame)
	b = binary.LittleEndian.AppendUint16(b, frame)
	b = binary.LittleEndian.AppendUint16(b, 16)
	b = append(b, "data"...)
	b = binary.LittleEndian.AppendUint32(b, uint32(size))
	for i := range s.left {
		b = binary.LittleEndian.AppendUint16(b, pcm(s.left[i]))
		b = binary.LittleEndian.AppendUint16(b, pcm(s.right[i]))
	}
	_, err := w.Write(b)
	return err
}

// pcm is a sample's 16 bits, in two's complement.
func pcm(x float64) uint16 {
	return uint16(int16(math.Round(x * math.MaxInt16))) //nolint:gosec // x is between -1 and 1
}
