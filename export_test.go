package voyo

import (
	"path/filepath"

	"github.com/voyo-music/caddy-voyo/cache"
	"github.com/voyo-music/caddy-voyo/cache/disk"
)

// ServeDNS starts a DNS server.
var ServeDNS = serveDNS

// StatesInUse counts the states that have not been given back.
var StatesInUse = statesInUse

// OpenDisk returns the store of a kind of things in a directory, nil if it is not
// open.
func OpenDisk(dir, kind string) (d *disk.Store) {
	stores.Range(func(path, value any) bool {
		if path == filepath.Join(dir, kind) {
			d = value.(*store).Store
		}
		return true
	})
	return d
}

// StoresInUse counts the disks that are open.
var StoresInUse = storesInUse

// ArtStats returns the figures of all caches of covers together.
func ArtStats() (sum cache.Stats) {
	states.Range(func(_, value any) bool {
		s := value.(*state).art.Stats()
		sum.Entries += s.Entries
		sum.Bytes += s.Bytes
		sum.Fills += s.Fills
		return true
	})
	return sum
}

// NewCredentials returns a file with the credentials of some user of NATS.
var NewCredentials = newCredentials

// FleetsInUse counts the fleets that have not been left.
func FleetsInUse() (n int) {
	fleets.Range(func(_, _ any) bool {
		n++
		return true
	})
	return n
}
