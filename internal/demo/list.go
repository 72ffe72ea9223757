package main

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"

	"github.com/voyo-music/caddy-voyo/resolver"
)

// listName is the file that the demo's page reads the tracks from.
const listName = "tracks.json"

// listed is what the page knows of a track.
type listed struct {
	ID      string        `json:"id"` // VOYO ID
	Title   string        `json:"title"`
	Seconds float64       `json:"seconds"`
	Streams map[int]int64 `json:"streams"` // their sizes, in bytes, by kbit/s
}

// list returns the list of tracks in JSON.
func list(dir string) ([]byte, error) {
	entries := make([]listed, len(tracks))
	for i := range tracks {
		t := &tracks[i]
		id, err := resolver.ParseID(t.id)
		if err != nil {
			return nil, err
		}
		streams := make(map[int]int64)
		for _, kbps := range t.bitrates {
			info, err := os.Stat(opusName(dir, t, kbps))
			if err != nil {
				return nil, err
			}
			streams[kbps] = info.Size()
		}
		seconds := math.Round(10*(t.compose().length+t.tail)) / 10
		entries[i] = listed{id.VOYO(), t.title, seconds, streams}
	}
	b, err := json.MarshalIndent(entries, "", "  ")
	return append(b, '\n'), err
}

func writeList(dir string) error {
	b, err := list(dir)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, listName), b, 0o644) //nolint:gosec // as a checkout is
}
