package main

import (
	"fmt"

	"github.com/voyo-music/caddy-voyo/internal/sim"
)

// contender is a policy to compare.
type contender struct {
	name string
	disk bool // there is a disk below, and the policy knows
	make func(limit int64) sim.Policy
}

// follow returns the contender that follows some rules.
func follow(rs sim.Rules, name string) contender {
	return contender{name: name, disk: rs.Spare, make: func(limit int64) sim.Policy { return rs.Policy(limit, sliceSize) }}
}

// policies returns the policies to compare, those from the literature with its
// parameters, and each once with every read as a use.
func policies() []contender {
	cs := []contender{{name: "LRU", make: newLRU}, follow(sim.Chosen, "**chosen**")}
	for _, count := range []sim.Counting{sim.ByReads, sim.ByBytes} {
		twoQ := sim.Rules{Count: count, Small: 0.25, Need: sim.Never, Ghosts: 0.5, Direct: true}
		slru := sim.Rules{Count: count, Small: 0.2, Renew: true, Need: 2, Eager: true, Demote: true}
		s3 := sim.Rules{Count: count, Small: 0.1, Need: 2, Clock: true, Ghosts: 0.9, Direct: true}
		if count == sim.ByReads { // 2Q does not count
			cs = append(cs, follow(twoQ, "2Q"))
		}
		cs = append(cs,
			follow(slru, "SLRU, "+count.String()),
			follow(s3, "S3-FIFO, "+count.String()),
			contender{name: "SIEVE, " + count.String(), make: newSieve(count)},
			contender{name: "W-TinyLFU, " + count.String(), make: newTinyLFU(count)})
	}
	naive, disk, twoQ := sim.Chosen, sim.Chosen, sim.Rules{Small: 0.25, Need: sim.Never, Ghosts: 0.5, Direct: true, Spare: true}
	naive.Count, disk.Spare = sim.ByReads, true
	earned, naiveDisk := disk, disk
	earned.Earn = 3
	naiveDisk.Count = sim.ByReads
	return append(cs, follow(naive, "chosen, reads"),
		follow(earned, "**chosen, disk**"), follow(disk, "chosen, disk, at once"),
		follow(naiveDisk, "chosen, disk, reads"), follow(twoQ, "2Q, disk"))
}

// variants returns the chosen rules, and others that differ in one from them, or
// with a disk from those that take in at once what comes back.
func variants() []contender {
	cs := []contender{{name: "LRU", make: newLRU}, follow(sim.Chosen, "**chosen**")}
	for _, spare := range []bool{false, true} {
		add := func(name string, change func(*sim.Rules)) {
			rs := sim.Chosen
			rs.Spare = spare
			change(&rs)
			if spare {
				name = "disk, " + name
			}
			cs = append(cs, follow(rs, name))
		}
		if spare {
			add("**chosen**", func(rs *sim.Rules) { rs.Earn = 3 })
			add("at once", func(*sim.Rules) {})
		}
		for _, x := range []float64{0.1, 0.3, 0.4} {
			add(fmt.Sprintf("small %g at first", x), func(rs *sim.Rules) { rs.Small = x })
		}
		for _, x := range []float64{0.1, 0.2, 0.3, 0.4} {
			add(fmt.Sprintf("small %g for good", x), func(rs *sim.Rules) { rs.Small, rs.Adapt = x, false })
		}
		for _, x := range []float64{1.25, 2, 3} {
			add(fmt.Sprintf("need %g", x), func(rs *sim.Rules) { rs.Need = x })
		}
		for _, x := range []float64{0, 1, 4} {
			add(fmt.Sprintf("ghosts %g", x), func(rs *sim.Rules) { rs.Ghosts = x })
		}
		add("small is a FIFO", func(rs *sim.Rules) { rs.Renew = false })
		add("main is an LRU", func(rs *sim.Rules) { rs.Clock = false })
		add("moves at once", func(rs *sim.Rules) { rs.Eager = true })
		add("each read is a use", func(rs *sim.Rules) { rs.Count = sim.ByReads })
	}
	return cs
}
