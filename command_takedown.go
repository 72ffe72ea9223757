package voyo

import (
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"
)

func takedownCommand() *cobra.Command {
	var admin adminFlags
	var asked takedownRequest
	cmd := &cobra.Command{
		Use:   "takedown <id>... [--lift]",
		Short: "Takes tracks down at all nodes of the fleet",
		Long: `
Takes tracks down at all nodes of the fleet: what is kept of them is removed, in
memory and on disk, and who asks for them is told that they are not available
for legal reasons (status 451). That lasts until it is lifted, with --lift.

An ID, in either form, stands for all streams and covers of the track. Nodes that
have not answered after some seconds are named: they take the tracks down when
they are back, before they serve on. The exit status is 1 then.

With a single "-", IDs are read from the standard input. Those that begin with a
"-" come after "--".
`,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: concluding(func(cmd *cobra.Command, args []string) error {
			var err error
			if asked.IDs, err = words(cmd, args); err != nil {
				return err
			}
			if len(asked.IDs) == 0 {
				return usageError{errors.New("at least one track ID is required")}
			}
			if _, err := parseIDs(asked.IDs); err != nil {
				return usageError{err}
			}
			return admin.tell(cmd.OutOrStdout(), "/voyo/takedown", asked, new(takedownAnswer))
		}),
	}
	admin.add(cmd)
	cmd.Flags().BoolVarP(&asked.Lift, "lift", "", false, "End the takedown")
	return cmd
}

func (t takedownAnswer) print(w io.Writer) {
	what := "taken down"
	if t.Lift {
		what = "lifted"
	}
	for _, track := range t.IDs {
		fmt.Fprintln(w, what, track.ID, track.VOYOID)
	}
	fmt.Fprintln(w, counted(t.Nodes, "node"))
}
