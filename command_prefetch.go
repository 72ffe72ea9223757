package voyo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// prefetchBatch is how many tracks the command has warmed with one request: enough to
// keep the node busy, and few enough to leave places for its clients.
const prefetchBatch = 64

func prefetchCommand() *cobra.Command {
	var admin adminFlags
	var asked prefetchRequest
	cmd := &cobra.Command{
		Use:   "prefetch <id>... | -",
		Short: "Makes the node get ready for tracks",
		Long: `
Makes the node fetch the beginning of each track, and its cover, as players have
it done for the track that comes next. IDs may be given in either form; with a
single "-" they are read from the standard input. Those that begin with a "-"
come after "--".

Prints what became of each track when that is known. The exit status is 1 if a
track could not be fetched. If the command is ended before, the node goes on
with what it has begun.
`,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: concluding(func(cmd *cobra.Command, args []string) error {
			ids, err := words(cmd, args)
			switch {
			case err != nil:
				return err
			case len(args) == 0:
				return usageError{errors.New("no track to prefetch")}
			}
			if err := asked.checkVariant(); err != nil {
				return usageError{err}
			}
			p := progress{out: cmd.OutOrStdout(), errs: cmd.ErrOrStderr(), total: len(ids), bar: isTerminal(cmd.OutOrStdout())}
			for batch := range slices.Chunk(ids, prefetchBatch) {
				asked.IDs = batch
				if err := admin.prefetch(asked, &p); err != nil {
					return err
				}
			}
			return p.end()
		}),
	}
	admin.add(cmd)
	cmd.Flags().StringVarP(&asked.Type, "type", "", "", "Medium: audio or video (default audio)")
	cmd.Flags().StringVarP(&asked.Quality, "quality", "", "", "Quality: low, medium or high (default high)")
	for name, values := range map[string][]string{"type": {"audio", "video"}, "quality": {"low", "medium", "high"}} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
	return cmd
}

// prefetch has tracks warmed, and waits for each.
func (f *adminFlags) prefetch(asked prefetchRequest, p *progress) error {
	resp, err := f.request(http.MethodPost, "/voyo/prefetch?wait", asked)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	dec := json.NewDecoder(resp.Body)
	for range asked.IDs {
		var result prefetchResult
		if err := dec.Decode(&result); err != nil {
			return fmt.Errorf("the answer broke off: %w", err)
		}
		p.add(result)
	}
	return nil
}

// progress shows how far a prefetch has come: as a bar for somebody who looks at it, or
// else as lines.
type progress struct {
	out, errs           io.Writer
	bar                 bool
	total, done, failed int
}

const barWidth = 30

func (p *progress) add(r prefetchResult) {
	p.done++
	line := r.ID + " " + r.Status
	if r.Error != "" {
		line += ": " + r.Error
	}
	failed := r.Status != prefetchDone && r.Status != prefetchAlready
	if failed {
		p.failed++
	}
	switch {
	case !p.bar:
		fmt.Fprintln(p.out, line)
		return
	case failed:
		fmt.Fprintf(p.errs, "\r\x1b[K%s\n", line) // in the place of the bar, which comes again below
	}
	full := barWidth * p.done / p.total
	fmt.Fprintf(p.out, "\r\x1b[K[%s%s] %d/%d", strings.Repeat("#", full), strings.Repeat(".", barWidth-full), p.done, p.total)
	if p.done == p.total {
		fmt.Fprintln(p.out)
	}
}

// end returns an error if some tracks could not be warmed.
func (p *progress) end() error {
	if p.failed == 0 {
		return nil
	}
	return fmt.Errorf("%d of %s could not be prefetched", p.failed, counted(p.total, "track"))
}
