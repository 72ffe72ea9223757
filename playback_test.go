package voyo_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"hash"
	"os/exec"
	"testing"
)

// probe returns what ffprobe says about a file or a URL.
func probe(t *testing.T, source string) (codec, duration string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), tool(t, "ffprobe"),
		"-v", "error", "-show_entries", "stream=codec_name:format=duration", "-of", "json", source)
	cmd.Stderr = t.Output()
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("ffprobe %s: %v", source, err)
	}
	var report struct {
		Streams []struct {
			Codec string `json:"codec_name"`
		}
		Format struct{ Duration string }
	}
	if err := json.Unmarshal(out, &report); err != nil {
		t.Fatal(err)
	}
	if len(report.Streams) != 1 {
		t.Fatalf("ffprobe %s: %s", source, out)
	}
	return report.Streams[0].Codec, report.Format.Duration
}

// countingHash is a hash that knows how much it is of.
type countingHash struct {
	hash.Hash

	size int64
}

func (h *countingHash) Write(p []byte) (int, error) {
	h.size += int64(len(p))
	return h.Hash.Write(p)
}

// decode returns a hash of the samples that ffmpeg decodes a file or a URL to,
// and their number.
func decode(t *testing.T, source string) (sum string, size int64) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), tool(t, "ffmpeg"), "-v", "error", "-i", source, "-f", "s16le", "-")
	cmd.Stderr = t.Output()
	samples := &countingHash{Hash: sha256.New()}
	cmd.Stdout = samples
	if err := cmd.Run(); err != nil {
		t.Fatalf("ffmpeg %s: %v", source, err)
	}
	return hex.EncodeToString(samples.Sum(nil)), samples.size
}

func TestPlayers(t *testing.T) {
	d := startDemo(t, false)
	file := repositoryFile(t, "testdata/demo/128/"+songID+".opus")
	url := d.url + "/cdn/stream/" + songVOYO

	wantCodec, wantDuration := probe(t, file)
	codec, duration := probe(t, url)
	if codec != "opus" || codec != wantCodec || duration != wantDuration {
		t.Errorf("ffprobe: %s of %s s, want %s of %s s", codec, duration, wantCodec, wantDuration)
	}
	wantSum, wantSize := decode(t, file)
	sum, size := decode(t, url)
	const threeMinutes = 3 * 60 * 48000 * 2 * 2 // of stereo at 48 kHz
	if wantSize < threeMinutes || size != wantSize || sum != wantSum {
		t.Errorf("ffmpeg: %d bytes of samples, %s; want %d, %s", size, sum, wantSize, wantSum)
	}
}
