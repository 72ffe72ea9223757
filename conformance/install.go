package conformance

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// The suite, and what it talks HTTP with, to the last digit: what the tests find
// must not depend on the day on which they were installed.
const (
	SuitePackage  = "http-cache-tests"
	SuiteVersion  = "0.4.5"
	clientPackage = "node-fetch@2.7.0"
)

// Install returns the suite. Unless it is there, npm puts it below the directory of
// the tools that the tests run against, VOYO_TOOLS.
func Install(ctx context.Context) (*Suite, error) {
	node, err := exec.LookPath("node")
	if err != nil {
		return nil, errors.New("conformance: the suite runs in Node.js, and there is no node in PATH: install Debian's nodejs and npm")
	}
	tools, err := toolsDir()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(tools, SuitePackage+"-"+SuiteVersion)
	s := &Suite{node: node, dir: filepath.Join(dir, "node_modules", SuitePackage)}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	return s, install(ctx, dir)
}

func toolsDir() (string, error) {
	if dir := os.Getenv("VOYO_TOOLS"); dir != "" {
		return dir, nil
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, ".cache", "caddy-voyo", "tools"), err
}

// install makes dir, either whole or not at all.
func install(ctx context.Context, dir string) error {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return errors.New("conformance: the suite comes from npm, which is not in PATH: install Debian's npm")
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o750); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "npm")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	cmd := exec.CommandContext(ctx, npm, "install", "--prefix", tmp, // #nosec G204 -- npm, as PATH has it
		"--save-exact", "--ignore-scripts", "--no-audit", "--no-fund", SuitePackage+"@"+SuiteVersion, clientPackage)
	cmd.Dir = tmp
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("conformance: npm can't install %s %s: %w\n%s", SuitePackage, SuiteVersion, err, strings.TrimSpace(string(out)))
	}
	if err := os.Rename(tmp, dir); err != nil && !errors.Is(err, fs.ErrExist) { // or another test was faster
		return err
	}
	return nil
}
