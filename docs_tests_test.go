package voyo_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// testNames returns the names of all tests there are.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	names := make(map[string]bool)
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	root := repositoryFile(t, ".")
	must(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") || entry.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range function.FindAllStringSubmatch(string(b), -1) {
			names[m[1]] = true
		}
		return err
	}))
	return names
}

// section returns what is in a document under a heading and those below it.
func section(t *testing.T, document, heading string) string {
	t.Helper()
	_, text, found := strings.Cut(readRepository(t, document), "\n## "+heading+"\n")
	if !found {
		t.Fatalf("%s has no section %q", document, heading)
	}
	text, _, _ = strings.Cut(text, "\n## ")
	return text
}

// Each threat of security.md, and each fault of reliability.md, names tests that hold
// it, and there are such tests.
func TestDocumentsTests(t *testing.T) {
	threats := regexp.MustCompile(`(?m)^- .*\n(?: {2}.*\n)*`).FindAllString(section(t, "docs/security.md", "Threats"), -1)
	faults := regexp.MustCompile(`(?m)^\| .*\n`).FindAllString(section(t, "docs/reliability.md", "Faults of others, and the tests that keep them out"), -1)
	if len(threats) < 25 || len(faults) < 20 {
		t.Fatalf("only %d threats and %d faults were found", len(threats), len(faults))
	}
	names := testNames(t)
	named := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`")
	unknown := make(map[string]bool)
	for _, line := range append(threats, faults[2:]...) { // behind the table's head
		tests := named.FindAllStringSubmatch(line, -1)
		if len(tests) == 0 {
			t.Errorf("no test holds\n%s", line)
		}
		for _, m := range tests {
			if !names[m[1]] {
				unknown[m[1]] = true
			}
		}
	}
	for name := range unknown {
		t.Errorf("there is no test %s", name)
	}
}
