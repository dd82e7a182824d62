package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// catchSignals returns a context that ends with the first signal to end, whose
// cause is then a *signalError. A second one kills as usual.
//
// A signal that was ignored when the process started stays ignored: that is how
// nohup and a script's background jobs ask for it. SIGPIPE is ignored, so that a
// write to a pipe without a reader is an error like any other, for which there
// is something to put in order.
func catchSignals(parent context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signal.Ignore(syscall.SIGPIPE)
	var wanted []os.Signal
	for _, s := range []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		if !signal.Ignored(s) {
			wanted = append(wanted, s)
		}
	}
	if len(wanted) == 0 {
		return ctx, func() { cancel(nil) }
	}
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, wanted...)
	go func() {
		select {
		case s := <-caught:
			signal.Reset(wanted...)
			cancel(&signalError{s.(syscall.Signal)})
		case <-ctx.Done():
			signal.Reset(wanted...)
		}
	}()
	return ctx, func() { cancel(nil) }
}
