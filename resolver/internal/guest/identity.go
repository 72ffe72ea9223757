package guest

import (
	"crypto/sha256"
	"fmt"
)

// Identity returns what the parts amount to, as a name and a digest: parts that
// differ have different identities, and no part can be read from it.
func Identity(name string, parts ...any) string {
	return fmt.Sprintf("%s:%x", name, sha256.Sum256(fmt.Appendf(nil, "%q", parts)))
}
