package cache

import (
	"iter"
	"strings"
)

// members yields the members of a list whose elements have no quoted strings, given
// by its lines; without those that are empty (RFC 9110, section 5.6.1.2).
func members(lines ...string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, line := range lines {
			for member := range strings.SplitSeq(line, ",") {
				if member = strings.Trim(member, " \t"); member != "" && !yield(member) {
					return
				}
			}
		}
	}
}
