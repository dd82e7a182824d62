// Command bench measures every way to carry messages that this project has, between two
// processes, beside the bare system calls on the same kind of object in the same run.
//
//	cd bench && go run .                       # about six minutes, on a quiet machine
//	go run . -quick                            # under a minute
//	go run . -only '^(MQ|Pipe)$' -rounds 9
//	go run . -choosing ../docs/choosing.md     # rewrites the page's figures
//
// It writes results.json, and a table to standard output. A module of its own, so that what
// only measurements need never reaches a user's go.sum.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"regexp"
	"time"
)

func main() {
	if env := os.Getenv(childEnv); env != "" {
		child(env)
		return
	}
	if err := command(os.Args[1:], os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func command(args []string, stdout, stderr io.Writer) error {
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(stderr)
	quick := f.Bool("quick", false, "under a minute, by shorter measurements")
	only := f.String("only", "", "measure the carriers alone whose names match this `regexp`")
	rounds := f.Int("rounds", 0, "how many times each is measured (default 9, with -quick 5)")
	slice := f.Duration("slice", 150*time.Millisecond, "how long one measurement takes")
	table := f.String("table", "", "write the table to this `file`, too")
	out := f.String("results", "results.json", "write all figures to this `file`")
	choosing := f.String("choosing", "", "rewrite figures and capabilities in this `page`, docs/choosing.md")
	if err := f.Parse(args); err != nil {
		return err
	}
	p := plan{rounds: *rounds, slice: *slice, log: stderr}
	if *quick {
		p.budget = 45 * time.Second
	}
	if p.rounds <= 0 {
		p.rounds = 9
		if *quick {
			p.rounds = 5
		}
	}
	if *only != "" {
		var err error
		if p.only, err = regexp.Compile(*only); err != nil {
			return err
		}
		if *choosing != "" {
			return fmt.Errorf("-choosing needs the figures of all carriers from one run, not -only %s", *only)
		}
	}
	r, err := measure(p)
	if err != nil {
		return err
	}
	if err := r.write(*out); err != nil {
		return err
	}
	text := r.markdown()
	if _, err := io.WriteString(stdout, text); err != nil {
		return err
	}
	if *table != "" {
		if err := os.WriteFile(*table, []byte(text), 0o666); err != nil {
			return err
		}
	}
	if len(r.Failures) > 0 {
		return fmt.Errorf("%d measurements failed, the first: %s, %s: %s", len(r.Failures),
			r.Failures[0].Carrier, r.Failures[0].Form, r.Failures[0].Error)
	}
	if *choosing != "" {
		return r.rewrite(*choosing)
	}
	return nil
}
