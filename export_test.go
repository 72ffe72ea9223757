package voyo

import "github.com/voyo-music/caddy-voyo/cache"

// StatesInUse counts the states that have not been given back.
var StatesInUse = statesInUse

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
