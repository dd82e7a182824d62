// Command mq sends and receives messages of POSIX message queues, which any other
// program may have made: mq_overview(7).
//
//	mq send [-p PRIO] NAME TEXT   sends TEXT, without a NUL; makes the queue if it is absent
//	mq receive [-n] NAME          takes one message and prints "PRIO TEXT"; -n does not wait for it
//	mq notify NAME                waits for notifications, and empties the queue each time
//	mq info NAME                  prints the queue's attributes
//	mq unlink NAME                removes the name
//
// A NAME has a leading slash. Exit status: 0, also of a notify that was interrupted; 1 with
// the reason; 2 for wrong usage.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/shmchan/shmchan/fallback"
)

func main() {
	// The first of them ends a wait; nothing is half done then.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch err := run(ctx, os.Args[1:], os.Stdout); {
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "mq:", err)
		os.Exit(1)
	}
}

var errUsage = errors.New("usage: mq send [-p PRIO] NAME TEXT | receive [-n] NAME | notify NAME | info NAME | unlink NAME")

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errUsage
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	var priority uint
	var nonblock bool
	want := 1
	switch args[0] {
	case "send":
		flags.UintVar(&priority, "p", 0, "priority")
		want = 2
	case "receive":
		flags.BoolVar(&nonblock, "n", false, "do not wait")
	}
	if err := flags.Parse(args[1:]); err != nil {
		return fmt.Errorf("%w\n%w", err, errUsage)
	}
	if flags.NArg() != want {
		return errUsage
	}
	name := flags.Arg(0)
	switch args[0] {
	case "send":
		return send(ctx, name, []byte(flags.Arg(1)), priority)
	case "receive":
		return receive(ctx, out, name, nonblock)
	case "notify":
		return notify(ctx, out, name)
	case "info":
		return info(out, name)
	case "unlink":
		return fallback.UnlinkQueue(name)
	}
	return errUsage
}

func send(ctx context.Context, name string, text []byte, priority uint) error {
	// No attributes: the system's defaults, which fit its limits.
	q, err := fallback.OpenQueue(name, os.O_WRONLY|os.O_CREATE, 0o600, nil)
	if err != nil {
		return err
	}
	defer func() { _ = q.Close() }()
	return q.Send(ctx, text, priority)
}

func receive(ctx context.Context, out io.Writer, name string, nonblock bool) error {
	flags := os.O_RDONLY
	if nonblock {
		flags |= syscall.O_NONBLOCK
	}
	q, err := fallback.OpenQueue(name, flags, 0, nil)
	if err != nil {
		return err
	}
	defer func() { _ = q.Close() }()
	msg, priority, err := q.Receive(ctx, nil)
	if errors.Is(err, fallback.ErrWouldBlock) {
		return fmt.Errorf("%s is empty: %w", name, err)
	}
	if err != nil {
		return err
	}
	return show(out, priority, msg)
}

func show(out io.Writer, priority uint, msg []byte) error {
	_, err := fmt.Fprintf(out, "%d %s\n", priority, msg)
	return err
}

// notify goes on until it is interrupted.
func notify(ctx context.Context, out io.Writer, name string) error {
	q, err := fallback.OpenQueue(name, os.O_RDONLY, 0, nil)
	if err != nil {
		return err
	}
	defer func() { _ = q.Close() }()
	n, err := q.Notify()
	if err != nil {
		return err
	}
	defer func() { _ = n.Close() }()
	// What was there before does not notify anybody, and as long as it stays nothing does.
	buf := make([]byte, 0, q.MaxMessage())
	for {
		if err := empty(out, q, buf); err != nil {
			return err
		}
		if err := n.Wait(ctx); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		// Before the queue is emptied, or one that comes right after would not be told of.
		if err := n.Rearm(); err != nil {
			return err
		}
	}
}

func empty(out io.Writer, q *fallback.Queue, buf []byte) error {
	for {
		msg, priority, err := q.TryReceive(buf)
		if errors.Is(err, fallback.ErrWouldBlock) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := show(out, priority, msg); err != nil {
			return err
		}
	}
}

func info(out io.Writer, name string) error {
	q, err := fallback.OpenQueue(name, os.O_RDONLY, 0, nil)
	if err != nil {
		return err
	}
	defer func() { _ = q.Close() }()
	a, err := q.Attr()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "messages %d\nmaximum messages %d\nmessage size %d\n", a.Messages, a.MaxMessages, a.MessageSize)
	return err
}
