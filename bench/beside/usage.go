package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// tree returns a process and all that come from it. Without one, there is none.
func tree(root int) []int {
	children := make(map[int][]int)
	stats, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is right
	for _, path := range stats {
		if fields := statFields(path); fields != nil {
			pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
			parent, _ := strconv.Atoi(string(fields[1]))
			children[parent] = append(children[parent], pid)
		}
	}
	var all []int
	if root != 0 {
		all = append(all, root)
	}
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i]]...)
	}
	return all
}

// statFields returns what /proc/<pid>/stat has from the third field on, if the process
// still is.
func statFields(path string) [][]byte {
	b, err := os.ReadFile(path) // #nosec G304 -- below /proc
	if err != nil {
		return nil
	}
	return bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
}

// processorTime returns what each process of a server has taken, in the user's mode and in the
// kernel's.
func processorTime(root int) map[int]time.Duration {
	const tick = 10 * time.Millisecond // of these files, on all of Linux's usual platforms
	took := make(map[int]time.Duration)
	for _, pid := range tree(root) {
		if fields := statFields(fmt.Sprintf("/proc/%d/stat", pid)); fields != nil {
			user, _ := strconv.Atoi(string(fields[11]))
			system, _ := strconv.Atoi(string(fields[12]))
			took[pid] = time.Duration(user+system) * tick
		}
	}
	return took
}

// processorTimeSince returns what all of them together have taken since.
func processorTimeSince(root int, before map[int]time.Duration) time.Duration {
	var sum time.Duration
	for pid, took := range processorTime(root) {
		sum += took - before[pid]
	}
	return sum
}

// memory returns the resident bytes of all processes of a server, and the same with those
// that several of them share counted once.
func memory(root int) (resident, proportional int64) {
	for _, pid := range tree(root) {
		rollup, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps_rollup", pid)) // #nosec G304 -- below /proc
		if err != nil {
			continue // it has ended
		}
		resident += fieldOf(rollup, "Rss:") << 10
		proportional += fieldOf(rollup, "Pss:") << 10
	}
	return resident, proportional
}

// fieldOf returns the number behind a name.
func fieldOf(text []byte, name string) int64 {
	_, after, _ := bytes.Cut(text, []byte(name))
	fields := bytes.Fields(after)
	if len(fields) == 0 {
		return 0
	}
	n, _ := strconv.ParseInt(string(fields[0]), 10, 64)
	return n
}
