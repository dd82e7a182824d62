package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/shmchan/shmchan/fallback"
)

func newMechanisms(stdout io.Writer) *cobra.Command {
	var asJSON, long bool
	cmd := &cobra.Command{
		Use:   "mechanisms",
		Short: "Tell with what processes can talk on this system",
		Long: `Print a table of the mechanisms with which processes can talk, as found on this
system: what each is found by, who may open it, how long it lives, what it carries,
and whether it works here. --long adds the rest, with the limits; --json is for programs.
` + exitHelp,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			facts := fallback.Facts()
			var err error
			switch {
			case asJSON:
				enc := json.NewEncoder(stdout)
				enc.SetIndent("", "  ")
				err = enc.Encode(facts)
			case long:
				err = printLong(stdout, facts)
			default:
				err = printTable(stdout, facts)
			}
			if err != nil {
				return stdoutError(err)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "everything, as one JSON document")
	cmd.Flags().BoolVarP(&long, "long", "l", false, "everything, in words")
	cmd.MarkFlagsMutuallyExclusive("json", "long")
	return cmd
}

func yes(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

func printTable(w io.Writer, facts []fallback.Fact) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "MECHANISM\tHERE\tIDENTITY\tUNIT\tDIRECTION\tNETWORK\tLIFETIME")
	for _, f := range facts {
		here := yes(f.Available)
		if f.Package == "" {
			here = "left out"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", f.Name, here, f.Identity, f.Unit, f.Direction, yes(f.Network), f.Lifetime)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, f := range facts {
		if f.Why != "" {
			if _, err := fmt.Fprintf(w, "\n%s: %s\n", f.Name, f.Why); err != nil {
				return err
			}
		}
	}
	return nil
}

func printLong(w io.Writer, facts []fallback.Fact) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range facts {
		fmt.Fprintf(t, "%s\n", f.Name)
		for _, line := range [][2]string{
			{"works here", yes(f.Available)},
			{"because", f.Why},
			{"package", f.Package},
			{"manual", f.Manual},
			{"identity", f.Identity},
			{"handle", f.Handle},
			{"access", f.Access},
			{"lifetime", f.Lifetime},
			{"unit", f.Unit},
			{"direction", f.Direction},
			{"capacity", f.Capacity},
			{"priorities", yes(f.Priorities)},
			{"pollable", f.Pollable},
			{"network", yes(f.Network)},
		} {
			if line[1] != "" {
				fmt.Fprintf(t, "  %s\t%s\n", line[0], line[1])
			}
		}
		for _, l := range f.Limits {
			fmt.Fprintf(t, "  %s\t%s\n", strings.TrimPrefix(l.Name, "/proc/sys/"), l.Value)
		}
		fmt.Fprintln(t)
	}
	return t.Flush()
}
