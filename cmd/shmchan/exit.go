package main

import (
	"errors"
	"fmt"
	"io"
	"syscall"

	"github.com/shmchan/shmchan/channel"
)

// Exit statuses. The package comment and the help texts document them.
const (
	exitOK         = 0
	exitFailure    = 1
	exitUsage      = 2
	exitSenderLost = 3
	exitSignal     = 128 // and the signal's number
	exitBrokenPipe = exitSignal + int(syscall.SIGPIPE)
)

const exitHelp = `
Exit status:
  0    success; for recv: the sender closed the channel
  1    an error, told on standard error
  2    wrong usage
  3    recv: the sender ended without closing the channel
  129  hung up (SIGHUP)
  130  interrupted (SIGINT, Ctrl-C)
  141  the reader is gone: recv's standard output, or send's receiver
  143  terminated (SIGTERM)`

// usageError is a command line that cannot be meant.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// signalError is the end by a signal.
type signalError struct{ signal syscall.Signal }

func (e *signalError) Error() string { return e.signal.String() }

// errReaderGone is EPIPE of whichever kind: nobody reads any more.
var errReaderGone = errors.New("the reader is gone")

// errSenderLost is the end of a stream that nobody closed.
var errSenderLost = errors.New("the sender ended without closing the channel; what it had sent was received")

// exitStatus is the process's answer to how a command ended, and reports on
// stderr what a person has to know. A broken pipe and a signal need no words.
func exitStatus(err error, stderr io.Writer) int {
	var bySignal *signalError
	var byUsage *usageError
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &bySignal):
		return exitSignal + int(bySignal.signal)
	case errors.Is(err, errReaderGone):
		return exitBrokenPipe
	}
	fmt.Fprintf(stderr, "shmchan: %v\n", err)
	switch {
	case errors.As(err, &byUsage):
		fmt.Fprintln(stderr, "shmchan: --help tells more")
		return exitUsage
	case errors.Is(err, errSenderLost):
		return exitSenderLost
	}
	return exitFailure
}

// sendError turns an error of a sending call into one for the shell's user.
func sendError(err error) error {
	switch {
	case errors.Is(err, channel.ErrPeerLost):
		return errReaderGone
	case errors.Is(err, channel.ErrBusy):
		return fmt.Errorf("%w: it has a sender already (--mpmc at its creation allows more)", err)
	case errors.Is(err, channel.ErrClosed):
		return fmt.Errorf("%w: another process closed it before all was sent", err)
	case errors.Is(err, channel.ErrTooLarge):
		return fmt.Errorf("%w (--max-message at the channel's creation sets the limit)", err)
	}
	return err
}

// recvError does the same for a receiving call; nil is the stream's proper end.
func recvError(err error) error {
	switch {
	case errors.Is(err, channel.ErrClosed):
		return nil
	case errors.Is(err, channel.ErrPeerLost):
		return errSenderLost
	case errors.Is(err, channel.ErrBusy):
		return fmt.Errorf("%w: it has a receiver already (--mpmc at its creation allows more)", err)
	}
	return err
}

// stdoutError does it for a write to standard output.
func stdoutError(err error) error {
	if errors.Is(err, syscall.EPIPE) {
		return errReaderGone
	}
	return err
}
