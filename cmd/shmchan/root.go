package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// run is the whole program, apart from the exit.
func run(args []string, stdin, stdout, stderr *os.File) int {
	ctx, stop := catchSignals(context.Background())
	defer stop()
	return exitStatus(execute(ctx, args, stdin, stdout, stderr), stderr)
}

func execute(ctx context.Context, args []string, stdin, stdout, stderr *os.File) error {
	root := newRoot(stdin, stdout, stderr)
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	ran := false
	for _, c := range root.Commands() {
		if run := c.RunE; run != nil {
			c.RunE = func(c *cobra.Command, args []string) error { ran = true; return run(c, args) }
		}
	}
	err := root.ExecuteContext(ctx)
	if err != nil && !ran {
		return &usageError{err} // cobra's own words on the command line
	}
	return err
}

func newRoot(stdin, stdout, stderr *os.File) *cobra.Command {
	root := &cobra.Command{
		Use:   "shmchan",
		Short: "Carry a stream between processes over a channel in shared memory",
		Long: `Carry a stream between processes over a channel in shared memory.

  tar c . | shmchan send x &
  shmchan recv x | tar t

The two ends may start in either order.
` + exitHelp,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return usagef("which command: send, recv, rm, mechanisms or version?")
		},
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	root.AddCommand(newSend(stdin, stderr), newRecv(stdout, stderr), newRm(), newMechanisms(stdout), newVersion(stdout))
	return root
}

func newVersion(stdout io.Writer) *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			version := "(devel)"
			if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
				version = info.Main.Version
			}
			_, err := fmt.Fprintf(stdout, "shmchan %s %s %s/%s\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
			if err != nil {
				return stdoutError(err)
			}
			return nil
		},
	}
}
