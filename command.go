package voyo

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
	"golang.org/x/term"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "voyo",
		Usage: "<command>",
		Short: "Administers a running VOYO edge node",
		Long: `
Administers a VOYO edge node that is running, by Caddy's admin API. The node is
found as by 'caddy reload': at --address, or at the address that the
configuration of --config has, or else at Caddy's default address.

The exit status is 0 if all went well, 1 if something failed, and 2 if the
command was not understood.
`,
		CobraFunc: func(cmd *cobra.Command) {
			cmd.Example = `  $ caddy voyo status --watch
  $ caddy voyo purge vyo_T1NCYW5fc0hfYjg
  $ caddy voyo takedown vyo_T1NCYW5fc0hfYjg
  $ caddy voyo prefetch - < tracks.txt
  $ caddy voyo explain '/cdn/stream/vyo_T1NCYW5fc0hfYjg?quality=low'
  $ caddy voyo sign --key '{env.VOYO_LINK_KEY}' /cdn/stream/vyo_T1NCYW5fc0hfYjg
  $ caddy voyo id encode OSBan_sH_b8`
			cmd.ValidArgsFunction = cobra.NoFileCompletions
			cmd.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return conclude(cmd, usageError{err}) })
			cmd.RunE = concluding(func(cmd *cobra.Command, args []string) error {
				if len(args) > 0 {
					return usageError{fmt.Errorf("unknown command %q", args[0])}
				}
				return cmd.Help()
			})
			cmd.AddCommand(statusCommand(), purgeCommand(), takedownCommand(), prefetchCommand(),
				explainCommand(), signCommand(), idCommand())
		},
	})
}

// exitUsage is the exit status of a command that was not understood.
const exitUsage = 2

// usageError is an error in what was typed.
type usageError struct{ error }

// concluding makes a function one that cobra can run.
func concluding(run func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error { return conclude(cmd, run(cmd, args)) }
}

// conclude says what went wrong, without the decoration of Caddy's log, which is for
// servers. What it returns makes Caddy end with the right exit status.
func conclude(cmd *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	cmd.SilenceErrors = true                                                  // it is said here
	fmt.Fprintln(cmd.ErrOrStderr(), "Error:", strings.TrimSpace(err.Error())) // Caddy quotes whole answers
	if _, ok := errors.AsType[usageError](err); !ok {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "Run '%s --help' for usage.\n", cmd.CommandPath())
	// Caddy has no other way to end with a status that is not 1.
	return caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return exitUsage, nil })(cmd, nil)
}

// adminFlags say where the admin API is.
type adminFlags struct{ address, config, adapter string }

func (f *adminFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.address, "address", "", "", "Address of the admin API, if it is not in the configuration")
	cmd.Flags().StringVarP(&f.config, "config", "c", "", "Configuration file to find the address in")
	cmd.Flags().StringVarP(&f.adapter, "adapter", "a", "", "Name of config adapter to apply to that")
}

// request asks the admin API. The caller closes the answer's body. An answer with an
// error's status is an error.
func (f *adminFlags) request(method, uri string, body any) (*http.Response, error) {
	address, err := caddycmd.DetermineAdminAPIAddress(f.address, nil, f.config, f.adapter)
	if err != nil {
		return nil, fmt.Errorf("finding the admin API: %w", err)
	}
	var content io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, err
		}
		content = bytes.NewReader(b)
	}
	return caddycmd.AdminAPIRequest(address, method, uri, nil, content)
}

// ask asks the admin API, and reads its answer, which is one JSON value.
func (f *adminFlags) ask(method, uri string, body, into any) error {
	resp, err := f.request(method, uri, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("reading the answer: %w", err)
	}
	return nil
}

// words returns the arguments, or, where they are one "-", the words of the input.
func words(cmd *cobra.Command, args []string) ([]string, error) {
	if len(args) != 1 || args[0] != "-" {
		return args, nil
	}
	var read []string
	scanner := bufio.NewScanner(cmd.InOrStdin())
	scanner.Split(bufio.ScanWords)
	for scanner.Scan() {
		read = append(read, scanner.Text())
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("reading the input: %w", err)
	}
	return read, nil
}

// isTerminal reports whether somebody is at the other end.
func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
