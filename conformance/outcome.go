package conformance

// Test is what one test of the suite has found, in the suite's own judgement.
type Test struct {
	ID      string  `json:"id"`
	Group   string  `json:"group"`
	Kind    string  `json:"kind"` // required, optimal or check
	Outcome Outcome `json:"outcome"`
	Detail  string  `json:"detail"` // what went wrong
}

// Outcome is how a test ended.
type Outcome string

// The suite's outcomes. A test of the kind check asks a question, to which either
// answer may be right; each other one is passed or not.
const (
	Pass           Outcome = "pass"
	Fail           Outcome = "fail"          // a required test
	OptionalFail   Outcome = "optional_fail" // an optimal test
	Yes            Outcome = "yes"
	No             Outcome = "no"
	SetupFail      Outcome = "setup_fail"      // the cache did not do what the test builds on
	DependencyFail Outcome = "dependency_fail" // a test that this one builds on was not passed
	Retry          Outcome = "retry"           // the origin was asked twice
	HarnessFail    Outcome = "harness_fail"
	Untested       Outcome = "untested" // it is for browsers only
)

// Bad reports whether the cache is not as the test wants it.
func (o Outcome) Bad() bool {
	return o != Pass && o != Yes && o != No && o != Untested
}

// Count is how many of a kind of tests were passed.
type Count struct {
	Passed, Of int
}

// Counts counts by kind, what is for browsers left out. A question is passed if it is
// answered with yes.
func Counts(tests []Test) map[string]Count {
	counts := make(map[string]Count)
	for _, t := range tests {
		if t.Outcome == Untested {
			continue
		}
		c := counts[t.Kind]
		c.Of++
		if t.Outcome == Pass || t.Outcome == Yes {
			c.Passed++
		}
		counts[t.Kind] = c
	}
	return counts
}
