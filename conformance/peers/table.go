package main

import (
	"fmt"
	"io"
	"slices"

	"github.com/voyo-music/caddy-voyo/conformance"
)

// column is a peer and what it has passed.
type column struct {
	name, version string
	tests         []conformance.Test
}

// printTable prints a line for each peer, and then one for each group of tests.
func printTable(w io.Writer, columns []column) {
	fmt.Fprintln(w, "| cache | version | required | optimal | questions answered with yes |")
	fmt.Fprintln(w, "| --- | --- | --- | --- | --- |")
	for _, c := range columns {
		counts := conformance.Counts(c.tests)
		fmt.Fprintf(w, "| %s | %s | %s | %s | %s |\n", c.name, c.version,
			share(counts["required"]), share(counts["optimal"]), share(counts["check"]))
	}
	fmt.Fprint(w, "\nRequired and optimal tests passed, by group:\n\n| group | of |")
	for _, c := range columns {
		fmt.Fprintf(w, " %s |", c.name)
	}
	fmt.Fprintf(w, "\n| --- | ---")
	for range columns {
		fmt.Fprint(w, " | ---")
	}
	fmt.Fprintln(w, " |")
	for _, group := range groups(columns[0].tests) {
		_, of := passed(columns[0].tests, group)
		if of == 0 {
			continue // questions only
		}
		fmt.Fprintf(w, "| %s | %d |", group, of)
		for _, c := range columns {
			n, _ := passed(c.tests, group)
			fmt.Fprintf(w, " %d |", n)
		}
		fmt.Fprintln(w)
	}
}

func share(c conformance.Count) string {
	return fmt.Sprintf("%d of %d (%.0f%%)", c.Passed, c.Of, 100*float64(c.Passed)/float64(c.Of))
}

func groups(tests []conformance.Test) []string {
	var names []string
	for _, t := range tests {
		if !slices.Contains(names, t.Group) {
			names = append(names, t.Group)
		}
	}
	return names
}

// passed counts the required and optimal tests of a group.
func passed(tests []conformance.Test, group string) (n, of int) {
	tests = slices.DeleteFunc(slices.Clone(tests), func(t conformance.Test) bool { return t.Group != group })
	counts := conformance.Counts(tests)
	return counts["required"].Passed + counts["optimal"].Passed, counts["required"].Of + counts["optimal"].Of
}
