package voyo

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

func purgeCommand() *cobra.Command {
	var admin adminFlags
	var asked purgeRequest
	var yes bool
	cmd := &cobra.Command{
		Use:   "purge [<id>...] [--tag <tag>]... [--path <path>]... [--all [--yes]]",
		Short: "Makes the node forget what it keeps",
		Long: `
Makes the node forget what it keeps, in memory and on disk: it is fetched again
when somebody asks for it. When the command has ended this is in effect.

If the node is in a fleet, all nodes of that purge. Those that have not answered
after some seconds are named: they purge when they are back, before they serve
on. The exit status is 1 then.

An ID, in either form, stands for all streams and covers of the track. A tag
stands for all that upstreams have labelled with it, in Cache-Tag or
Surrogate-Key. A path stands for the very stream or cover that it names; a page
of the origin needs its whole URL, as in https://voyo.example/about.

With a single "-", IDs are read from the standard input. Those that begin with a
"-" come after "--".
`,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: concluding(func(cmd *cobra.Command, args []string) error {
			var err error
			if asked.IDs, err = words(cmd, args); err != nil {
				return err
			}
			if err := confirm(cmd, asked, yes); err != nil {
				return err
			}
			return admin.tell(cmd.OutOrStdout(), "/voyo/purge", asked, new(purgeAnswer))
		}),
	}
	admin.add(cmd)
	cmd.Flags().StringArrayVarP(&asked.Tags, "tag", "t", nil, "Purge what has this tag")
	cmd.Flags().StringArrayVarP(&asked.Paths, "path", "p", nil, "Purge what is answered at this path or URL")
	cmd.Flags().BoolVarP(&asked.All, "all", "", false, "Purge everything")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "Do not ask whether to purge everything")
	for _, name := range []string{"tag", "path"} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions) // fails on a flag that is not there only
	}
	return cmd
}

// confirm checks what is to be purged before it is sent.
func confirm(cmd *cobra.Command, asked purgeRequest, yes bool) error {
	if len(asked.IDs)+len(asked.Tags)+len(asked.Paths) == 0 && !asked.All {
		return usageError{errors.New("nothing to purge")}
	}
	if _, err := parseIDs(asked.IDs); err != nil {
		return usageError{err}
	}
	if !asked.All || yes || !isTerminal(cmd.InOrStdin()) {
		return nil
	}
	fmt.Fprint(cmd.ErrOrStderr(), "Purge everything? Each track will be fetched again. [y/N] ")
	line, _ := bufio.NewReader(cmd.InOrStdin()).ReadString('\n') // an end of the input is a no
	if answer := strings.ToLower(strings.TrimSpace(line)); answer != "y" && answer != "yes" {
		return errors.New("nothing was purged")
	}
	return nil
}

func (p purgeAnswer) print(w io.Writer) {
	if p.All {
		fmt.Fprintln(w, "purged everything")
	}
	for _, track := range p.IDs {
		fmt.Fprintln(w, "purged", track.ID, track.VOYOID)
	}
	for _, tag := range p.Tags {
		fmt.Fprintln(w, "purged tag", tag)
	}
	for _, path := range p.Paths {
		fmt.Fprintln(w, "purged path", path)
	}
	what := counted(p.Keys, "key")
	if p.Locations != nil {
		what += ", " + counted(*p.Locations, "location") + " forgotten"
	}
	fmt.Fprintf(w, "%s, %s\n", what, counted(p.Nodes, "node"))
}

// counted returns a number of things in words.
func counted(n int, what string) string {
	if n != 1 {
		what += "s"
	}
	return fmt.Sprintf("%d %s", n, what)
}
