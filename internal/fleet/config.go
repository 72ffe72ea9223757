package fleet

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nkeys"
)

// Validate checks the configuration without the network. Its errors tell URLs by their
// position and have nothing that could be secret. It reads the file of credentials.
func (c Config) Validate() error {
	if len(c.URLs) == 0 {
		return errors.New("a URL of NATS is required")
	}
	web := 0
	for i, u := range c.URLs {
		scheme, err := checkURL(u)
		if err != nil {
			return fmt.Errorf("URL %d: %w", i+1, err)
		}
		if strings.HasPrefix(scheme, "ws") {
			web++
		}
	}
	if web > 0 && web < len(c.URLs) {
		return errors.New("URLs with the schemes ws or wss can't be mixed with others")
	}
	if err := CheckNode(c.Node); err != nil {
		return err
	}
	return checkCredentials(c.Credentials)
}

// checkURL checks the URL of a server, and returns its scheme. Its errors don't have
// the URL, which url.Parse's own would have.
func checkURL(text string) (scheme string, err error) {
	if !strings.Contains(text, "://") {
		text = "nats://" + text
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return "", errors.New("it can't be parsed")
	case !slices.Contains([]string{"nats", "tls", "ws", "wss"}, u.Scheme):
		return "", errors.New("its scheme must be nats, tls, ws or wss")
	case u.Hostname() == "":
		return "", errors.New("it has no host")
	case u.Port() != "" && !isPort(u.Port()):
		return "", errors.New("its port is not a number from 1 to 65535")
	}
	return u.Scheme, nil
}

func isPort(text string) bool {
	n, err := strconv.ParseUint(text, 10, 16)
	return err == nil && n > 0
}

var nodeName = regexp.MustCompile(`^[-/_=.a-zA-Z0-9]{1,128}$`)

// CheckNode checks a node's name: 1 to 128 letters, digits and "-", "_", ".", "=" and "/",
// neither beginning nor ending with a dot, nor with two in a row, as the keys of NATS'
// buckets.
func CheckNode(name string) error {
	if !nodeName.MatchString(name) || strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".") || strings.Contains(name, "..") {
		return fmt.Errorf("node name %q: it must have 1 to 128 of the characters A-Z a-z 0-9 - _ = / and dots, "+
			"these neither first nor last nor in a row", name)
	}
	return nil
}

// checkCredentials checks that a file of credentials can be used. Its errors have
// nothing of what is in it.
func checkCredentials(path string) error {
	if path == "" {
		return nil
	}
	content, err := os.ReadFile(path) // #nosec G304 -- named by the configuration
	if err != nil {
		return fmt.Errorf("credentials: %w", err)
	}
	defer clear(content)
	if _, err := nkeys.ParseDecoratedJWT(content); err != nil {
		return errors.New("credentials: the file has no user's JWT")
	}
	pair, err := nkeys.ParseDecoratedUserNKey(content)
	if err != nil {
		return errors.New("credentials: the file has no user's seed")
	}
	pair.Wipe()
	return nil
}
