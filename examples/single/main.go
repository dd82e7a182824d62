// Single runs a command unless another one runs already that was started with the same
// lock file: a single-instance guard by flock(2), which meets flock(1).
//
//	single FILE COMMAND [ARGUMENT…]
//
// FILE is made if it is not there, and stays: who removes it lets a second instance in.
// The command inherits the lock as descriptor 3, so that it is held as long as the
// command lives, whatever becomes of single; and as long as any process does to which the
// command hands the descriptor on. Signals that ask to end are passed on.
//
// Exit status: the command's; 128 and the signal's number if one ended it; 75 if another
// instance holds the lock; 127 if the command cannot be started; 2 for wrong usage; 1 for
// any other error.
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/shmchan/shmchan/fallback"
)

const (
	exitFailure  = 1
	exitUsage    = 2
	exitHeld     = 75 // EX_TEMPFAIL of sysexits.h: try again later
	exitNotFound = 127
	exitSignal   = 128
)

func main() {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: single FILE COMMAND [ARGUMENT…]")
		os.Exit(exitUsage)
	}
	status, err := run(os.Args[1], os.Args[2:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "single:", err)
	}
	os.Exit(status)
}

func run(file string, command []string) (status int, err error) {
	f, err := os.OpenFile(file, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return exitFailure, err
	}
	defer f.Close()
	switch err := fallback.TryFlock(f, fallback.LockExclusive); {
	case errors.Is(err, fallback.ErrWouldBlock):
		return exitHeld, fmt.Errorf("another instance runs: %w", err)
	case err != nil:
		return exitFailure, err
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.ExtraFiles = []*os.File{f}
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	if err := cmd.Start(); err != nil {
		return exitNotFound, err
	}
	go func() {
		for s := range signals {
			_ = cmd.Process.Signal(s) // it may have ended already
		}
	}()
	err = cmd.Wait()
	var ended *exec.ExitError
	switch {
	case err == nil:
		return 0, nil
	case !errors.As(err, &ended):
		return exitFailure, err
	}
	if w, ok := ended.Sys().(syscall.WaitStatus); ok && w.Signaled() {
		return exitSignal + int(w.Signal()), nil
	}
	return ended.ExitCode(), nil
}
