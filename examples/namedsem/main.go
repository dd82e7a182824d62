// Namedsem runs a command while it holds a named POSIX semaphore: of all commands that
// are run under one name, at most one runs at a time.
//
//	go run ./examples/namedsem NAME COMMAND [ARGUMENT…]
//	go run ./examples/namedsem -u NAME
//
// NAME is as POSIX writes it, with a leading slash: /backup. The semaphore is made with
// the value 1 if it is not there, and stays; it is what C's sem_open(3) opens by that
// name. With -n N a new one gets the value N: so many commands at a time. -u forgets the
// name, as sem_unlink(3): later ones do not meet those that run.
//
// The exit status is the command's: 128 and the signal's number if a signal ended it, 127
// if it was not found, 126 if it could not be run, 125 for what went wrong here, 2 for wrong
// usage. SIGINT, SIGTERM and SIGHUP are passed on to the command; one that comes while the semaphore is
// waited for ends the waiting, and the command is not run.
//
// A semaphore has no owner: if this program is killed (SIGKILL), nobody gives the token
// back, and the others wait until somebody does, or forgets the name with -u. Who
// needs better takes a lock that ends with its holder: flock(1), or an
// open-file-description lock.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"github.com/shmchan/shmchan/futexsem"
)

const (
	wrongUsage = 2
	failedHere = 125
	cannotRun  = 126
	notFound   = 127
	signalled  = 128 // and the signal's number
)

func main() {
	unlink := flag.Bool("u", false, "forget the name")
	value := flag.Uint("n", 1, "how many commands at a time, if the semaphore is made")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: namedsem [-n N] NAME COMMAND [ARGUMENT…] | namedsem -u NAME")
	}
	flag.Parse()
	switch {
	case *unlink && flag.NArg() == 1:
		if err := futexsem.UnlinkNamed(flag.Arg(0)); err != nil {
			os.Exit(fail(failedHere, err))
		}
	case !*unlink && flag.NArg() >= 2 && *value <= futexsem.SemValueMax:
		os.Exit(run(flag.Arg(0), uint32(*value), flag.Arg(1), flag.Args()[2:]))
	default:
		flag.Usage()
		os.Exit(wrongUsage)
	}
}

func fail(status int, err error) int {
	fmt.Fprintln(os.Stderr, "namedsem:", err)
	return status
}

// run runs the command under the semaphore and returns what to exit with.
func run(name string, value uint32, command string, args []string) int {
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	sem, err := futexsem.OpenNamed(name, os.O_CREATE, 0o600, value)
	if err != nil {
		return fail(failedHere, err)
	}
	defer func() { _ = sem.Close() }()
	s, err := wait(sem, signals)
	switch {
	case err != nil:
		return fail(failedHere, err)
	case s != nil:
		return status(s)
	}
	defer func() {
		if err := sem.Post(); err != nil {
			fail(0, err)
		}
	}()
	return supervise(exec.Command(command, args...), signals)
}

// wait takes a token, or returns the signal that came first.
func wait(sem *futexsem.Named, signals <-chan os.Signal) (os.Signal, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	taken := make(chan error, 1)
	go func() { taken <- sem.WaitContext(ctx) }()
	select {
	case err := <-taken:
		return nil, err
	case s := <-signals:
		cancel()
		if <-taken == nil {
			_ = sem.Post() // it came in the same moment: the next one's
		}
		return s, nil
	}
}

// supervise runs the command and passes signals on to it.
func supervise(cmd *exec.Cmd, signals <-chan os.Signal) int {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	switch err := cmd.Start(); {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, fs.ErrNotExist):
		return fail(notFound, err)
	case err != nil:
		return fail(cannotRun, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case s := <-signals:
			_ = cmd.Process.Signal(s) // it may just have ended
		case err := <-ended:
			if cmd.ProcessState == nil {
				return fail(failedHere, err)
			}
			if w, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && w.Signaled() {
				return status(w.Signal())
			}
			return cmd.ProcessState.ExitCode()
		}
	}
}

// status is the exit status of whom that signal ended, as shells have it.
func status(s os.Signal) int {
	if n, ok := s.(syscall.Signal); ok {
		return signalled + int(n)
	}
	return failedHere
}
