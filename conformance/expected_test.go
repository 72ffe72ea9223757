package conformance

import (
	"slices"
	"strings"
	"testing"
)

func parse(t *testing.T, text string) Expected {
	t.Helper()
	list, err := ParseExpected(text)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestCompare(t *testing.T) {
	const list = `
		# a group
		good pass
		better fail  RFC 9111 section 5.1: a reason
		worse pass
		reasonless optional_fail
		asked no
		chance either depends on the second in which it is asked
		gone pass
	`
	problems := parse(t, list).Compare([]Test{
		{ID: "good", Outcome: Pass},
		{ID: "better", Outcome: Pass},
		{ID: "worse", Outcome: Fail},
		{ID: "reasonless", Outcome: OptionalFail},
		{ID: "asked", Outcome: Yes},
		{ID: "chance", Outcome: No},
		{ID: "new", Outcome: Pass},
		{ID: "browser", Outcome: Untested},
	})
	var ids []string
	for _, p := range problems {
		id, _, _ := strings.Cut(p, " ")
		ids = append(ids, strings.TrimSuffix(id, ":"))
	}
	if want := []string{"asked", "better", "gone", "new", "reasonless", "worse"}; !slices.Equal(ids, want) {
		t.Errorf("problems with %v, want %v:\n%s", ids, want, strings.Join(problems, "\n"))
	}
}

func TestFormatKeepsReasons(t *testing.T) {
	list := parse(t, "a fail because\nb fail because\nc either because")
	got := parse(t, list.Format([]Test{
		{ID: "a", Outcome: Fail}, {ID: "b", Outcome: Pass}, {ID: "c", Outcome: Yes}, {ID: "d", Outcome: Untested},
	}))
	want := parse(t, "a fail because\nb pass\nc either because")
	if len(got) != len(want) {
		t.Errorf("%v, want %v", got, want)
	}
	for id := range want {
		if got[id] != want[id] {
			t.Errorf("%s: %v, want %v", id, got[id], want[id])
		}
	}
}

func TestParseExpectedRefuses(t *testing.T) {
	for _, text := range []string{"a", "a good", "a pass\na pass"} {
		if list, err := ParseExpected(text); err == nil {
			t.Errorf("%q is read as %v", text, list)
		}
	}
}

func TestCounts(t *testing.T) {
	counts := Counts([]Test{
		{Kind: "required", Outcome: Pass}, {Kind: "required", Outcome: DependencyFail}, {Kind: "required", Outcome: Untested},
		{Kind: "optimal", Outcome: OptionalFail}, {Kind: "check", Outcome: Yes},
	})
	for kind, want := range map[string]Count{"required": {1, 2}, "optimal": {0, 1}, "check": {1, 1}} {
		if counts[kind] != want {
			t.Errorf("%s: %v, want %v", kind, counts[kind], want)
		}
	}
}
