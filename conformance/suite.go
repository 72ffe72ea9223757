// Package conformance tells how an HTTP cache in front of an origin keeps to the
// RFCs, by the public suite http-cache-tests. The suite is run as a tool: its own
// server is the origin, its own client asks through the cache, and its own report
// says what the answers mean.
package conformance

import (
	"bytes"
	"context"
	_ "embed" // classify.mjs
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"

	"github.com/voyo-music/caddy-voyo/internal/peer"
)

// Suite is an installed http-cache-tests.
type Suite struct {
	node, dir string
}

//go:embed classify.mjs
var classify string

// listening is what the suite's server prints when it can be asked.
var listening = regexp.MustCompile(`(?m)^Listening on http://.*:(\d+)/$`)

// Run runs the tests against a server and returns what each of them found.
func (s *Suite) Run(ctx context.Context, server Server) ([]Test, error) {
	tmp, err := os.MkdirTemp("", "conformance")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	if err := os.Chmod(tmp, 0o755); err != nil { // #nosec G302 -- servers that drop root's rights look into it
		return nil, err
	}
	origin, err := s.startOrigin(ctx, tmp)
	if err != nil {
		return nil, err
	}
	defer origin.Stop()
	address := "127.0.0.1:" + origin.Ready
	if server.Start == nil {
		return s.ask(ctx, "http://"+address)
	}
	return s.runThrough(ctx, server, tmp, address)
}

// runThrough asks the origin through the server. If that ends, so do the questions.
func (s *Suite) runThrough(ctx context.Context, server Server, tmp, origin string) ([]Test, error) {
	dir := filepath.Join(tmp, "server")
	if err := os.Mkdir(dir, 0o777); err != nil { // #nosec G301 -- likewise
		return nil, err
	}
	if err := os.Chmod(dir, 0o777); err != nil { // #nosec G302 -- likewise
		return nil, err
	}
	p, err := server.Start(ctx, dir, origin)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", server.Name, err)
	}
	defer p.Stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-p.Done():
			cancel(p.Failure())
		case <-ctx.Done():
		}
	}()
	tests, err := s.ask(ctx, "http://"+p.Addr[0])
	if cause := context.Cause(ctx); err != nil && cause != nil {
		err = fmt.Errorf("%s: %w", server.Name, cause)
	}
	return tests, err
}

// startOrigin starts the server that plays the origin's part. Ready is its port.
func (s *Suite) startOrigin(ctx context.Context, tmp string) (*peer.Process, error) {
	cmd := exec.CommandContext(ctx, s.node, "server/server.mjs") // #nosec G204 -- Node.js, as PATH has it
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "npm_config_protocol=http", "npm_config_port=0", "npm_config_pidfile="+filepath.Join(tmp, "pid"))
	p, err := peer.Start(cmd, listening)
	if err != nil {
		return nil, fmt.Errorf("conformance: the suite's server: %w", err)
	}
	return p, nil
}

// ask runs the suite's client against a URL.
func (s *Suite) ask(ctx context.Context, base string) ([]Test, error) {
	if _, err := url.Parse(base); err != nil {
		return nil, err
	}
	// an empty ID means all tests, and none is not empty
	env := []string{"npm_config_base=" + base, "npm_config_id=", "npm_package_config_id="}
	results, err := s.output(ctx, nil, env, "--no-warnings", "cli.mjs")
	if err != nil {
		return nil, fmt.Errorf("conformance: the suite's client: %w", err)
	}
	report, err := s.output(ctx, results, nil, "--no-warnings", "--input-type=module", "--eval", classify)
	if err != nil {
		return nil, fmt.Errorf("conformance: the suite's report: %w", err)
	}
	var tests []Test
	if err := json.Unmarshal(report, &tests); err != nil {
		return nil, fmt.Errorf("conformance: the suite's report: %w", err)
	}
	return tests, nil
}

func (s *Suite) output(ctx context.Context, input []byte, env []string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, s.node, args...) // #nosec G204 -- Node.js, as PATH has it
	cmd.Dir, cmd.Env, cmd.Stdin = s.dir, append(os.Environ(), env...), bytes.NewReader(input)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err == nil && len(bytes.TrimSpace(out)) == 0 {
		err = fmt.Errorf("it has said nothing")
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}
