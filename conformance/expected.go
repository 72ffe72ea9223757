package conformance

import (
	"fmt"
	"slices"
	"strings"
)

// either is the expectation that any outcome will do.
const either Outcome = "either"

// expectation is a line of the list: what a test is expected to find, and why that is
// right if the suite thinks otherwise.
type expectation struct {
	outcome Outcome
	reason  string
}

// Expected is a list of expected outcomes by test ID.
type Expected map[string]expectation

// ParseExpected reads a list: a test's ID, its outcome and the reason on each line.
// Lines that start with # are for people.
func ParseExpected(text string) (Expected, error) {
	list := make(Expected)
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		id, rest, _ := strings.Cut(line, " ")
		outcome, reason, _ := strings.Cut(strings.TrimSpace(rest), " ")
		if _, ok := list[id]; ok {
			return nil, fmt.Errorf("line %d: %s is there twice", i+1, id)
		}
		e := expectation{Outcome(outcome), strings.TrimSpace(reason)}
		if !slices.Contains([]Outcome{Pass, Fail, OptionalFail, Yes, No, SetupFail, DependencyFail, Retry, either}, e.outcome) {
			return nil, fmt.Errorf("line %d: %s has the unknown outcome %q", i+1, id, outcome)
		}
		list[id] = e
	}
	return list, nil
}

// Compare returns what is not as expected, a line each, and what is expected without
// a reason though the suite thinks that it is wrong.
func (e Expected) Compare(tests []Test) []string {
	var problems []string
	found := make(map[string]bool)
	for _, t := range tests {
		if t.Outcome == Untested {
			continue
		}
		found[t.ID] = true
		want, ok := e[t.ID]
		switch {
		case !ok:
			problems = append(problems, fmt.Sprintf("%s (%s): %s, and not in the list: %s", t.ID, t.Kind, t.Outcome, t.Detail))
		case want.outcome == either && want.reason == "":
			problems = append(problems, fmt.Sprintf("%s (%s): the list does not say why either outcome will do", t.ID, t.Kind))
		case want.outcome == either:
		case t.Outcome != want.outcome:
			problems = append(problems, fmt.Sprintf("%s (%s): %s, expected %s: %s", t.ID, t.Kind, t.Outcome, want.outcome, t.Detail))
		case t.Outcome.Bad() && want.reason == "":
			problems = append(problems, fmt.Sprintf("%s (%s): %s, and the list does not say why: %s", t.ID, t.Kind, t.Outcome, t.Detail))
		}
	}
	for id := range e {
		if !found[id] {
			problems = append(problems, id+": in the list, but not in the suite")
		}
	}
	slices.Sort(problems)
	return problems
}

// Format returns the list for what the tests have found. Reasons stay where the
// outcome is as expected.
func (e Expected) Format(tests []Test) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# What the tests of %s %s find, and why where that is not what they want.\n", SuitePackage, SuiteVersion)
	fmt.Fprintf(&b, "# \"go test ./conformance -update\" writes this file and keeps the reasons.\n")
	group := ""
	for _, t := range tests {
		if t.Outcome == Untested {
			continue
		}
		if t.Group != group {
			group = t.Group
			fmt.Fprintf(&b, "\n# %s\n", group)
		}
		want := e[t.ID]
		if want.outcome != either && want.outcome != t.Outcome {
			want = expectation{outcome: t.Outcome}
		}
		b.WriteString(strings.TrimRight(fmt.Sprintf("%s %s %s", t.ID, want.outcome, want.reason), " ") + "\n")
	}
	return b.String()
}
