package main

import "fmt"

// chosen are the rules that README.md decides for, with memory alone. With a disk
// below, spare and earn are added to them.
var chosen = rules{small: 0.2, renew: true, need: 1.5, clock: true, ghosts: 2, adapt: true, count: byBytes}

// contender is a policy to compare.
type contender struct {
	name string
	disk bool // there is a disk below, and the policy knows
	make func(limit int64) policy
}

func (rs rules) contender(name string) contender {
	return contender{name: name, disk: rs.spare, make: rs.policy}
}

// policies returns the policies to compare, those from the literature with its
// parameters, and each once with every read as a use.
func policies() []contender {
	cs := []contender{{name: "LRU", make: newLRU}, chosen.contender("**chosen**")}
	for _, count := range []counting{byReads, byBytes} {
		twoQ := rules{count: count, small: 0.25, need: never, ghosts: 0.5, direct: true}
		slru := rules{count: count, small: 0.2, renew: true, need: 2, eager: true, demote: true}
		s3 := rules{count: count, small: 0.1, need: 2, clock: true, ghosts: 0.9, direct: true}
		if count == byReads { // 2Q does not count
			cs = append(cs, twoQ.contender("2Q"))
		}
		cs = append(cs,
			slru.contender("SLRU, "+count.String()),
			s3.contender("S3-FIFO, "+count.String()),
			contender{name: "SIEVE, " + count.String(), make: newSieve(count)},
			contender{name: "W-TinyLFU, " + count.String(), make: newTinyLFU(count)})
	}
	naive, disk, twoQ := chosen, chosen, rules{small: 0.25, need: never, ghosts: 0.5, direct: true, spare: true}
	naive.count, disk.spare = byReads, true
	earned, naiveDisk := disk, disk
	earned.earn = 3
	naiveDisk.count = byReads
	return append(cs, naive.contender("chosen, reads"),
		earned.contender("**chosen, disk**"), disk.contender("chosen, disk, at once"),
		naiveDisk.contender("chosen, disk, reads"), twoQ.contender("2Q, disk"))
}

// never is more uses than a slice can have.
const never = 1e9

// variants returns the chosen rules, and others that differ in one from them, or
// with a disk from those that take in at once what comes back.
func variants() []contender {
	cs := []contender{{name: "LRU", make: newLRU}, chosen.contender("**chosen**")}
	for _, spare := range []bool{false, true} {
		add := func(name string, change func(*rules)) {
			rs := chosen
			rs.spare = spare
			change(&rs)
			if spare {
				name = "disk, " + name
			}
			cs = append(cs, rs.contender(name))
		}
		if spare {
			add("**chosen**", func(rs *rules) { rs.earn = 3 })
			add("at once", func(*rules) {})
		}
		for _, x := range []float64{0.1, 0.3, 0.4} {
			add(fmt.Sprintf("small %g at first", x), func(rs *rules) { rs.small = x })
		}
		for _, x := range []float64{0.1, 0.2, 0.3, 0.4} {
			add(fmt.Sprintf("small %g for good", x), func(rs *rules) { rs.small, rs.adapt = x, false })
		}
		for _, x := range []float64{1.25, 2, 3} {
			add(fmt.Sprintf("need %g", x), func(rs *rules) { rs.need = x })
		}
		for _, x := range []float64{0, 1, 4} {
			add(fmt.Sprintf("ghosts %g", x), func(rs *rules) { rs.ghosts = x })
		}
		add("small is a FIFO", func(rs *rules) { rs.renew = false })
		add("main is an LRU", func(rs *rules) { rs.clock = false })
		add("moves at once", func(rs *rules) { rs.eager = true })
		add("each read is a use", func(rs *rules) { rs.count = byReads })
	}
	return cs
}
