package voyo

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/voyo-music/caddy-voyo/resolver"
)

func idCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "id <command>",
		Short: "Translates between source IDs and VOYO IDs",
		Long: `
Translates between the two forms of a track's ID: the source ID, as in
OSBan_sH_b8, and the VOYO ID, as in vyo_T1NCYW5fc0hfYjg. It needs no node.
`,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.RunE = concluding(func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return usageError{fmt.Errorf("unknown command %q", args[0])}
		}
		return cmd.Help()
	})
	cmd.AddCommand(
		translateCommand("encode", "Prints VOYO IDs", resolver.ID.VOYO),
		translateCommand("decode", "Prints source IDs", resolver.ID.String),
	)
	return cmd
}

// translateCommand prints IDs in the form that a function makes.
func translateCommand(name, short string, form func(resolver.ID) string) *cobra.Command {
	return &cobra.Command{
		Use:   name + " [<id>... | -]",
		Short: short,
		Long: `
Prints the IDs of tracks, which may be given in either form, one on a line. They
are read from the standard input if there are none, or if there is a single "-".

What is no ID is reported, and makes the exit status 1; the others are printed.
`,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: concluding(func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				args = []string{"-"}
			}
			list, err := words(cmd, args)
			if err != nil {
				return err
			}
			bad := 0
			for _, s := range list {
				id, err := resolver.ParseID(s)
				if err != nil {
					bad++
					fmt.Fprintf(cmd.ErrOrStderr(), "%q: %v\n", abbreviated(s), err)
					continue
				}
				fmt.Fprintln(cmd.OutOrStdout(), form(id))
			}
			if bad > 0 {
				return fmt.Errorf("%d of %d are no track IDs", bad, len(list))
			}
			return nil
		}),
	}
}
