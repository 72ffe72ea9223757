package voyo

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"
)

// defaultLifetime is for how long a link is good: an evening of music.
const defaultLifetime = 6 * time.Hour

func signCommand() *cobra.Command {
	var flags signFlags
	cmd := &cobra.Command{
		Use:   "sign --key <placeholder> <url>... | -",
		Short: "Signs URLs for nodes that have signed_urls",
		Long: `
Signs URLs, or paths, of streams and covers and of all else that names a track,
for nodes that have the key among those of their signed_urls. Prints each of
them, signed, on a line. With a single "-" they are read from the standard
input. It needs no node.

A path is signed as it reaches the handler: without what a handle_path takes
from it. Scheme and host are not signed, and neither are type and quality.

The key is a placeholder for where it is, as in the configuration, since a
command line can be seen by everybody on the machine: {env.VOYO_LINK_KEY} or
{file./run/secrets/link_key}.

What can't be signed is reported, and makes the exit status 1; the others are
printed.
`,
		Example:           `  $ caddy voyo sign --key '{env.VOYO_LINK_KEY}' --expires 1d '/audio/vyo_T1NCYW5fc0hfYjg?q=low'`,
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	cmd.RunE = concluding(func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usageError{errors.New("no URL to sign")}
		}
		key, l, err := flags.read(cmd)
		if err != nil {
			return usageError{err}
		}
		list, err := words(cmd, args)
		if err != nil {
			return err
		}
		bad := 0
		for _, s := range list {
			signed, err := signURL(key, l, s)
			if err != nil {
				bad++
				fmt.Fprintf(cmd.ErrOrStderr(), "%q: %v\n", abbreviated(s), err)
				continue
			}
			fmt.Fprintln(cmd.OutOrStdout(), signed)
		}
		if bad > 0 {
			return fmt.Errorf("%d of %s could not be signed", bad, counted(len(list), "URL"))
		}
		return nil
	})
	flags.add(cmd)
	return cmd
}

// signFlags say how it is to be signed.
type signFlags struct{ key, expires, until, client string }

func (f *signFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.key, "key", "", "", "Placeholder for the key, as in {env.VOYO_LINK_KEY}")
	cmd.Flags().StringVarP(&f.expires, "expires", "", "", "How long the link is good, as in 90m or 30d (default 6h)")
	cmd.Flags().StringVarP(&f.until, "until", "", "", "When it is over instead, as in 2027-01-31T20:00:00Z")
	cmd.Flags().StringVarP(&f.client, "client", "", "", "IP address or CIDR that it is for (default everybody)")
	for _, name := range []string{"key", "expires", "until", "client"} {
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.NoFileCompletions) // fails on a flag that is not there only
	}
}

// read returns the key, and a link to which only the target is missing.
func (f *signFlags) read(cmd *cobra.Command) (key linkKeys, l link, err error) {
	if f.key == "" {
		return nil, link{}, errors.New("no key: --key is required")
	}
	secret, err := expandLinkKey(caddy.NewReplacer(), "--key", f.key)
	if err != nil {
		return nil, link{}, err
	}
	if cmd.Flags().Changed("client") {
		if _, err := parseScope(f.client); err != nil {
			return nil, link{}, fmt.Errorf("--client: %q is neither an IP address nor a CIDR", abbreviated(f.client))
		}
	}
	expires, err := f.expiry(time.Now())
	if err != nil {
		return nil, link{}, err
	}
	return linkKeys{secret}, link{expires: expires, client: f.client}, nil
}

// expiry returns when a link is over that is signed now. That may have been long ago, to
// see what players make of it.
func (f *signFlags) expiry(now time.Time) (int64, error) {
	at := now.Add(defaultLifetime)
	switch {
	case f.expires != "" && f.until != "":
		return 0, errors.New("--expires and --until exclude each other")
	case f.until != "":
		until, err := time.Parse(time.RFC3339, f.until)
		if err != nil || until.Unix() <= 0 {
			return 0, fmt.Errorf("--until: %q is no time as in 2027-01-31T20:00:00Z", abbreviated(f.until))
		}
		at = until
	case f.expires != "":
		lifetime, err := caddy.ParseDuration(f.expires)
		if err != nil || lifetime <= 0 {
			return 0, fmt.Errorf("--expires: %q is no duration above zero, as in 90m or 30d", abbreviated(f.expires))
		}
		at = now.Add(lifetime)
	}
	return at.Unix(), nil
}

// signURL makes a URL a link.
func signURL(key linkKeys, l link, s string) (string, error) {
	u, err := parseAsked(s)
	if err != nil {
		return "", err
	}
	at, ours := locate(u)
	switch {
	case !ours:
		return "", errors.New("not one of VOYO's paths")
	case at.endpoint == endpointHealth:
		return "", errors.New("needs no signature")
	}
	query, err := uniqueParams(at, u)
	switch {
	case err != nil:
		return "", errors.New("malformed query, or a parameter twice")
	case query.Has(paramExpires), query.Has(paramClient), query.Has(paramSignature):
		return "", errors.New("has a signature already")
	}
	req, err := at.parse(u, true)
	if err != nil {
		return "", err
	}
	l.target = at.target(req.asked)
	u.RawQuery = strings.TrimPrefix(u.RawQuery+"&"+key.query(l), "&")
	return u.String(), nil
}
