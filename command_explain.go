package voyo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
)

func explainCommand() *cobra.Command {
	var admin adminFlags
	var origin string
	var raw bool
	cmd := &cobra.Command{
		Use:   "explain <url>",
		Short: "Says what a URL would be answered with, and why",
		Long: `
Says what the node would answer a GET of the URL with, where it would take that
from, and why, without fetching anything: what is stored, for how long it is
fresh, which of its bytes are in memory and on disk, which shield and which
resolvers would be asked, and what these are remembered to have said.

For streams and covers a path is enough. A page of the origin needs its whole
URL, as in https://voyo.example/about.
`,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: concluding(func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{errors.New("exactly one URL is required")}
			}
			if _, err := parseAsked(args[0]); err != nil {
				return usageError{fmt.Errorf("%q: %w", abbreviated(args[0]), err)}
			}
			query := url.Values{"url": args}
			if origin != "" {
				query.Set("origin", origin)
			}
			var answer json.RawMessage
			if err := admin.ask(http.MethodGet, "/voyo/explain?"+query.Encode(), nil, &answer); err != nil {
				return err
			}
			if raw {
				_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s\n", answer)
				return err
			}
			var explained explainAnswer
			if err := json.Unmarshal(answer, &explained); err != nil {
				return fmt.Errorf("reading the answer: %w", err)
			}
			return explained.print(cmd.OutOrStdout())
		}),
	}
	admin.add(cmd)
	cmd.Flags().StringVarP(&origin, "origin", "", "", "Origin of the page that asks, as in https://voyo.example")
	cmd.Flags().BoolVarP(&raw, "json", "", false, "Print the admin API's answer")
	return cmd
}

// print prints the explanation for somebody to read.
func (a explainAnswer) print(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(table, "url\t%s\n", a.URL)
	fmt.Fprintf(table, "endpoint\t%s\n", a.Endpoint)
	if n := a.Asset; n != nil {
		fmt.Fprintf(table, "track\t%s %s\n", n.ID, n.VOYOID)
		if n.Image != "" {
			fmt.Fprintf(table, "image\t%s\n", n.Image)
		} else {
			fmt.Fprintf(table, "variant\t%s, %d kbit/s\n", n.Type, n.Bitrate)
		}
	}
	for i, e := range a.Handlers {
		if len(a.Handlers) > 1 {
			fmt.Fprintf(table, "\nhandler\t%d\n", i)
		}
		e.print(table)
	}
	return table.Flush()
}

func (e explanation) print(w io.Writer) {
	fmt.Fprintf(w, "outcome\t%s: %s\n", e.Outcome, e.Reason)
	if e.Key != "" {
		fmt.Fprintf(w, "key\t%s\n", e.Key)
	}
	for _, s := range e.Stored {
		s.print(w)
	}
	if e.Shield != nil {
		fmt.Fprintf(w, "shield\t%d, %s, would be asked first\n", e.Shield.Position, e.Shield.describe())
	}
	for _, r := range e.Resolvers {
		fmt.Fprintf(w, "resolver\t%d %s, %s\n", r.Position, r.Name, r.describe())
	}
	if len(e.Alternatives) > 0 {
		fmt.Fprintf(w, "else\t%s\n", strings.Join(e.Alternatives, ", "))
	}
}

func (s storedThing) print(w io.Writer) {
	size := "unknown size"
	if s.Size >= 0 {
		size = humanize.Comma(s.Size) + " bytes"
	}
	fmt.Fprintf(w, "stored\t%s of %s, status %d, %s\n", humanize.Comma(s.StoredBytes), size, s.Status, s.Type)
	if s.TTL > 0 {
		fmt.Fprintf(w, "fresh\tfor %s, age %s\n", asTime(s.TTL), asTime(s.Age))
	} else {
		fmt.Fprintf(w, "stale\tfor %s, age %s\n", asTime(-s.TTL), asTime(s.Age))
	}
	if len(s.Vary) > 0 {
		fmt.Fprintf(w, "varies on\t%s\n", strings.Join(s.Vary, ", "))
	}
	for _, place := range []struct {
		name   string
		ranges []string
	}{{"memory", s.Memory}, {"disk", s.Disk}} {
		if len(place.ranges) > 0 {
			fmt.Fprintf(w, "%s\t%s\n", place.name, strings.Join(place.ranges, ", "))
		}
	}
	if s.Filling {
		fmt.Fprintln(w, "filling\tyes")
	}
}

// describe says in a few words how a resolver is, and what it has said.
func (a explainedAnswers) describe() string {
	text := a.Status
	if a.Reason != "" {
		text += " (" + a.Reason + ")"
	}
	switch {
	case a.Remembered == "":
		return text + ", would be asked"
	case len(a.Hosts) == 0:
		return fmt.Sprintf("%s, has said: %s, for %s", text, a.Remembered, asTime(a.TTL))
	default:
		return fmt.Sprintf("%s, has said: at %s, for %s", text, strings.Join(a.Hosts, ", "), asTime(a.TTL))
	}
}

func asTime(seconds int64) time.Duration { return time.Duration(seconds) * time.Second }
